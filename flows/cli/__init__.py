"""The command line `hasse`: one file for each group of commands, and each imports what it needs when it is called."""
