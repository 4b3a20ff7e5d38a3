"""The sections of a recipe, and the values that follow from several sections together."""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from hasse.data.field_mapping import Fields
from hasse.data.settings import Config, Name, registry
from hasse.data.settings.form import Opaque
from hasse.flows.recipe.nightly_section import NightlySettings
from hasse.flows.recipe.train_section import ARMS, Arms, TrainSection
from hasse.pipeline.executors import local
from hasse.pipeline.rows import EXECUTORS
from hasse.stages.evaluate.arm_duels import DuelSection
from hasse.stages.evaluate.benchmark import Benchmark
from hasse.stages.evaluate.lm_eval import LmEvalSettings
from hasse.stages.evaluate.settings import EvaluateSection
from hasse.stages.examples.from_feedback import FeedbackExamplesSettings
from hasse.stages.examples.from_orders import ExamplesSettings
from hasse.stages.feedback.settings import FeedbackSettings
from hasse.stages.generate.stage import GenerateSettings
from hasse.stages.grading import TaskSettings
from hasse.stages.judge.audit_bounds import AuditSettings
from hasse.stages.judge.stage import Teacher
from hasse.stages.order.stage import Strategy
from hasse.stages.prompts.question import QuestionSettings
from hasse.stages.prompts.stage import PromptsSection
from hasse.stages.report.stage import ReportSettings
from hasse.stages.student.stage import StudentSettings
from hasse.stages.train.distributed.settings import LaunchSettings

NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
SOURCES = "hasse.data.sources"
RESAMPLE = "resample"
"""The name in the report of the student's second answers, the control beside arms that improve answers."""
Source = registry.settings_union(SOURCES, "kind")
Executor = registry.settings_union(EXECUTORS, "executor")
FIRST = "Left out: as in the first round."


class TaskSection(TaskSettings, QuestionSettings):
    """What is asked, and which answers are right."""

    def grading(self) -> TaskSettings:
        """The part that says which answers are right."""
        return TaskSettings(**{name: getattr(self, name) for name in TaskSettings.model_fields})


class RoundSection(Config):
    """A further round: a model that an earlier arm has trained answers the prompts, and new arms learn from that."""

    start: str = Field(
        description="The arm, of `train` or of an earlier round, whose model answers and is trained further; or "
        "`student`: the arms of this round differ from those of `train` in what the round changes, such as the order."
    )
    generate: GenerateSettings | None = Field(default=None, description=FIRST)
    judge: Teacher | None = Field(default=None, description=FIRST)  # type: ignore[valid-type]
    order: Strategy | None = Field(default=None, description=FIRST)  # type: ignore[valid-type]
    examples: ExamplesSettings | None = Field(default=None, description=FIRST)
    arms: Arms = Field(
        min_length=1, description="Name of an arm -> its method. Each arm is trained once for each seed of `train`."
    )
    optimiser: dict[str, Any] = Field(
        default_factory=dict, description="Optimiser settings that differ from those of `train`."
    )


@dataclass(frozen=True, kw_only=True)
class RoundSettings:
    """All settings of one round: what its section leaves out is taken from the first round.

    `place` is where the settings stand in the recipe: "" for the first round, "rounds.NAME." for a further one.
    """

    place: str
    generate: GenerateSettings
    judge: Any
    order: Any
    examples: ExamplesSettings
    arms: dict[str, Any]
    optimiser: dict[str, Any]


class RecipeSections(Config):
    """The sections of a recipe, each valid by itself."""

    name: str = Field(pattern=rf"^{NAME.pattern}$", max_length=100, description="Lower case, with dashes.")
    description: str = Field(default="", description="One sentence: what question this run answers.")
    source: Source = Field(description="Where the prompts come from.")  # type: ignore[valid-type]
    task: TaskSection = TaskSection()
    prompts: PromptsSection = PromptsSection()
    student: StudentSettings
    teacher: StudentSettings | None = Field(
        default=None,
        description="The model by which the judge scores, for judge.teacher: logprob, transformers or vllm. A sampling "
        "group may also ask it (`model: teacher`), as in Tuna. A stronger model that only answers is one of `models`.",
    )
    models: dict[str, StudentSettings] = Field(
        default_factory=dict, description="Name -> a further model that sampling groups may ask."
    )
    max_failed: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="The largest share of rows that may fail, be refused or be unparsable in a step that asks or "
        "samples (generate, judge, feedback). If more rows are bad, the step fails and keeps its good rows. A single "
        "bad row is always allowed, unless this is 0. A bound of `audit` on the same share takes precedence.",
    )
    generate: GenerateSettings
    judge: Teacher  # type: ignore[valid-type]
    audit: AuditSettings = Field(
        default=AuditSettings(), description="What the judgements must satisfy, unless a rule judges."
    )
    order: Strategy  # type: ignore[valid-type]
    examples: ExamplesSettings = ExamplesSettings()
    feedback: FeedbackSettings | None = Field(
        default=None, description="Feedback on answers, for methods that learn to predict feedback."
    )
    feedback_examples: FeedbackExamplesSettings = FeedbackExamplesSettings()
    train: TrainSection = TrainSection()
    rounds: Annotated[dict[Name, RoundSection], Opaque()] = Field(
        default_factory=dict, description="Name -> a further round. A round comes after the arm that it starts from."
    )
    evaluate: EvaluateSection = EvaluateSection()
    duel: DuelSection | None = Field(
        default=None, description="A judge's preference between the answers of the arms, with Elo ratings."
    )
    benchmarks: list[Benchmark] = Field(  # type: ignore[valid-type]
        default_factory=list, description="Public benchmarks that the student and every trained model take."
    )
    lm_eval: LmEvalSettings | None = Field(
        default=None, description="Benchmarks of lm-eval that the student and every trained model take."
    )
    report: ReportSettings = ReportSettings()
    execution: Executor = Field(  # type: ignore[valid-type]
        default=local.Settings(), description="Where the stages that go prompt by prompt compute their chunks."
    )
    nightly: NightlySettings | None = Field(
        default=None, description="Settings of `hasse nightly`, for a source that grows."
    )
    launch: LaunchSettings = Field(
        default=LaunchSettings(), description="The processes and machines that training runs on."
    )

    def every_round(self) -> list[RoundSettings]:
        """The settings of the first round and of every further round, in order."""
        further = [
            RoundSettings(
                place=f"rounds.{name}.",
                generate=section.generate or self.generate,
                judge=section.judge or self.judge,
                order=section.order or self.order,
                examples=section.examples or self.examples,
                arms=section.arms,
                optimiser=section.optimiser,
            )
            for name, section in self.rounds.items()
        ]
        first = RoundSettings(
            place="",
            generate=self.generate,
            judge=self.judge,
            order=self.order,
            examples=self.examples,
            arms=self.train.arms,
            optimiser={},
        )
        return [first, *further]

    def questions(self) -> tuple[QuestionSettings, QuestionSettings]:
        """How the prompts are asked that are trained on, and those that are held out."""
        given = {name: getattr(self.task, name) for name in QuestionSettings.model_fields}
        if self.task.instruction is None and self.student.scratch is None:
            source = registry.load(SOURCES, self.source.kind, kind="source")
            given["instruction"] = source.instruction(self.source)
        training = QuestionSettings(**given)
        return training, self.evaluate.question.over(training) if self.evaluate.question else training

    def arms(self) -> dict[str, Any]:
        """Name -> method of every arm of every round, in order."""
        return {name: method for settings in self.every_round() for name, method in settings.arms.items()}

    def improves(self) -> bool:
        """Whether some arm improves the student's answers instead of answering itself."""
        return any(arm.method == "pit" for arm in self.arms().values())

    def controls(self) -> list[str]:
        """The names of the student's further answers, the controls beside arms that improve answers."""
        best_of = [f"best-of-{self.evaluate.best_of}"] if self.evaluate.best_of else []
        return [*([RESAMPLE] if self.improves() else []), *best_of]

    def has_gold(self) -> bool:
        """Whether prompts may have gold answers: in a table, if a column is mapped to them."""
        fields = self.table_fields()
        if fields is None:
            return registry.load(SOURCES, self.source.kind, kind="source").HAS_GOLD
        if self.task.labels:
            return fields.label is not None
        return fields.answers is not None or self.task.no_answer is not None

    def table_fields(self) -> Fields | None:
        """The field mapping of a source that reads a table; None for other sources."""
        fields = getattr(self.source, "fields", None)
        return fields if isinstance(fields, Fields) else None

    def contender(self) -> tuple[str, int]:
        """The arm and the seed whose model a night may promote.

        Raises ValueError if the recipe does not say which of several arms.
        """
        assert self.nightly is not None, "asked by the callers"
        arms, arm, seed = list(self.arms()), self.nightly.arm, self.nightly.seed
        if arm is None and len(arms) != 1:
            raise ValueError(f"nightly.arm: say which of {', '.join(arms) or 'no arms'} may be promoted")
        return arm or arms[0], self.train.seeds[0] if seed is None else seed

    def night_metric(self) -> str:
        """The metric by which a night's model is compared with the latest model."""
        assert self.nightly is not None, "asked by the callers"
        return self.nightly.metric_of(self.task, gold=self.has_gold())

    def form_values(self) -> dict[str, Any]:
        """All values in the shape that the form on Prefect's pages takes."""
        values = self.model_dump(mode="json")
        for section in (values["train"], *values["rounds"].values()):
            section["arms"] = ARMS.values(section["arms"])
        return values
