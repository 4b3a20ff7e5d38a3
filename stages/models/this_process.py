"""What accelerate has told this process of those that train together."""

import os

NOT_IN_KEYS = "it decides in which processes and in how much memory work is done; results agree up to rounding"


def is_main_process() -> bool:
    """Of those that train together; true for one that trains alone."""
    return int(os.environ.get("RANK", "0")) == 0


def is_sharded() -> bool:
    """Whether accelerate was told to shard this process's model."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def is_offloaded() -> bool:
    """Whether its shards stay in the machine's memory."""
    return os.environ.get("FSDP_OFFLOAD_PARAMS", "false").lower() == "true"
