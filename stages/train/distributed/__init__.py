"""Training on several processes and machines, started through `accelerate launch`."""

NOT_IN_KEYS = "it decides in which processes and in how much memory work is done; results agree up to rounding"
