"""The command `hasse`."""
