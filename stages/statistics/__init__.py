"""Statistics: bootstrap intervals over clusters and seeds, and win rates."""
