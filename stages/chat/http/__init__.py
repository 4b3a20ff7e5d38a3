"""One HTTP request to an OpenAI-compatible endpoint: sent, limited, and its response read strictly."""
