"""Stage train: one method, one seed, from the student to a checkpoint."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from data import registry
from data.config import Config, Seed, unkeyed
from data.errors import InputError
from data.mapped import MappedRecords
from data.records import HELD_OUT, Checkpoint, CurvePoint, Prompt, TrainingExample
from pipeline.stage import Job, Stage
from stages.checkpoints import identity, model_folder, publish_model
from stages.held_out import prove_disjoint
from stages.joins import join
from stages.launch import LaunchSettings
from stages.optimiser import OptimiserSettings
from stages.trainer_folder import EXAMPLES, TRAINER, keep_logs

if TYPE_CHECKING:
    from stages.train_work import Work

METHODS = "stages.methods"
Method = registry.settings_union(METHODS, "method")


class LoraSettings(Config):
    r: int = Field(default=16, ge=1, description="Rank.")
    alpha: float = Field(default=32.0, gt=0, description="Scale; the adapter's output is multiplied by alpha / r.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="On the adapter's input.")
    target_modules: list[str] | Literal["all-linear"] = Field(
        default="all-linear", description="Layers that get an adapter."
    )


class TrainSettings(Config):
    """One run of the train stage."""

    method: Method = Field(description="What the student learns by.")  # type: ignore[valid-type]
    optimiser: OptimiserSettings
    lora: LoraSettings | None = None
    seed: Seed
    launch: LaunchSettings = unkeyed(LaunchSettings(), description="Over which processes and machines.")

    @model_validator(mode="after")
    def _passes_agree(self) -> "TrainSettings":
        check_passes(self.optimiser, self.lora)
        return self


def check_passes(optimiser: OptimiserSettings, lora: LoraSettings | None) -> None:
    """Raises ValueError where two passes are asked for and an adapter drops inputs at random."""
    if optimiser.passes == "two" and lora is not None and lora.dropout > 0:
        raise ValueError(
            f"passes: two scores every answer twice, which lora.dropout {lora.dropout:g} would make differ; "
            "set lora.dropout: 0, or passes: auto"
        )


def needs_reference(settings: Any) -> bool:
    """Whether a method with these settings needs the frozen student's log-probs."""
    method = registry.load(METHODS, settings.method, kind="method")
    return hasattr(method, "needs_reference") and method.needs_reference(settings)


def examples_kind(settings: Any) -> str:
    """What a method learns from: "order", "feedback" or "gap"."""
    return getattr(registry.load(METHODS, settings.method, kind="method"), "EXAMPLES", "order")


def run(job: Job) -> None:
    from stages.fitting import cost
    from stages.launched import learn_together
    from stages.learn import learn

    settings: TrainSettings = job.settings
    work, examples, counts = _prepared(job)
    launch = work.settings.launch
    points, plan = learn_together(job, work) if launch.is_launched else learn(work, job.progress)
    keep_logs(job.path)
    job.write(points, CurvePoint)
    (base,) = job.input("student").records(Checkpoint)
    spent = cost(examples, settings.optimiser, seed=settings.seed)
    if needs_reference(settings.method):
        spent["reference_sequences"] = sum(len(example.completions) for example in examples)
    final = {p.metric: p.value for p in points if p.step == points[-1].step}
    job.metrics |= {"plan": plan.summary(), "examples": counts, "cost": spent, "final": final}
    if launch.is_launched:
        job.metrics["launch"] = {"processes": launch.processes, "machines": launch.machines}
    if work.settings.method != settings.method:
        job.metrics["resolved"] = work.settings.method.model_dump(mode="json")
    publish_model(job, method=settings.method.method, seed=settings.seed, num_steps=points[-1].step, base=base)


def estimate(job: Job) -> dict[str, Any]:
    """What this step would take in one process. Raises InputError for a prompt that cannot fit into memory."""
    from stages import fitting
    from stages.learn import student_of

    work, examples, _ = _prepared(job)
    return fitting.estimate(student_of(work), examples, **work.what())


def _prepared(job: Job) -> tuple["Work", Sequence[TrainingExample], dict[str, int]]:
    """What is to be learned, how and from what; and the examples with their counts."""
    from stages.train_work import Work

    settings: TrainSettings = job.settings
    method = registry.load(METHODS, settings.method.method, kind="method")
    launch = settings.launch.settled(settings.optimiser.prompts_per_step)
    examples, counts = select(job, method, settings.method)
    resolved = method.resolve(settings.method, examples) if hasattr(method, "resolve") else settings.method
    changes = {"method": resolved, "launch": launch}
    student = model_folder(job.input("student"))
    return Work(settings=settings.model_copy(update=changes), student=student, path=job.path), examples, counts


def select(job: Job, method: Any, settings: Any) -> tuple[Sequence[TrainingExample], dict[str, int]]:
    """The examples that the method can use, after a proof that they share nothing with what is held out.

    They are streamed from table to table, and read one at a time. Raises InputError when none is left.
    """
    held_out = [p for p in _usable_prompts(job) if p.split in HELD_OUT]
    prove_disjoint(_trained(job), held_out)
    offered = 0

    def prepared() -> Iterator[TrainingExample]:
        nonlocal offered
        for example in _offered(job):
            offered += 1
            found = method.prepare(example, settings)
            if found is not None:
                yield found

    used = MappedRecords.write(job.path / TRAINER / EXAMPLES, prepared(), TrainingExample)
    if not len(used):
        raise InputError(
            f"{job.name}: none of {offered} usable examples is of use to this method; "
            "it needs an expert's answer, a good candidate or an ordered pair"
        )
    unusable = sum(e.status != "ok" for e in job.input("examples").records(TrainingExample))
    counts = {"offered": offered, "used": len(used), "of_no_use": offered - len(used)}
    return used, {**counts, "unusable": unusable} if unusable else counts


def _trained(job: Job) -> Iterator[Prompt]:
    """The prompts of the examples. Raises InputError when an example has none, or they are not in order."""
    missing = sum(1 for _ in _offered(job))
    for prompt, examples in join(_usable_prompts(job), _offered(job)):
        missing -= len(examples)
        if examples:
            yield prompt
    if missing:
        raise InputError(f"{job.name}: {missing} examples have no usable prompt, or are not sorted by prompt_id")


def _usable_prompts(job: Job) -> Iterator[Prompt]:
    return (p for p in job.input("prompts").records(Prompt) if p.status == "ok")


def _offered(job: Job) -> Iterator[TrainingExample]:
    return (e for e in job.input("examples").records(TrainingExample) if e.status == "ok")


STAGE = Stage(
    name="train",
    run=run,
    modules=(
        "stages.train",
        "stages.train_work",
        "stages.learn",
        "stages.fitting",
        "stages.whole_checkpoints",
        "stages.trainer",
        "stages.forward",
        "stages.layout",
        "stages.attention",
        "stages.head",
        "stages.batch",
        "stages.ranking",
        "stages.models",
        "stages.end_tokens",
        "stages.checkpoints",
        "stages.optimiser",
        "stages.joins",
        "data.mapped",
        "data.rendering",
        "data.text",
        "stages.chat_template",
        "stages.held_out",
        "stages.trainer_folder",
        "stages.control_tokens",
        "stages.model_folders",
        "stages.tokens",
    ),
    in_child=True,
    identity=identity,
    estimate=estimate,
    estimate_in_child=True,
)
