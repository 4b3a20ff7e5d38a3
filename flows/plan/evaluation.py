"""The last steps of a plan: every model is evaluated, and the report is made."""

from dataclasses import replace
from typing import Any

from hasse.data.settings import registry
from hasse.data.settings.form import MAX_SEED
from hasse.flows.plan.rounds import Trained
from hasse.flows.recipe.nightly_section import LATEST
from hasse.flows.recipe.recipe import Recipe
from hasse.flows.recipe.sections import RESAMPLE
from hasse.pipeline.stage import Step
from hasse.stages.evaluate import benchmark, lm_eval
from hasse.stages.evaluate import stage as evaluate
from hasse.stages.evaluate.settings import EvaluateSettings
from hasse.stages.pit import rl as improve_rl
from hasse.stages.report import stage as report
from hasse.stages.train import stage as train

LEARNING = {train.STAGE.name, improve_rl.STAGE.name}
"""The stages whose artifacts hold a model and its learning curves."""


def measures(recipe: Recipe, trained: list[Trained], *, pairs: str, paid: tuple[str, ...]) -> list[Step]:
    """The steps after training.

    pairs: The step with the held-out examples, for recipes that compare the answers of pairs.
    paid: The earlier steps that ask a chat endpoint.
    """
    promoted = [Trained.promoted(_contender(recipe, trained).seen)] if promoted_model(recipe) else []
    controls = [Trained.resampled(seed) for seed in recipe.train.seeds] if recipe.improves() else []
    answering = [t for t in (Trained.untrained(), *trained) if t.improve is None]
    made = {
        "evaluate": [_evaluate(recipe, t, pairs) for t in (Trained.untrained(), *promoted, *controls, *trained)],
        "benchmark": [_benchmark(settings, t) for settings in recipe.benchmarks for t in answering],
        "lm_eval": [_lm_eval(recipe, t) for t in answering if recipe.lm_eval],
    }
    inputs = {name: tuple(step.name for step in steps) for name, steps in made.items()}
    inputs["train"] = tuple(step.name for t in trained for step in t.steps if step.stage.name in LEARNING)
    if paid:
        inputs["paid"] = paid
    return [*(step for steps in made.values() for step in steps), _report(recipe, inputs)]


def promoted_model(recipe: Recipe) -> str | None:
    """The folder of the model that an earlier night promoted, or None."""
    return recipe.nightly.latest if recipe.nightly else None


def _contender(recipe: Recipe, trained: list[Trained]) -> Trained:
    """The model that may be promoted tonight. Its examples include those of the model that was promoted before."""
    assert recipe.nightly is not None, "asked by the caller"
    return next(model for model in trained if (model.arm, model.seed) == recipe.contender())


def _evaluate(recipe: Recipe, model: Trained, pairs: str) -> Step:
    """Evaluate one model. Held-out prompts must share nothing with what the model has learned from (`seen`)."""
    section = recipe.evaluate.model_dump(exclude={"question"})  # the prompts hold it
    if model.arm == RESAMPLE:
        section["seed"] = (section["seed"] + 1 + model.seed) % (MAX_SEED + 1)
    if recipe.evaluate.pairs and model.improve is None:
        model = replace(model, inputs={**model.inputs, "pairs": (pairs,)})
    inputs = {
        **model.inputs,
        "checkpoint": (model.step,),
        "prompts": (f"prompts:{recipe.evaluate.split}",),
        "seen": ("prompts:pretrain",),
    }
    return Step(
        name=f"evaluate/{model.name}",
        labels=model.labels,
        stage=evaluate.STAGE,
        settings=EvaluateSettings(
            **section,
            task=recipe.task.grading(),
            feedback_template=recipe.feedback_examples.template,
            improve=model.improve,
        ),
        inputs={**inputs, "examples": model.seen} if model.seen else inputs,
    )


def _benchmark(settings: Any, model: Trained) -> Step:
    return Step(
        name=f"benchmark/{model.name}/{settings.benchmark}",
        labels={**model.labels, "benchmark": settings.benchmark},
        stage=benchmark.STAGE,
        settings=benchmark.BenchmarkSettings(benchmark=settings),
        inputs={"checkpoint": (model.step,), "prompts": ("prompts",)},
        external=benchmark.external(settings),
        plugs=registry.modules(benchmark.BENCHMARKS, settings.benchmark),
    )


def _lm_eval(recipe: Recipe, model: Trained) -> Step:
    assert recipe.lm_eval is not None, "asked by the caller"
    return Step(
        name=f"lm_eval/{model.name}",
        labels=model.labels,
        stage=lm_eval.STAGE,
        settings=recipe.lm_eval,
        inputs={"checkpoint": (model.step,)},
    )


def _shown(recipe: Recipe) -> dict[str, Any]:
    """The recipe as the report shows it, without what says where a run was computed and watched."""
    return recipe.model_dump(mode="json", exclude={"execution": True, "launch": True, "train": {"tracking"}})


def _report(recipe: Recipe, made: dict[str, tuple[str, ...]]) -> Step:
    names = {
        "prompts": "prompts",
        "student": "student",
        "candidates": "generate",
        "judgements": "judge",
        "orders": "order",
        "examples": "examples",
    }
    shown = recipe.report
    if promoted_model(recipe):
        shown = shown.model_copy(update={"baselines": [*shown.baselines, LATEST]})
    return Step(
        name="report",
        stage=report.STAGE,
        settings=report.ReportInputs(report=shown, task=recipe.task.grading(), recipe=_shown(recipe)),
        inputs={
            **{name: (step,) for name, step in names.items()},
            **made,
        },
    )
