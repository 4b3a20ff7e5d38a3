"""Everything that uses Prefect: flows, tasks, deployments, schedules, and the server that `hasse up` starts.

flows.py, nightly_flow.py, tasks.py     a run, a sweep, an evaluation, a night; one task for each step
deployments.py, schedules.py            what a server offers to run, and when
slots.py, secrets.py, roots.py          GPU slots, keys of endpoints, what a run may touch
artifact_pages.py, progress.py          what a step shows on Prefect's pages
up.py, server_watch.py, schedule_watch.py, quiet_pages.py    the server of `hasse up`, and what goes wrong with it
"""
