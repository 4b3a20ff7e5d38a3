"""Replies that were paid for, in one SQLite file that several processes share."""
