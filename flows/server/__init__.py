"""Prefect: flows, tasks, deployments, schedules and the server that `hasse up` starts."""
