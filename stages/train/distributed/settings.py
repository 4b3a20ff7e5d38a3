"""Settings of training in several processes and on several machines."""

from pydantic import Field, model_validator

from hasse.data.errors import RecipeError
from hasse.data.settings import Config
from hasse.stages.models.vllm_engine import visible_gpus


class FsdpSettings(Config):
    """PyTorch's FSDP2 shards weights, gradients and moments over all processes."""

    layers: list[str] | None = Field(
        default=None,
        min_length=1,
        description="Classes of the layers that are gathered one at a time; left out: the classes that the model "
        "names.",
    )
    reshard_after_forward: bool = Field(
        default=True,
        description="Free the gathered weights of a layer after its forward pass: less memory, more traffic.",
    )
    cpu_offload: bool = Field(default=False, description="Keep the shards in main memory instead of GPU memory.")


class LaunchSettings(Config):
    """The processes and machines that train. The `launch` section changes the trained model only by rounding."""

    processes: int | None = Field(
        default=None,
        ge=1,
        description="Processes on each machine; left out: one for each GPU, as far as they share prompts_per_step "
        "evenly.",
    )
    machines: int = Field(default=1, ge=1, description="Number of machines; start `hasse launch` on each of them.")
    main_address: str | None = Field(
        default=None, description="Host name or IP address by which the others reach machine 0."
    )
    main_port: int = Field(default=29500, ge=1, le=65535, description="A free port of machine 0.")
    fsdp: FsdpSettings | None = Field(
        default=None, description="Shard the weights, for models that are too large for one GPU."
    )

    @model_validator(mode="after")
    def _found_by_others(self) -> "LaunchSettings":
        if self.machines > 1 and self.main_address is None:
            raise ValueError(f"machines: {self.machines} needs main_address, by which the others reach machine 0")
        return self

    def with_processes(self, prompts_per_step: int) -> "LaunchSettings":
        """These settings with a number of processes. Raises RecipeError if it cannot divide a step's prompts."""
        processes = self.processes or _processes_for_gpus(prompts_per_step, self.machines)
        if prompts_per_step % (processes * self.machines):
            raise RecipeError(
                f"launch: {processes} processes on {self.machines} machine(s) cannot share {prompts_per_step} prompts "
                "evenly; make train.prompts_per_step a multiple of their number"
            )
        return self.model_copy(update={"processes": processes})

    @property
    def total(self) -> int:
        """The number of processes on all machines, after `with_processes`."""
        assert self.processes is not None, "call `with_processes` first"
        return self.processes * self.machines

    @property
    def needs_launcher(self) -> bool:
        """Whether accelerate starts the processes. One process without shards needs no launcher."""
        return self.total > 1 or self.fsdp is not None


def _processes_for_gpus(prompts_per_step: int, machines: int) -> int:
    share = [n for n in range(1, len(visible_gpus()) + 1) if prompts_per_step % (n * machines) == 0]
    return max(share, default=1)
