"""Training in several processes and on several machines, which `accelerate launch` starts."""

NOT_IN_KEYS = "it decides in which processes and in how much memory work is done; results agree up to rounding"
