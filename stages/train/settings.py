"""Settings of one training run: its method, optimiser, adapter, seed and launch."""

from typing import Any, Literal

from pydantic import Field, model_validator

from hasse.data.settings import Config, Seed, registry, unkeyed
from hasse.stages.train.distributed.settings import LaunchSettings
from hasse.stages.train.optimiser import OptimiserSettings
from hasse.stages.train.tracking import TrackingSettings

METHODS = "hasse.stages.train.methods"
Method = registry.settings_union(METHODS, "method")


class LoraSettings(Config):
    r: int = Field(default=16, ge=1, description="Rank.")
    alpha: float = Field(default=32.0, gt=0, description="Scale; the adapter's output is multiplied by alpha / r.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout of the adapter's input.")
    target_modules: list[str] | Literal["all-linear"] = Field(
        default="all-linear",
        description="Layers that get an adapter. all-linear leaves out the output layer, and a model's experts and "
        "their routers.",
    )
    base: Literal["auto", "float32", "4bit"] = Field(
        default="auto",
        description="Precision of the frozen base in training. auto: bfloat16 on CUDA, float32 on the CPU and with "
        "`launch.fsdp`. 4bit: NF4 by bitsandbytes, hasse[4bit]; sampling and evaluation still take the whole base.",
    )


class TrainSettings(Config):
    """One run of the train stage."""

    method: Method = Field(description="The method that trains the student.")  # type: ignore[valid-type]
    optimiser: OptimiserSettings
    lora: LoraSettings | None = None
    seed: Seed
    launch: LaunchSettings = unkeyed(LaunchSettings(), description="Processes and machines of the training.")
    tracking: TrackingSettings = unkeyed(TrackingSettings(), description="Where people watch the training.")

    @model_validator(mode="after")
    def _passes_agree(self) -> "TrainSettings":
        check_passes(self.optimiser, self.lora)
        if self.lora is not None and self.lora.base == "4bit" and self.launch.fsdp is not None:
            raise ValueError("lora.base: 4bit and launch.fsdp do not go together; leave one out")
        return self


def check_passes(optimiser: OptimiserSettings, lora: LoraSettings | None) -> None:
    """Raises ValueError for two passes with an adapter that has dropout."""
    if optimiser.passes == "two" and lora is not None and lora.dropout > 0:
        raise ValueError(
            f"passes: two scores every answer twice, and lora.dropout {lora.dropout:g} would make the scores differ; "
            "set lora.dropout: 0, or passes: auto"
        )


def needs_reference(settings: Any) -> bool:
    """Whether a method with these settings needs the frozen student's log-probs."""
    return registry.load(METHODS, settings.method, kind="method").needs_reference(settings)


def examples_kind(settings: Any) -> str:
    """The kind of examples that a method trains on: "order", "feedback", "gap" or "improver"."""
    return registry.load(METHODS, settings.method, kind="method").EXAMPLES
