"""The recipe: one model for the YAML file, for `--set`, and for a form."""

import re
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from hasse.data.errors import RecipeError
from hasse.data.settings import Config, Seed, registry
from hasse.data.settings.addresses import check_addresses
from hasse.data.settings.form import NamedList, Opaque
from hasse.flows.recipe.gold import check_gold, has_gold
from hasse.flows.recipe.nightly_section import LATEST, NightlySettings
from hasse.pipeline.executors import local
from hasse.pipeline.rows import EXECUTORS
from hasse.pipeline.settings_file import apply_settings, read_yaml, validate
from hasse.stages.evaluate.benchmark import Benchmark
from hasse.stages.evaluate.lm_eval import LmEvalSettings
from hasse.stages.evaluate.stage import EvaluateSection
from hasse.stages.examples.from_feedback import FeedbackExamplesSettings
from hasse.stages.examples.from_orders import ExamplesSettings
from hasse.stages.feedback.stage import FeedbackSettings
from hasse.stages.generate.stage import GenerateSettings
from hasse.stages.grading import TaskSettings
from hasse.stages.judge.audit_bounds import AuditSettings
from hasse.stages.judge.stage import Teacher
from hasse.stages.judge.traits import is_audited, judging, members, needs_model, repeats
from hasse.stages.order.stage import Strategy
from hasse.stages.prompts.stage import PromptsSection
from hasse.stages.report.stage import ReportSettings
from hasse.stages.student.stage import StudentSettings
from hasse.stages.train.distributed.settings import LaunchSettings
from hasse.stages.train.optimiser import OptimiserSettings
from hasse.stages.train.settings import METHODS, LoraSettings, Method, check_passes, examples_kind

NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
TAKEN = ("student", "teacher", "prompts", "human", "document", "flipped")
"""Names that a step or the source of a candidate has already, so that no further model can have them."""
SOURCES = "hasse.data.sources"
RESAMPLE = "resample"
"""The control beside arms that improve answers."""
Source = registry.settings_union(SOURCES, "kind")
Executor = registry.settings_union(EXECUTORS, "executor")
ARMS = NamedList("method")
Arms = Annotated[dict[str, Method], ARMS]  # type: ignore[valid-type]


class TrainSection(OptimiserSettings):
    """How every arm is trained: the same items, steps and seeds."""

    arms: Arms = Field(default_factory=dict, description="Name of an arm -> its method. Each is trained once a seed.")
    overrides: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Name of an arm -> optimiser settings, or `lora`, of its own."
    )
    seeds: list[Seed] = Field(default=[0], min_length=1, description="One training run an arm and seed.")
    lora: LoraSettings | None = Field(default=None, description="Train an adapter instead of all weights.")

    @model_validator(mode="after")
    def _overrides_fit(self) -> "TrainSection":
        check_passes(self, self.lora)
        for arm in self.overrides:
            check_passes(self.optimiser(arm), self.adapter(arm))
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds {self.seeds} are not all different")
        return self

    def optimiser(self, arm: str, changes: dict[str, Any] | None = None) -> OptimiserSettings:
        """The settings of one arm, with those that its round changes."""
        shared = {name: getattr(self, name) for name in OptimiserSettings.model_fields}
        own = {name: value for name, value in self.overrides.get(arm, {}).items() if name != "lora"}
        return OptimiserSettings.model_validate({**shared, **(changes or {}), **own})

    def adapter(self, arm: str) -> LoraSettings | None:
        """The adapter that one arm trains, if any."""
        own = self.overrides.get(arm, {})
        return LoraSettings.model_validate(own["lora"]) if own.get("lora") else None if "lora" in own else self.lora


class RoundSection(Config):
    """A further round of candidates, answered by a model that an earlier arm has trained."""

    start: str = Field(description="The arm, of `train` or of an earlier round, whose model goes on learning.")
    generate: GenerateSettings | None = Field(default=None, description="Left out: as in the first round.")
    judge: Teacher | None = Field(default=None, description="Left out: as in the first round.")  # type: ignore[valid-type]
    order: Strategy | None = Field(default=None, description="Left out: as in the first round.")  # type: ignore[valid-type]
    examples: ExamplesSettings | None = Field(default=None, description="Left out: as in the first round.")
    arms: Arms = Field(
        min_length=1, description="Name of an arm -> its method. Each is trained once a seed of `train`."
    )
    optimiser: dict[str, Any] = Field(
        default_factory=dict, description="Optimiser settings that differ from those of `train`."
    )


class Recipe(Config):
    """Prompts and a student in, a better student and a report out."""

    name: str = Field(pattern=rf"^{NAME.pattern}$", description="Lower case, with dashes.")
    description: str = Field(default="", description="One sentence: what this run asks.")
    source: Source = Field(description="Where prompts come from.")  # type: ignore[valid-type]
    task: TaskSettings = TaskSettings()
    prompts: PromptsSection = PromptsSection()
    student: StudentSettings
    teacher: StudentSettings | None = Field(
        default=None, description="A stronger model, for samplers that ask it and teachers that score by it."
    )
    models: dict[str, StudentSettings] = Field(
        default_factory=dict, description="Name -> a further model that sampling groups may ask."
    )
    max_failed: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Share of the rows of a step that asks or samples (generate, judge, feedback) that may fail, be "
        "refused or be unparsable; with more the step fails, and keeps what is good. One row is never too many, unless "
        "this is 0. A bound of `audit` on one of these holds in its place.",
    )
    generate: GenerateSettings
    judge: Teacher  # type: ignore[valid-type]
    audit: AuditSettings = Field(default=AuditSettings(), description="What a judge other than a rule must satisfy.")
    order: Strategy  # type: ignore[valid-type]
    examples: ExamplesSettings = ExamplesSettings()
    feedback: FeedbackSettings | None = Field(default=None, description="For methods that learn to predict feedback.")
    feedback_examples: FeedbackExamplesSettings = FeedbackExamplesSettings()
    train: TrainSection = TrainSection()
    rounds: Annotated[dict[str, RoundSection], Opaque()] = Field(
        default_factory=dict, description="Name -> a further round, each after those it starts from."
    )
    evaluate: EvaluateSection = EvaluateSection()
    benchmarks: list[Benchmark] = Field(  # type: ignore[valid-type]
        default_factory=list, description="Tests that models are known by, for the student and every trained model."
    )
    lm_eval: LmEvalSettings | None = Field(default=None, description="Benchmarks of lm-eval, for every model.")
    report: ReportSettings = ReportSettings()
    execution: Executor = Field(  # type: ignore[valid-type]
        default=local.Settings(), description="Who computes the chunks of stages that go prompt by prompt."
    )
    nightly: NightlySettings | None = Field(default=None, description="For `hasse nightly`, on a source that grows.")
    launch: LaunchSettings = Field(default=LaunchSettings(), description="Processes and machines of training.")

    @model_validator(mode="before")
    @classmethod
    def _holds_no_secrets(cls, values: Any) -> Any:
        """A recipe is stored with every run."""
        check_addresses(values)
        return values

    @model_validator(mode="after")
    def _enough_candidates(self) -> "Recipe":
        """A method that ranks needs at least two candidates."""
        for where, generate, arms in [
            ("generate", self.generate, self.train.arms),
            *((f"rounds.{name}.generate", r.generate or self.generate, r.arms) for name, r in self.rounds.items()),
        ]:
            for name, arm in arms.items():
                needed = getattr(registry.load(METHODS, arm.method, kind="method"), "MIN_CANDIDATES", 1)
                if generate.num_candidates() < needed:
                    raise ValueError(
                        f"{where}.groups give K = {generate.num_candidates()} candidate a prompt, "
                        f"but arm {name!r} ({arm.method}) ranks at least {needed}; raise num_samples or add a group"
                    )
        return self

    @model_validator(mode="after")
    def _rounds_fit(self) -> "Recipe":
        """A round starts from an arm before it, under names of its own."""
        for reserved in ("student", RESAMPLE, LATEST):
            if reserved in self.arms():
                raise ValueError(f"an arm cannot be called {reserved!r}; the report calls something else so")
        known = list(self.train.arms)
        for name, r in self.rounds.items():
            if r.start not in known:
                raise ValueError(f"rounds.{name}.start: {registry.unknown(r.start, known, kind='earlier arm')}")
            taken = set(r.arms) & {*known, "student"}
            if taken:
                raise ValueError(f"rounds.{name}.arms: the name {min(taken)!r} is taken by an earlier arm")
            for arm in r.arms:
                self.train.optimiser(arm, r.optimiser)
            known += r.arms
        for arm in self.train.overrides:
            if arm not in known:
                raise ValueError(f"train.overrides: {registry.unknown(arm, known, kind='arm')}")
        return self

    @model_validator(mode="after")
    def _arms_are_whole(self) -> "Recipe":
        """A part of PIT's chain is no arm, and PIT has optimisers of its own."""
        changed = [arm for r in self.rounds.values() if r.optimiser for arm in r.arms]
        for name, arm in self.arms().items():
            if examples_kind(arm) == "gap":
                raise ValueError(f"arm {name!r}: {arm.method} is a part of pit and cannot be an arm of its own")
            if arm.method == "pit" and (name in [*self.train.overrides, *changed] or self.train.adapter(name)):
                raise ValueError(
                    f"arm {name!r}: pit has optimisers of its own and trains all weights; "
                    "set these in the arm, not by overrides, lora or a round's optimiser"
                )
        return self

    @model_validator(mode="after")
    def _launch_fits(self) -> "Recipe":
        """Processes share a step's prompts, and what is compiled is not sharded."""
        changes = {arm: r.optimiser for r in self.rounds.values() for arm in r.arms}
        for arm in [name for name, arm in self.arms().items() if arm.method != "pit"]:
            optimiser = self.train.optimiser(arm, changes.get(arm))
            try:
                self.launch.settled(optimiser.prompts_per_step)
            except RecipeError as error:
                raise ValueError(f"arm {arm!r}: {error}") from error
            if optimiser.compile and self.launch.fsdp is not None:
                raise ValueError(f"arm {arm!r}: train.compile and launch.fsdp do not go together; leave one out")
        return self

    @model_validator(mode="after")
    def _feedback_exists(self) -> "Recipe":
        for name, arm in self.arms().items():
            if examples_kind(arm) == "feedback" and self.feedback is None:
                raise ValueError(f"arm {name!r} ({arm.method}) learns from feedback, but the recipe has no `feedback`")
        return self

    @model_validator(mode="after")
    def _scores_exist(self) -> "Recipe":
        for one in (one for judge in self._judges() for one in judging(judge).values()):
            if getattr(one, "total", None) == "score" and self.task.labels:
                raise ValueError("judge.total: score compares with gold answers; a task with labels has none")
        return self

    @model_validator(mode="after")
    def _audit_happens(self) -> "Recipe":
        if self.audit != AuditSettings() and not any(is_audited(judge) for judge in self._judges()):
            raise ValueError("audit: a rule is not audited; leave the section out, or have another teacher judge")
        if self.audit.repeats and not any(repeats(judge) for judge in self._judges()):
            raise ValueError("audit.repeats asks a chat model again; this judge would say the same, so leave it out")
        between = sorted({"min_judges_tau", "min_judges_alike"} & set(self.audit.bounds()))
        if between and not any(members(judge) for judge in self._judges()):
            raise ValueError(f"audit.{between[0]} compares judges; have `several` judge, or leave it out")
        return self

    def _judges(self) -> list[Any]:
        """Of every round."""
        return [self.judge, *(r.judge for r in self.rounds.values() if r.judge)]

    @model_validator(mode="after")
    def _teacher_exists(self) -> "Recipe":
        rounds = [(r.generate or self.generate, r.judge or self.judge) for r in self.rounds.values()]
        for generate, judge in [(self.generate, self.judge), *rounds]:
            if self.teacher is None and ("teacher" in generate.models() or needs_model(judge)):
                raise ValueError("a sampler or the judge asks the teacher's model, but the recipe has no `teacher`")
            known = ["student", "teacher", *self.models]
            for model in sorted(generate.models() - set(known)):
                raise ValueError(f"generate: {registry.unknown(model, known, kind='model')}")
        return self

    @model_validator(mode="after")
    def _models_have_names_of_their_own(self) -> "Recipe":
        for name in self.models:
            if name in TAKEN or not NAME.fullmatch(name):
                raise ValueError(f"models: {name!r} is taken, or not lower case with dashes; give it another name")
        return self

    @model_validator(mode="after")
    def _a_night_fits(self) -> "Recipe":
        """What `hasse nightly` would find out too late."""
        night = self.nightly
        if night is None:
            return self
        arm, seed = self._candidate_for_promotion()
        if arm not in self.arms():
            raise ValueError(f"nightly.arm: {registry.unknown(arm, list(self.arms()), kind='arm')}")
        if self.arms()[arm].method == "pit" or (night.start == "latest" and self.improves()):
            raise ValueError(
                "nightly: pit improves another model's answers, so it is neither promoted nor starts from latest"
            )
        if seed not in self.train.seeds:
            raise ValueError(f"nightly.seed: {seed} is not one of train.seeds, {self.train.seeds}")
        metric = self.night_metric()
        if metric.startswith("sampled") and not self.evaluate.num_samples:
            raise ValueError(f"nightly.metric: {metric} needs evaluate.num_samples of 1 or more")
        if metric.endswith("score") and self.task.labels and has_gold(self):
            raise ValueError(f"nightly.metric: {metric} compares with gold answers; a task with labels has none")
        return self

    @model_validator(mode="after")
    def _gold_exists(self) -> "Recipe":
        check_gold(self)
        return self

    def night_metric(self) -> str:
        """By what measure a night's model is compared with the latest one."""
        assert self.nightly is not None, "asked by the callers"
        return self.nightly.metric_of(self.task, gold=has_gold(self))

    @model_validator(mode="after")
    def _old_rows_stay(self) -> "Recipe":
        """A row that comes must change neither the student nor an old prompt."""
        if self.nightly is None:
            return self
        if getattr(registry.load(SOURCES, self.source.kind, kind="source"), "MIXES_ROWS", False):
            raise ValueError(f"nightly: in the source {self.source.kind} a new row changes old prompts")
        if self.student.scratch and self.prompts.fractions.pretrain:
            raise ValueError(
                "nightly: new rows would join the split pretrain and so change the student; set "
                "prompts.fractions.pretrain to 0 and mark its rows by source.fields.split, or give student.model"
            )
        return self

    def contender(self) -> str:
        """Arm and seed of the model that a night may promote, as in the names of its steps."""
        arm, seed = self._candidate_for_promotion()
        return f"{arm}/seed-{seed}"

    def _candidate_for_promotion(self) -> tuple[str, int]:
        assert self.nightly is not None, "asked by the callers"
        arms = list(self.arms())
        if self.nightly.arm is None and len(arms) != 1:
            raise ValueError(f"nightly.arm: say which of {', '.join(arms) or 'no arms'} may be promoted")
        seed = self.nightly.seed
        return self.nightly.arm or arms[0], self.train.seeds[0] if seed is None else seed

    def form_values(self) -> dict[str, Any]:
        """All values, as a form wants them."""
        values = self.model_dump(mode="json")
        for section in (values["train"], *values["rounds"].values()):
            section["arms"] = ARMS.values(section["arms"])
        return values

    def improves(self) -> bool:
        """Whether an arm improves the student's answers instead of answering itself."""
        return any(arm.method == "pit" for arm in self.arms().values())

    def arms(self) -> dict[str, Any]:
        """Every arm of every round, in order: name -> method."""
        return {**self.train.arms, **{name: arm for r in self.rounds.values() for name, arm in r.arms.items()}}

    @model_validator(mode="after")
    def _baselines_exist(self) -> "Recipe":
        known = ["student", *self.arms(), *([RESAMPLE] if self.improves() else [])]
        for baseline in self.report.baselines:
            if baseline not in known:
                raise ValueError(f"report.baselines: {registry.unknown(baseline, known, kind='arm')}")
        return self


def load_recipe(name: str, assignments: list[str]) -> Recipe:
    """A shipped recipe by name, or a YAML file by path, with every `--set` applied. Raises RecipeError."""
    return validate(Recipe, apply_settings(read_yaml(recipe_path(name)), assignments), where=f"recipe {name}")


def recipe_path(name: str) -> Path:
    path = shipped_recipes().get(name) or Path(name)
    if path.suffix not in (".yaml", ".yml"):
        raise RecipeError(registry.unknown(name, sorted(shipped_recipes()), kind="recipe"))
    return path


def shipped_recipes() -> dict[str, Path]:
    """Name -> file."""
    folder = Path(str(files("hasse.flows"))) / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
