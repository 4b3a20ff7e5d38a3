"""The section `train`: the arms, how they are trained, and with which seeds."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from hasse.data.settings import Name, Seed, registry, unkeyed
from hasse.data.settings.form import NamedList
from hasse.stages.train.optimiser import OptimiserSettings
from hasse.stages.train.settings import METHODS, LoraSettings, Method, check_passes
from hasse.stages.train.tracking import Tracker

ARMS = NamedList("method")
Arms = Annotated[dict[Name, Method], ARMS]  # type: ignore[valid-type]


class TrainSection(OptimiserSettings):
    """The settings of training. All arms see the same prompts, steps and seeds."""

    arms: Arms = Field(
        default_factory=dict, description="Name of an arm -> its method. Each arm is trained once for each seed."
    )
    overrides: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="Name of an arm -> optimiser settings, or `lora`, that hold for this arm alone.",
    )
    seeds: list[Seed] = Field(
        default=[0], min_length=1, description="Training seeds. Each arm is trained once for each seed."
    )
    lora: LoraSettings | None = Field(default=None, description="Train an adapter instead of all weights.")

    tracking: list[Tracker] = unkeyed(
        ["tensorboard"],
        description="Where people watch the training, by the trainer's own integrations. The project is named after "
        "the recipe, the run after arm and seed. TensorBoard's events are kept in the artifact's folder `logs`.",
    )

    @model_validator(mode="after")
    def _overrides_are_valid(self) -> "TrainSection":
        check_passes(self, self.lora)
        for arm in self.overrides:
            check_passes(self.optimiser(arm), self.adapter(arm))
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds {self.seeds} are not all different")
        return self

    def optimiser(self, arm: str, changes: dict[str, Any] | None = None) -> OptimiserSettings:
        """The optimiser settings of one arm. `changes` are those of the arm's round; overrides of the arm win."""
        shared = {name: getattr(self, name) for name in OptimiserSettings.model_fields}
        own = {name: value for name, value in self.overrides.get(arm, {}).items() if name != "lora"}
        return OptimiserSettings.model_validate({**shared, **(changes or {}), **own})

    def adapter(self, arm: str) -> LoraSettings | None:
        """The adapter that one arm trains, or None if it trains all weights."""
        own = self.overrides.get(arm, {})
        if "lora" not in own:
            return self.lora
        return LoraSettings.model_validate(own["lora"]) if own["lora"] else None


def has_gap_model(method: Any) -> bool:
    """Whether an arm of PIT trains a reward model that compares two answers."""
    if method.method != "pit" or not method.supervised or method.reward != "gap":
        return False
    return bool(method.curriculum) or method.threshold is not None


def min_candidates(method: Any) -> int:
    """The smallest number of candidates for a prompt that a method can learn from."""
    return registry.load(METHODS, method.method, kind="method").MIN_CANDIDATES
