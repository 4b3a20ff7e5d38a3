"""Stage train: from the student to a checkpoint, with one method and one seed."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hasse.data.errors import InputError
from hasse.data.joins import join
from hasse.data.record_file import MappedRecords
from hasse.data.records import HELD_OUT, Checkpoint, CurvePoint, Prompt, TrainingExample
from hasse.data.settings import registry
from hasse.pipeline.stage import Job, Stage
from hasse.stages.models.checkpoints import identity, model_folder, name_base, publish_model
from hasse.stages.prompts.held_out import prove_disjoint
from hasse.stages.train.settings import METHODS, TrainSettings, needs_reference
from hasse.stages.train.trainer_folder import EXAMPLES, TRAINER, keep_logs

if TYPE_CHECKING:
    from hasse.stages.train.run_spec import RunSpec


def run(job: Job) -> None:
    from hasse.stages.train.distributed.launcher import train_in_processes
    from hasse.stages.train.fit import cost
    from hasse.stages.train.one_run import train_model

    settings: TrainSettings = job.settings
    run_spec, examples, counts = _prepared(job)
    launch = run_spec.settings.launch
    points, plan = train_in_processes(job, run_spec) if launch.needs_launcher else train_model(run_spec, job.progress)
    keep_logs(job.path)
    job.write(points, CurvePoint)
    (base,) = job.input("student").records(Checkpoint)
    spent = cost(examples, settings.optimiser, seed=settings.seed)
    if needs_reference(settings.method):
        spent["reference_sequences"] = sum(len(example.completions) for example in examples)
    final = {p.metric: p.value for p in points if p.step == points[-1].step}
    job.metrics |= {"plan": plan.summary(), "examples": counts, "cost": spent, "final": final}
    if launch.needs_launcher:
        job.metrics["launch"] = {"processes": launch.processes, "machines": launch.machines}
    if run_spec.settings.method != settings.method:
        job.metrics["resolved"] = run_spec.settings.method.model_dump(mode="json")
    if settings.lora is not None:
        name_base(job, job.input("student"))
    publish_model(job, method=settings.method.method, seed=settings.seed, num_steps=points[-1].step, base=base)


def estimate(job: Job) -> dict[str, Any]:
    """The cost of this step in one process. Raises InputError for a prompt that cannot fit into memory."""
    from hasse.stages.train import fit
    from hasse.stages.train.one_run import model_to_train

    run_spec, examples, _ = _prepared(job)
    return fit.estimate(model_to_train(run_spec), examples, **run_spec.fit_arguments())


def _prepared(job: Job) -> tuple["RunSpec", Sequence[TrainingExample], dict[str, int]]:
    """The training run, its examples, and their counts."""
    from hasse.stages.train.run_spec import RunSpec

    settings: TrainSettings = job.settings
    method = registry.load(METHODS, settings.method.method, kind="method")
    launch = settings.launch.with_processes(settings.optimiser.prompts_per_step)
    examples, counts = select(job, method, settings.method)
    resolved = method.resolve(settings.method, examples)
    changes = {"method": resolved, "launch": launch}
    student = model_folder(job.input("student"))
    return RunSpec(settings=settings.model_copy(update=changes), student=student, path=job.path), examples, counts


def select(job: Job, method: Any, settings: Any) -> tuple[Sequence[TrainingExample], dict[str, int]]:
    """The examples that the method can use, and counts, after a proof that they share nothing with held-out prompts.

    Examples are streamed from table to table. Raises InputError when none is left, or when the proof fails.
    """
    held_out = [p for p in _usable_prompts(job) if p.split in HELD_OUT]
    prove_disjoint(_trained(job), held_out)
    offered = 0

    def prepared() -> Iterator[TrainingExample]:
        nonlocal offered
        for example in _offered(job):
            offered += 1
            usable = method.prepare(example, settings)
            if usable is not None:
                yield usable

    used = MappedRecords.write(job.path / TRAINER / EXAMPLES, prepared(), TrainingExample)
    if not len(used):
        raise InputError(
            f"{job.name}: this method can use none of {offered} examples; "
            "it needs an expert's answer, a good candidate or an ordered pair"
        )
    unusable = sum(e.status != "ok" for e in job.input("examples").records(TrainingExample))
    counts = {"offered": offered, "used": len(used), "of_no_use": offered - len(used)}
    return used, {**counts, "unusable": unusable} if unusable else counts


def _trained(job: Job) -> Iterator[Prompt]:
    """The prompts of the examples. Raises InputError for examples without a prompt or not sorted by prompt_id."""
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
    in_child=True,
    identity=identity,
    estimate=estimate,
    estimate_in_child=True,
)
