"""The parts of a plan: rounds of candidates, and the models that are trained on these candidates."""

from dataclasses import dataclass, field

from hasse.flows.recipe.nightly_section import LATEST
from hasse.flows.recipe.recipe import Recipe
from hasse.flows.recipe.sections import RESAMPLE, RoundSettings
from hasse.pipeline.manifest import Labels
from hasse.pipeline.stage import Step
from hasse.stages.evaluate.settings import ChooseSettings, ImproveSettings
from hasse.stages.train.tracking import TrackingSettings


@dataclass(frozen=True, kw_only=True)
class Round:
    """Candidates of one model, which are judged and ordered, and the arms that learn from them.

    student: The step whose model answers.
    start: The step whose model training starts from.
    suffix: The end of the names of this round's steps.
    labels: The labels of this round's steps; the steps of an arm have labels of their own as well.
    seeds: The training seeds.
    seen: Steps with examples that the starting model has already learned from.
    """

    recipe: Recipe
    settings: RoundSettings
    student: str = "student"
    start: str = "student"
    suffix: str = ""
    labels: Labels = field(default_factory=dict)
    seeds: tuple[int, ...]
    seen: tuple[str, ...] = ()

    def named(self, step: str) -> str:
        """The name of a step of this round."""
        return step + self.suffix

    def labels_of(self, arm: str, seed: int) -> Labels:
        """The labels of a training run of this round."""
        return {**self.labels, "arm": arm, "seed": seed}

    def tracking(self, *run: str | int) -> TrackingSettings:
        """The trackers of a training run that has these names there."""
        trackers = tuple(self.recipe.train.tracking)
        return TrackingSettings(trackers=trackers, project=self.recipe.name, run="-".join(map(str, run)))


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A model that is evaluated: as a rule, the result of a training run.

    steps: The steps of the training run.
    step: The step whose model this is.
    seen: Steps with examples that the model has learned from.
    labels: Arm, seed and round, for the steps of the training run and for the steps that evaluate the model.
    improve: How the model improves another model's answers, if it does.
    choose: How the best of the model's answers is chosen, if it is.
    inputs: Further inputs that the model needs to answer.
    """

    arm: str
    seed: int
    steps: list[Step]
    step: str
    seen: tuple[str, ...]
    labels: Labels
    improve: ImproveSettings | None = None
    choose: ChooseSettings | None = None
    inputs: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @staticmethod
    def untrained() -> "Trained":
        """The student before training."""
        return Trained(arm="student", seed=0, steps=[], step="student", seen=(), labels={"arm": "student"})

    @staticmethod
    def resampled(seed: int) -> "Trained":
        """The student, asked again with another seed: the control for arms that improve the student's answers."""
        labels = {"arm": RESAMPLE, "seed": seed}
        return Trained(arm=RESAMPLE, seed=seed, steps=[], step="student", seen=(), labels=labels)

    @staticmethod
    def best_of(improver: "Trained", *, num: int, reward: str) -> "Trained":
        """The student again, whose best answer the reward model of an improver chooses: a control beside the improver.

        reward: The step with the reward model.
        """
        assert improver.improve is not None, "an arm of PIT"
        arm = f"best-of-{num}"
        return Trained(
            arm=arm,
            seed=improver.seed,
            steps=[],
            step=improver.inputs["policy"][0],
            seen=improver.seen,
            labels={"arm": arm, "seed": improver.seed},
            choose=ChooseSettings(num=num, template=improver.improve.template),
            inputs={"reward": (reward,)},
        )

    @staticmethod
    def promoted(seen: tuple[str, ...]) -> "Trained":
        """The model that an earlier night promoted."""
        return Trained(arm=LATEST, seed=0, steps=[], step=LATEST, seen=seen, labels={"arm": LATEST})

    @property
    def name(self) -> str:
        """The end of the names of the steps that evaluate this model."""
        return self.arm if self.arm in ("student", LATEST) else f"{self.arm}/seed-{self.seed}"
