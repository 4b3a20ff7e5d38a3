"""Read from the environment how accelerate has set up this process among the processes of a training run."""

import os

NOT_IN_KEYS = "it decides in which processes and in how much memory work is done; results agree up to rounding"


def is_main_process() -> bool:
    """Whether this is the main process of a training run; true for a process that trains alone."""
    return int(os.environ.get("RANK", "0")) == 0


def is_sharded() -> bool:
    """Whether accelerate shards the model over processes."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def is_offloaded() -> bool:
    """Whether the model's shards are kept in CPU memory."""
    return os.environ.get("FSDP_OFFLOAD_PARAMS", "false").lower() == "true"
