"""Training over several processes and machines: what a recipe says of it, and what `accelerate launch` is told.

Nothing is launched by hand: accelerate starts the processes, exchanges gradients, and shards weights by FSDP2.
"""

import os
import shlex
import sys
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from data.config import Config
from data.errors import RecipeError
from stages.optimiser import OptimiserSettings
from stages.vllm_engine import visible_gpus

WORKER = "stages.train_worker"


class FsdpSettings(Config):
    """Weights, gradients and moments are sharded over all processes, by PyTorch's FSDP2."""

    layers: list[str] | None = Field(
        default=None,
        min_length=1,
        description="Classes of the layers that are gathered one at a time; left out: those that the model names.",
    )
    reshard_after_forward: bool = Field(
        default=True, description="Give a layer's weights back after its forward pass: less memory, more exchange."
    )
    cpu_offload: bool = Field(default=False, description="Keep shards in the machine's memory, not the GPU's.")


class LaunchSettings(Config):
    """Where training runs; which model comes out does not depend on it, beyond rounding."""

    processes: int | None = Field(
        default=None,
        ge=1,
        description="Processes on each machine; left out: one a GPU, as far as they share prompts_per_step evenly.",
    )
    machines: int = Field(default=1, ge=1, description="Machines, on each of which `hasse launch` is started.")
    main_address: str | None = Field(default=None, description="Where the others find machine 0: name or IP address.")
    main_port: int = Field(default=29500, ge=1, le=65535, description="A free port of machine 0.")
    fsdp: FsdpSettings | None = Field(default=None, description="Shard the weights; for models too large for one GPU.")

    @model_validator(mode="after")
    def _found_by_others(self) -> "LaunchSettings":
        if self.machines > 1 and self.main_address is None:
            raise ValueError(f"machines: {self.machines} need main_address, by which the others find machine 0")
        return self

    def settled(self, prompts_per_step: int) -> "LaunchSettings":
        """With a number of processes. Raises RecipeError when they cannot share a step's prompts evenly."""
        processes = self.processes or _as_gpus_allow(prompts_per_step, self.machines)
        if prompts_per_step % (processes * self.machines):
            raise RecipeError(
                f"launch: {processes} processes on {self.machines} machine(s) cannot share {prompts_per_step} prompts "
                "evenly; make train.prompts_per_step a multiple of their number"
            )
        return self.model_copy(update={"processes": processes})

    @property
    def total(self) -> int:
        """Processes on all machines, once settled."""
        assert self.processes is not None, "`settled` comes first"
        return self.processes * self.machines

    @property
    def is_launched(self) -> bool:
        """Whether accelerate starts the processes; one without shards needs no launcher."""
        return self.total > 1 or self.fsdp is not None


def accelerate_config(launch: LaunchSettings, optimiser: OptimiserSettings, machine_rank: int) -> dict[str, Any]:
    """The configuration file of `accelerate launch` on one of the machines.

    MULTI_GPU is accelerate's name for processes that torch's launcher starts; without a GPU, `environment` has them
    train on the CPU all the same.
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
        "main_process_port": launch.main_port if several else 0,  # 0: any free one
        "mixed_precision": "bf16" if has_gpu and optimiser.precision != "float32" else "no",
        "use_cpu": not has_gpu,
        **({} if launch.fsdp is None else {"fsdp_config": _fsdp_config(launch.fsdp)}),
    }


def command(config: Path, spec: Path) -> list[str]:
    """Of one machine, without the interpreter."""
    return ["launch", "--config_file", str(config), "-m", WORKER, str(spec)]


def shown(config: Path, spec: Path) -> str:
    """The same as a user would type it."""
    return shlex.join(["accelerate", *command(config, spec)])


def interpreter() -> list[str]:
    """What runs accelerate's command line: this interpreter, whatever stands in PATH."""
    return [sys.executable, "-m", "accelerate.commands.accelerate_cli"]


def environment() -> dict[str, str]:
    """Of the processes: this code, and the CPU where there is no GPU."""
    root = str(Path(__file__).parent.parent)
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **({} if visible_gpus() else {"ACCELERATE_USE_CPU": "true"})}


def _as_gpus_allow(prompts_per_step: int, machines: int) -> int:
    share = [n for n in range(1, len(visible_gpus()) + 1) if prompts_per_step % (n * machines) == 0]
    return max(share, default=1)


def _fsdp_config(fsdp: FsdpSettings) -> dict[str, Any]:
    """Activation checkpointing is left to the trainer, which plans memory with it."""
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
