"""The last steps of a plan: every model is evaluated, and the report is made."""

from dataclasses import replace
from typing import Any

from hasse.data.settings import registry
from hasse.data.settings.form import MAX_SEED
from hasse.flows.plan.rounds import Trained
from hasse.flows.recipe.nightly_section import LATEST
from hasse.flows.recipe.recipe import Recipe
from hasse.flows.recipe.sections import RESAMPLE
from hasse.flows.recipe.train_section import has_gap_model
from hasse.pipeline.stage import Step
from hasse.stages.evaluate import arm_duels, benchmark, lm_eval
from hasse.stages.evaluate import stage as evaluate
from hasse.stages.evaluate.arm_duels import DuelSection
from hasse.stages.evaluate.settings import EvaluateSettings
from hasse.stages.judge import traits
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
    controls += _best_of(recipe, trained)
    answering = [t for t in (Trained.untrained(), *trained) if t.improve is None]
    made = {
        "evaluate": [_evaluate(recipe, t, pairs) for t in (Trained.untrained(), *promoted, *controls, *trained)],
        "benchmark": [_benchmark(settings, t) for settings in recipe.benchmarks for t in answering],
        "lm_eval": [_lm_eval(recipe, t) for t in answering if recipe.lm_eval],
    }
    inputs = {name: tuple(step.name for step in steps) for name, steps in made.items()}
    inputs["train"] = tuple(step.name for t in trained for step in t.steps if step.stage.name in LEARNING)
    if recipe.duel:
        made["duel"] = [_duel(recipe, recipe.duel, made["evaluate"])]
        inputs["duel"] = ("duel",)
        paid = (*paid, *(("duel",) if traits.asks_endpoint(recipe.duel.judge) else ()))
    if paid:
        inputs["paid"] = paid
    return [*(step for steps in made.values() for step in steps), _report(recipe, inputs)]


def _best_of(recipe: Recipe, trained: list[Trained]) -> list[Trained]:
    """One control for each seed of the first PIT arm with a reward model that compares answers."""
    num = recipe.evaluate.best_of
    arm = next((name for name, method in recipe.arms().items() if has_gap_model(method)), None)
    if num is None or arm is None:
        return []
    rewards = {t.seed: t for t in trained if t.arm == arm}
    return [Trained.best_of(t, num=num, reward=f"train/{arm}/seed-{seed}/reward") for seed, t in rewards.items()]


def _duel(recipe: Recipe, section: DuelSection, evaluations: list[Step]) -> Step:
    judge = section.judge
    models = [arm_duels.Contestant.of(step.labels) for step in evaluations]
    estimate = arm_duels.estimate if traits.asks_endpoint(judge) else None
    return Step(
        name="duel",
        labels={"purpose": "evaluation"},
        stage=replace(arm_duels.STAGE, in_child=traits.in_child(judge), estimate=estimate),
        settings=arm_duels.DuelSettings(
            duel=section,
            task=recipe.task.grading(),
            num_pairs=sum(1 for _ in arm_duels.pairs_of(models, section.against)),
            split=recipe.evaluate.split,
            max_tokens=recipe.evaluate.max_tokens,
        ),
        inputs={
            "prompts": (f"prompts:{recipe.evaluate.split}",),
            "evaluate": tuple(step.name for step in evaluations),
            **({"teacher": ("teacher",)} if traits.needs_model(judge) else {}),
        },
        external=traits.external(judge),
        plugs=traits.plugs(judge),
    )


def promoted_model(recipe: Recipe) -> str | None:
    """The folder of the model that an earlier night promoted, or None."""
    return recipe.nightly.latest if recipe.nightly else None


def _contender(recipe: Recipe, trained: list[Trained]) -> Trained:
    """The model that may be promoted tonight. Its examples include those of the model that was promoted before."""
    assert recipe.nightly is not None, "asked by the caller"
    return next(model for model in trained if (model.arm, model.seed) == recipe.contender())


def _evaluate(recipe: Recipe, model: Trained, pairs: str) -> Step:
    """Evaluate one model. Held-out prompts must share nothing with what the model has learned from (`seen`)."""
    section = recipe.evaluate.model_dump(exclude={"question", "best_of"})  # the prompts hold the question
    if model.arm == RESAMPLE:
        section["seed"] = (section["seed"] + 1 + model.seed) % (MAX_SEED + 1)
    if recipe.evaluate.pairs and model.improve is None and model.choose is None:
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
            choose=model.choose,
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
