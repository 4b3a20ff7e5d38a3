"""The configuration and command line of `accelerate launch`.

Accelerate starts the processes, exchanges gradients, and shards weights by FSDP2.
"""

import os
import shlex
import sys
from pathlib import Path
from typing import Any

from hasse.stages.models.vllm_engine import visible_gpus
from hasse.stages.train.distributed.settings import FsdpSettings, LaunchSettings
from hasse.stages.train.optimiser import OptimiserSettings

WORKER = "hasse.stages.train.distributed.worker"


def accelerate_config(launch: LaunchSettings, optimiser: OptimiserSettings, machine_rank: int) -> dict[str, Any]:
    """The values of accelerate's configuration file on one of the machines.

    MULTI_GPU is accelerate's name for processes that torch's launcher starts. Without a GPU, `environment` makes them
    train on the CPU.
    """
    has_gpu = bool(visible_gpus())
    several = launch.machines > 1
    return {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "MULTI_GPU" if launch.fsdp is None else "FSDP",
        "num_machines": launch.machines,
        "machine_rank": machine_rank,
        "num_processes": launch.total,
        "main_process_ip": launch.main_address if several else None,
        "main_process_port": launch.main_port if several else 0,  # 0 means any free port
        "mixed_precision": "bf16" if has_gpu and optimiser.precision != "float32" else "no",
        "use_cpu": not has_gpu,
        **({} if launch.fsdp is None else {"fsdp_config": _fsdp_config(launch.fsdp)}),
    }


def command(config: Path, spec: Path) -> list[str]:
    """The arguments of accelerate on one machine, without the interpreter."""
    return ["launch", "--config_file", str(config), "-m", WORKER, str(spec)]


def shown(config: Path, spec: Path) -> str:
    """The command as a user would type it."""
    return shlex.join(["accelerate", *command(config, spec)])


def interpreter() -> list[str]:
    """The command that runs accelerate by this interpreter, whatever PATH contains."""
    return [sys.executable, "-m", "accelerate.commands.accelerate_cli"]


def environment() -> dict[str, str]:
    """The environment of the processes: this code on their path, and the CPU where there is no GPU."""
    root = str(Path(__file__).parents[4])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **({} if visible_gpus() else {"ACCELERATE_USE_CPU": "true"})}


def _fsdp_config(fsdp: FsdpSettings) -> dict[str, Any]:
    """The settings of FSDP2. Activation checkpointing is off here, because the trainer decides about it."""
    return {
        "fsdp_version": 2,
        "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        **({} if fsdp.layers is None else {"fsdp_transformer_layer_cls_to_wrap": ",".join(fsdp.layers)}),
        "fsdp_reshard_after_forward": fsdp.reshard_after_forward,
        "fsdp_offload_params": fsdp.cpu_offload,
        "fsdp_state_dict_type": "SHARDED_STATE_DICT",
        "fsdp_cpu_ram_efficient_loading": False,
        "fsdp_activation_checkpointing": False,
    }
