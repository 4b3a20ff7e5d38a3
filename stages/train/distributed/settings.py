"""Settings of training over several processes and machines."""

from pydantic import Field, model_validator

from hasse.data.errors import RecipeError
from hasse.data.settings import Config
from hasse.stages.models.vllm_engine import visible_gpus


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


def _as_gpus_allow(prompts_per_step: int, machines: int) -> int:
    share = [n for n in range(1, len(visible_gpus()) + 1) if prompts_per_step % (n * machines) == 0]
    return max(share, default=1)
