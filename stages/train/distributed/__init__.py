"""Training on several processes and machines, started through `accelerate launch`."""
