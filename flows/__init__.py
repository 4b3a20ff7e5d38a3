"""Flows: a recipe becomes a plan of steps, and a plan becomes a run.

Telemetry of every library is off, unless the user has turned it on.
"""

from hasse.flows import environment

environment.apply()
