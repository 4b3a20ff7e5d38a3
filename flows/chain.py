"""What runs after what: a recipe as a list of steps."""

from data import registry
from flows.recipe import SOURCES, Recipe
from pipeline.stage import Step
from stages import evaluate, examples, generate, judge, order, prompts, reference, report, student, train
from stages.orders import lp  # noqa: F401  a plug must be importable before a plan is made


def plan(recipe: Recipe) -> list[Step]:
    """The steps of a recipe, each after those it reads. Raises SourceError when an input does not exist."""
    steps = [_prompts(recipe), _student(recipe), _generate(recipe), _judge(recipe), _order(recipe), _examples(recipe)]
    if any(train.needs_reference(method) for method in recipe.train.arms.values()):
        steps.append(_reference())
    arms = [_train(recipe, arm, seed) for arm in recipe.train.arms for seed in recipe.train.seeds]
    evaluations = [_evaluate(recipe, "student"), *(_evaluate(recipe, step.name) for step in arms)]
    return [*steps, *arms, *evaluations, _report(recipe, arms, evaluations)]


def _prompts(recipe: Recipe) -> Step:
    source = registry.load(SOURCES, recipe.source.kind, kind="source")
    return Step(
        name="prompts",
        stage=prompts.STAGE,
        settings=prompts.PromptsSettings(source=recipe.source, prompts=recipe.prompts, labels=recipe.task.labels),
        external={"source": source.digest(recipe.source)},
        plugs=(source.__name__,),
    )


def _student(recipe: Recipe) -> Step:
    scratch = recipe.student.scratch is not None
    return Step(
        name="student",
        stage=student.STAGE,
        settings=recipe.student,
        inputs={"prompts": ("prompts:pretrain",)} if scratch else {},
        external=student.external(recipe.student),
    )


def _generate(recipe: Recipe) -> Step:
    return Step(
        name="generate",
        stage=generate.STAGE,
        settings=recipe.generate,
        inputs={"prompts": ("prompts",), "student": ("student",)},
        plugs=tuple(sorted({m for g in recipe.generate.groups for m in registry.family(generate.SAMPLERS, g.sampler)})),
    )


def _judge(recipe: Recipe) -> Step:
    return Step(
        name="judge",
        stage=judge.STAGE,
        settings=judge.JudgeSettings(teacher=recipe.judge, task=recipe.task),
        inputs={"prompts": ("prompts",), "candidates": ("generate",)},
        plugs=registry.family(judge.TEACHERS, recipe.judge.teacher),
    )


def _order(recipe: Recipe) -> Step:
    settings = order.OrderSettings(strategy=recipe.order)
    return Step(
        name="order",
        stage=order.STAGE,
        settings=settings,
        inputs={"prompts": ("prompts",), "candidates": ("generate",), "judgements": ("judge",)},
        external=order.external(settings),
        plugs=registry.family(order.STRATEGIES, recipe.order.strategy),
    )


def _examples(recipe: Recipe) -> Step:
    return Step(
        name="examples",
        stage=examples.STAGE,
        settings=recipe.examples,
        inputs={
            "prompts": ("prompts",),
            "candidates": ("generate",),
            "orders": ("order",),
            "student": ("student",),
        },
    )


def _reference() -> Step:
    return Step(
        name="reference",
        stage=reference.STAGE,
        settings=reference.ReferenceSettings(),
        inputs={"examples": ("examples",), "student": ("student",)},
    )


def _train(recipe: Recipe, arm: str, seed: int) -> Step:
    method = recipe.train.arms[arm]
    return Step(
        name=f"train/{arm}/seed-{seed}",
        stage=train.STAGE,
        settings=train.TrainSettings(
            method=method, optimiser=recipe.train.optimiser(arm), lora=recipe.train.lora, seed=seed
        ),
        inputs={
            "prompts": ("prompts",),
            "examples": ("reference" if train.needs_reference(method) else "examples",),
            "student": ("student",),
        },
        plugs=registry.family(train.METHODS, method.method),
    )


def _evaluate(recipe: Recipe, checkpoint: str) -> Step:
    """The student is asked before any example exists; a trained model must share nothing with its examples."""
    section = recipe.evaluate.model_dump()
    inputs = {
        "checkpoint": (checkpoint,),
        "prompts": (f"prompts:{recipe.evaluate.split}",),
        "seen": ("prompts:pretrain",),
    }
    return Step(
        name=f"evaluate/{checkpoint.removeprefix('train/')}",
        stage=evaluate.STAGE,
        settings=evaluate.EvaluateSettings(**section, task=recipe.task),
        inputs=inputs if checkpoint == "student" else {**inputs, "examples": ("examples",)},
    )


def _report(recipe: Recipe, arms: list[Step], evaluations: list[Step]) -> Step:
    names = {
        "prompts": "prompts",
        "student": "student",
        "candidates": "generate",
        "judgements": "judge",
        "orders": "order",
        "examples": "examples",
    }
    return Step(
        name="report",
        stage=report.STAGE,
        settings=report.ReportInputs(report=recipe.report, task=recipe.task, recipe=recipe.model_dump(mode="json")),
        inputs={
            **{name: (step,) for name, step in names.items()},
            "train": tuple(step.name for step in arms),
            "evaluate": tuple(step.name for step in evaluations),
        },
    )
