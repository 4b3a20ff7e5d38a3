"""Plan: a recipe as a list of steps."""
