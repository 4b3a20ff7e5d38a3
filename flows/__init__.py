"""The sentences: what runs after what. Telemetry of every library below is off unless the user turned it on."""

from hasse.flows import environment

environment.apply()
