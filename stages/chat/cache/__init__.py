"""Replies that were paid for, in one SQLite file that several processes share."""

NOT_IN_KEYS = "it carries questions and replies; `request` and `reply` decide what is asked and what is read"
