"""The cost of chat models: prices, estimates before a run, and limits that hold across restarts."""

NOT_IN_KEYS = "it counts and limits what is paid; an answer does not depend on it"
