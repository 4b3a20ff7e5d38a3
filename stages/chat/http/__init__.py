"""One HTTP request to an OpenAI-compatible endpoint: sent, limited, and its response read strictly."""

NOT_IN_KEYS = "it carries questions and replies; `request` and `reply` decide what is asked and what is read"
