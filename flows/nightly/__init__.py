"""Nights: a run on the rows that a source has gained, after which a better model is promoted.

night.py       one night, alone among the nights of its recipe
promotion.py   tonight's model against the latest one
"""
