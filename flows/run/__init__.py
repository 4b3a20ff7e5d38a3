"""Run: carry out a plan, record it, resume it, look at its results, and clean the store.

run.py             walk through the steps of a plan
preflight.py       what would stop a run, checked before it begins (endpoint_keys.py, source_rows.py)
forecast.py        what a run would do, and what that would cost
spending.py        prices and budgets
sweep.py           one run for each combination of settings
records.py         records of runs; resume.py finds and continues a recorded run
history.py         records of nights
references.py      from a name that the user types to an artifact
listing.py, artifact_rows.py, night_rows.py, query.py    what commands show
prune.py, verify.py, replies.py                          clean and check a store
"""
