"""What chat models cost: prices, estimates before a run, and limits that hold across restarts."""
