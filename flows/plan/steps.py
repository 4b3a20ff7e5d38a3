"""Turns a recipe into its steps, each after the steps that it reads."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from hasse.data.settings import registry
from hasse.flows.plan.evaluation import measures, promoted_model
from hasse.flows.plan.pit import improver_chain
from hasse.flows.plan.rounds import Round, Trained
from hasse.flows.recipe.endpoints import endpoints
from hasse.flows.recipe.nightly_section import LATEST
from hasse.flows.recipe.recipe import Recipe
from hasse.flows.recipe.sections import SOURCES, RoundSettings
from hasse.pipeline import failures
from hasse.pipeline.stage import Job, Step
from hasse.stages import feedback, generate, judge, order, prompts, student, train
from hasse.stages.examples import from_feedback, from_orders, reference
from hasse.stages.judge import traits
from hasse.stages.prompts import carry_over
from hasse.stages.train.methods import pit

HELD_OUT = {"purpose": "evaluation"}
"""The labels of the steps that make candidates for held-out prompts. No arm learns from these candidates."""


def plan(recipe: Recipe) -> list[Step]:
    """The steps of a recipe, each after the steps that it reads. Raises SourceError if an input is missing."""
    steps = [_prompts(recipe), _model("student", recipe.student, is_trained=True)]
    if recipe.teacher:
        steps.append(_model("teacher", recipe.teacher))
    steps += [_model(f"model/{name}", settings) for name, settings in recipe.models.items()]
    if folder := promoted_model(recipe):
        steps.append(_latest(folder))
    trained: list[Trained] = []
    for r in _rounds(recipe, trained):
        steps += _candidates(r)
        for arm, method in r.settings.arms.items():
            for seed in r.seeds:
                model = improver_chain(r, arm, seed) if isinstance(method, pit.Settings) else _arm(r, arm, seed)
                steps += model.steps
                trained.append(model)
    arms = list(recipe.arms())
    trained.sort(key=lambda t: arms.index(t.arm))
    if recipe.evaluate.pairs:
        steps += _candidates(_held_out(recipe))
    steps += measures(recipe, trained, pairs=_held_out(recipe).named("examples"), paid=_paid(steps))
    return [replace(step, executor=recipe.execution, check=_check(recipe, step)) for step in steps]


def _check(recipe: Recipe, step: Step) -> Callable[[Job], None] | None:
    """The bound on failed rows of a step that asks or samples. A share that the audit bounds is left to the audit."""
    if step.stage.name not in ("generate", "judge", "feedback", "duel"):
        return None
    bounds = recipe.audit.bounds() if step.stage.name == "judge" else {}
    elsewhere = tuple(name.removeprefix("max_") for name in bounds if name.startswith("max_"))
    return partial(failures.check, max_failed=recipe.max_failed, bound_elsewhere=elsewhere)


def _paid(steps: list[Step]) -> tuple[str, ...]:
    """The steps that ask a chat endpoint."""
    return tuple(step.name for step in steps if any(endpoints(step.settings)))


def _first(recipe: Recipe) -> Round:
    from_latest = promoted_model(recipe) and recipe.nightly and recipe.nightly.start == "latest"
    start = LATEST if from_latest else "student"
    return Round(recipe=recipe, settings=recipe.every_round()[0], start=start, seeds=tuple(recipe.train.seeds))


def _held_out(recipe: Recipe) -> Round:
    """The student's candidates for the prompts of evaluation, from which no arm learns."""
    splits, first = {"splits": [recipe.evaluate.split]}, _first(recipe)
    settings = replace(
        first.settings,
        generate=recipe.generate.model_copy(update=splits),
        examples=recipe.examples.model_copy(update=splits),
        arms={},
    )
    return replace(first, settings=settings, suffix="/held-out", labels=HELD_OUT)


def _rounds(recipe: Recipe, trained: list[Trained]) -> Iterator[Round]:
    """The first round, then each further round, once for each seed of the arm that it starts from.

    A round that starts from the student is made once, as the first round is.

    The caller adds the models of each round to `trained` before the next round is taken.
    """
    first = _first(recipe)
    yield first
    for (name, section), settings in zip(recipe.rounds.items(), recipe.every_round()[1:], strict=True):
        if section.start == "student":
            yield replace(first, settings=settings, suffix=f"/{name}", labels={"round": name})
        for start in [model for model in trained if model.arm == section.start]:
            yield replace(
                first,
                settings=settings,
                student=start.step,
                start=start.step,
                suffix=f"/{name}/seed-{start.seed}",
                labels={"round": name, "seed": start.seed},
                seeds=(start.seed,),
                seen=start.seen,
            )


def _prompts(recipe: Recipe) -> Step:
    source = registry.load(SOURCES, recipe.source.kind, kind="source")
    question, held_out_question = recipe.questions()
    return Step(
        name="prompts",
        stage=prompts.STAGE,
        settings=prompts.PromptsSettings(
            source=recipe.source,
            prompts=recipe.prompts,
            labels=recipe.task.labels,
            question=question,
            held_out_question=held_out_question,
        ),
        external={"source": source.digest(recipe.source), **carry_over.external(recipe.prompts.before)},
        plugs=registry.modules(SOURCES, recipe.source.kind),
    )


def _model(name: str, settings: student.StudentSettings, *, is_trained: bool = False) -> Step:
    """The step that loads or makes a model: the student, the teacher, or another model."""
    return Step(
        name=name,
        stage=student.STAGE,
        settings=settings,
        inputs={"prompts": ("prompts:pretrain",)} if settings.needs_lessons else {},
        external=student.external(settings, is_trained=is_trained),
    )


def _latest(folder: str) -> Step:
    """The promoted model. The key holds the folder as well as the weights, since the store may move."""
    step = _model(LATEST, student.StudentSettings(model=folder), is_trained=True)
    return replace(step, external={**step.external, "folder": folder})


def _candidates(r: Round) -> list[Step]:
    """The steps of a round from sampling to examples."""
    steps = [_generate(r), _judge(r), _order(r), _examples(r)]
    if "feedback" in _kinds(r):
        steps += [_feedback(r), _feedback_examples(r)]
    if any(train.needs_reference(method) for method in r.settings.arms.values()):
        steps.append(_reference(r))
    return steps


def _generate(r: Round) -> Step:
    asked = r.settings.generate.models() - {"student", "teacher"}
    models = {"student": (r.student,)} | (
        {"teacher": ("teacher",)} if "teacher" in r.settings.generate.models() else {}
    )
    models |= {name: (f"model/{name}",) for name in sorted(asked)}
    samplers = {m for group in r.settings.generate.groups for m in registry.modules(generate.SAMPLERS, group.sampler)}
    return Step(
        name=r.named("generate"),
        labels=r.labels,
        stage=replace(generate.STAGE, estimate=generate.estimate if r.settings.generate.asks_endpoint() else None),
        settings=r.settings.generate,
        inputs={"prompts": ("prompts",), **models},
        plugs=tuple(sorted(samplers)),
    )


def _judge(r: Round) -> Step:
    needs_model = traits.needs_model(r.settings.judge)
    estimate = judge.estimate if traits.asks_endpoint(r.settings.judge) else None
    audit = r.recipe.audit if not r.suffix else r.recipe.audit.alone()
    settings = judge.JudgeSettings(teacher=r.settings.judge, task=r.recipe.task.grading(), audit=audit)
    return Step(
        name=r.named("judge"),
        labels=r.labels,
        stage=replace(judge.STAGE, in_child=traits.in_child(r.settings.judge), estimate=estimate),
        settings=settings,
        inputs={
            "prompts": ("prompts",),
            "candidates": (r.named("generate"),),
            **({"teacher": ("teacher",)} if needs_model else {}),
        },
        external=judge.external(settings),
        plugs=traits.plugs(r.settings.judge),
    )


def _order(r: Round) -> Step:
    settings = order.OrderSettings(strategy=r.settings.order)
    return Step(
        name=r.named("order"),
        labels=r.labels,
        stage=order.STAGE,
        settings=settings,
        inputs={
            "prompts": ("prompts",),
            "candidates": (r.named("generate"),),
            "judgements": (r.named("judge"),),
        },
        external=order.external(settings),
        plugs=registry.modules(order.STRATEGIES, r.settings.order.strategy),
    )


def _examples(r: Round) -> Step:
    return Step(
        name=r.named("examples"),
        labels=r.labels,
        stage=from_orders.STAGE,
        settings=r.settings.examples,
        inputs={
            "prompts": ("prompts",),
            "candidates": (r.named("generate"),),
            "orders": (r.named("order"),),
            "student": (r.student,),
        },
    )


def _kinds(r: Round) -> set[str]:
    """The kinds of examples that the arms of a round learn from."""
    return {train.examples_kind(method) for method in r.settings.arms.values()}


def _feedback(r: Round) -> Step:
    assert r.recipe.feedback is not None, "checked by the recipe"
    return Step(
        name=r.named("feedback"),
        labels=r.labels,
        stage=replace(
            feedback.STAGE, estimate=feedback.estimate if feedback.asks_endpoint(r.recipe.feedback) else None
        ),
        settings=feedback.FeedbackInputs(feedback=r.recipe.feedback, task=r.recipe.task.grading()),
        inputs={
            "prompts": ("prompts",),
            "candidates": (r.named("generate"),),
            "judgements": (r.named("judge"),),
        },
        external=feedback.external(r.recipe.feedback),
        plugs=registry.modules(feedback.ANNOTATORS, r.recipe.feedback.annotator.annotator),
    )


def _feedback_examples(r: Round) -> Step:
    return Step(
        name=r.named("feedback_examples"),
        labels=r.labels,
        stage=from_feedback.STAGE,
        settings=r.recipe.feedback_examples,
        inputs={
            "prompts": ("prompts",),
            "candidates": (r.named("generate"),),
            "feedback": (r.named("feedback"),),
            "student": (r.student,),
        },
    )


def _reference(r: Round) -> Step:
    return Step(
        name=r.named("reference"),
        labels=r.labels,
        stage=reference.STAGE,
        settings=reference.ReferenceSettings(precision=reference_precision(r.recipe, r.settings)),
        inputs={"examples": (r.named("examples"),), "student": (r.start,)},
    )


def reference_precision(recipe: Recipe, settings: RoundSettings) -> Any:
    """The precision of the frozen student: that of the arms which compare with it, or float32 if they differ."""
    arms = [arm for arm, method in settings.arms.items() if train.needs_reference(method)]
    found = {lora.base if (lora := recipe.train.adapter(arm)) else "float32" for arm in arms}
    return found.pop() if len(found) == 1 else "float32"


def _arm(r: Round, arm: str, seed: int) -> Trained:
    step, seen = _train(r, arm, seed), (*r.seen, _examples_of(r, r.settings.arms[arm]))
    return Trained(arm=arm, seed=seed, steps=[step], step=step.name, seen=seen, labels=step.labels)


def _examples_of(r: Round, method: Any) -> str:
    """The step with the examples that a method learns from."""
    if train.examples_kind(method) == "feedback":
        return r.named("feedback_examples")
    return r.named("reference" if train.needs_reference(method) else "examples")


def _train(r: Round, arm: str, seed: int) -> Step:
    method, section = r.settings.arms[arm], r.recipe.train
    settings = train.TrainSettings(
        method=method,
        optimiser=section.optimiser(arm, r.settings.optimiser),
        lora=section.adapter(arm),
        seed=seed,
        launch=r.recipe.launch,
        tracking=r.tracking(arm, "seed", seed),
    )
    return Step(
        name=f"train/{arm}/seed-{seed}",
        labels=r.labels_of(arm, seed),
        stage=train.STAGE,
        settings=settings,
        inputs={
            "prompts": ("prompts",),
            "examples": (_examples_of(r, method),),
            "student": (r.start,),
        },
        plugs=registry.modules(train.METHODS, method.method),
    )
