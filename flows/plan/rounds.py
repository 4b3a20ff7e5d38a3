"""What a plan is made of: rounds of candidates, and the models that are trained on them."""

from dataclasses import dataclass, field
from typing import Any

from hasse.flows.recipe.nightly_section import LATEST
from hasse.flows.recipe.recipe import Recipe
from hasse.flows.recipe.sections import RESAMPLE
from hasse.pipeline.manifest import Labels
from hasse.pipeline.stage import Step
from hasse.stages.evaluate.settings import ImproveSettings
from hasse.stages.examples import from_orders as examples
from hasse.stages.generate import stage as generate


@dataclass(frozen=True, kw_only=True)
class Round:
    """Candidates of one model, judged and ordered, and the arms that learn from them.

    student: the step whose model answers; learner: the step whose model goes on learning, where that is another;
    suffix: of the names of this round's steps; labels: of those steps, beside those of an arm;
    seeds: of the training runs;
    seen: steps with examples that the model has learned from before.
    """

    recipe: Recipe
    generate: generate.GenerateSettings
    judge: Any
    order: Any
    examples: examples.ExamplesSettings
    arms: dict[str, Any]
    optimiser: dict[str, Any]
    student: str = "student"
    learner: str | None = None
    suffix: str = ""
    labels: Labels = field(default_factory=dict)
    seeds: tuple[int, ...]
    seen: tuple[str, ...] = ()

    @property
    def start(self) -> str:
        """The step whose model training starts from."""
        return self.learner or self.student

    def named(self, step: str) -> str:
        return step + self.suffix

    def labels_of(self, arm: str, seed: int) -> Labels:
        """The labels of a training run of this round."""
        return {**self.labels, "arm": arm, "seed": seed}


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A training run: its arm and seed, the steps it takes, the one with its model, and how that model answers.

    labels: of the arm, the seed and the round, for its steps and for what measures it;
    seen: the steps with the examples that the model has learned from; inputs: what it needs to answer, beside itself.
    """

    arm: str
    seed: int
    steps: list[Step]
    step: str
    seen: tuple[str, ...]
    labels: Labels
    improve: ImproveSettings | None = None
    inputs: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @staticmethod
    def untrained() -> "Trained":
        """The student as it is."""
        return Trained(arm="student", seed=0, steps=[], step="student", seen=(), labels={"arm": "student"})

    @staticmethod
    def resampled(seed: int) -> "Trained":
        """The student asked again with another seed: what merely another answer is worth, beside an improved one."""
        labels = {"arm": RESAMPLE, "seed": seed}
        return Trained(arm=RESAMPLE, seed=seed, steps=[], step="student", seen=(), labels=labels)

    @staticmethod
    def promoted(seen: tuple[str, ...]) -> "Trained":
        """The model that an earlier night promoted."""
        return Trained(arm=LATEST, seed=0, steps=[], step=LATEST, seen=seen, labels={"arm": LATEST})

    @property
    def name(self) -> str:
        return self.arm if self.arm in ("student", LATEST) else f"{self.arm}/seed-{self.seed}"
