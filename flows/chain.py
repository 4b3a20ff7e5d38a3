"""What runs after what: a recipe as a list of steps."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from data import registry
from flows.recipe import RESAMPLE, SOURCES, Recipe
from pipeline.stage import Step
from stages import (
    benchmark,
    evaluate,
    examples,
    feedback,
    feedback_examples,
    generate,
    improve_rl,
    improver_examples,
    judge,
    lm_eval,
    order,
    prompts,
    reference,
    report,
    student,
    train,
)
from stages.methods import gap_reward, pit, sft


@dataclass(frozen=True, kw_only=True)
class _Round:
    """Candidates of one model, judged and ordered, and the arms that learn from them.

    student: the step whose model answers and goes on learning; suffix: of the names of this round's steps;
    seeds: of the training runs; seen: steps with examples that the model has learned from before.
    """

    recipe: Recipe
    generate: generate.GenerateSettings
    judge: Any
    order: Any
    examples: examples.ExamplesSettings
    arms: dict[str, Any]
    optimiser: dict[str, Any]
    student: str = "student"
    suffix: str = ""
    seeds: tuple[int, ...]
    seen: tuple[str, ...] = ()

    def named(self, step: str) -> str:
        return step + self.suffix


@dataclass(frozen=True, kw_only=True)
class _Trained:
    """A training run: its arm and seed, the steps it takes, the one with its model, and how that model answers.

    seen: the steps with the examples that the model has learned from; inputs: what it needs to answer, beside itself.
    """

    arm: str
    seed: int
    steps: list[Step]
    step: str
    seen: tuple[str, ...]
    improve: evaluate.ImproveSettings | None = None
    inputs: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @staticmethod
    def untrained() -> "_Trained":
        """The student as it is."""
        return _Trained(arm="student", seed=0, steps=[], step="student", seen=())

    @staticmethod
    def resampled(seed: int) -> "_Trained":
        """The student asked again with another seed: what merely another answer is worth, beside an improved one."""
        return _Trained(arm=RESAMPLE, seed=seed, steps=[], step="student", seen=())

    @property
    def name(self) -> str:
        return "student" if self.arm == "student" else f"{self.arm}/seed-{self.seed}"


def plan(recipe: Recipe) -> list[Step]:
    """The steps of a recipe, each after those it reads. Raises SourceError when an input does not exist."""
    steps = [_prompts(recipe), _model(recipe, "student", recipe.student)]
    if recipe.teacher:
        steps.append(_model(recipe, "teacher", recipe.teacher))
    trained: list[_Trained] = []
    for r in _rounds(recipe, trained):
        steps += _candidates(r)
        for arm in r.arms:
            for seed in r.seeds:
                made = improver_steps(r, arm, seed) if isinstance(r.arms[arm], pit.Settings) else _arm(r, arm, seed)
                steps += made.steps
                trained.append(made)
    arms = list(recipe.arms())
    trained.sort(key=lambda t: arms.index(t.arm))
    if recipe.evaluate.pairs:
        steps += _candidates(_held_out(recipe))
    controls = [_Trained.resampled(seed) for seed in recipe.train.seeds] if recipe.improves() else []
    evaluations = [_evaluate(recipe, t) for t in (_Trained.untrained(), *controls, *trained)]
    measured = [
        _benchmark(recipe, settings, t)
        for settings in recipe.benchmarks
        for t in [_Trained.untrained(), *trained]
        if t.improve is None
    ]
    harness = [_lm_eval(recipe, t) for t in [_Trained.untrained(), *trained] if recipe.lm_eval and t.improve is None]
    runs = [step.name for t in trained for step in t.steps if step.name.startswith("train/")]
    made = {"evaluate": evaluations, "benchmark": measured, "lm_eval": harness}
    inputs = {"train": runs} | {name: [step.name for step in found] for name, found in made.items()}
    return [*steps, *evaluations, *measured, *harness, _report(recipe, inputs)]


def _first(recipe: Recipe) -> _Round:
    return _Round(
        recipe=recipe,
        generate=recipe.generate,
        judge=recipe.judge,
        order=recipe.order,
        examples=recipe.examples,
        arms=recipe.train.arms,
        optimiser={},
        seeds=tuple(recipe.train.seeds),
    )


def _held_out(recipe: Recipe) -> _Round:
    """The student's candidates to the prompts of evaluation, which nothing learns from."""
    splits = [recipe.evaluate.split]
    return replace(
        _first(recipe),
        generate=recipe.generate.model_copy(update={"splits": splits}),
        examples=recipe.examples.model_copy(update={"splits": splits}),
        arms={},
        suffix="/held-out",
    )


def _rounds(recipe: Recipe, trained: list[_Trained]) -> Iterator[_Round]:
    """The first round, then each further one for every run of its starting arm; `trained` grows meanwhile."""
    first = _first(recipe)
    yield first
    for name, section in recipe.rounds.items():
        for start in [t for t in trained if t.arm == section.start]:
            yield replace(
                first,
                generate=section.generate or recipe.generate,
                judge=section.judge or recipe.judge,
                order=section.order or recipe.order,
                examples=section.examples or recipe.examples,
                arms=section.arms,
                optimiser=section.optimiser,
                student=start.step,
                suffix=f"/{name}/seed-{start.seed}",
                seeds=(start.seed,),
                seen=start.seen,
            )


def _prompts(recipe: Recipe) -> Step:
    source = registry.load(SOURCES, recipe.source.kind, kind="source")
    return Step(
        name="prompts",
        stage=prompts.STAGE,
        settings=prompts.PromptsSettings(source=recipe.source, prompts=recipe.prompts, labels=recipe.task.labels),
        external={"source": source.digest(recipe.source)},
        plugs=registry.family(SOURCES, recipe.source.kind),
    )


def _model(recipe: Recipe, name: str, settings: student.StudentSettings) -> Step:
    """The student or the teacher."""
    return Step(
        name=name,
        stage=student.STAGE,
        settings=settings,
        inputs={"prompts": ("prompts:pretrain",)} if settings.scratch else {},
        external=student.external(settings),
    )


def _candidates(r: _Round) -> list[Step]:
    """From sampling to examples."""
    steps = [_generate(r), _judge(r), _order(r), _examples(r)]
    if "feedback" in _kinds(r):
        steps += [_feedback(r), _feedback_examples(r)]
    if any(train.needs_reference(method) for method in r.arms.values()):
        steps.append(_reference(r))
    return steps


def _generate(r: _Round) -> Step:
    models = {"student": (r.student,)} | ({"teacher": ("teacher",)} if "teacher" in r.generate.models() else {})
    samplers = {m for group in r.generate.groups for m in registry.family(generate.SAMPLERS, group.sampler)}
    return Step(
        name=r.named("generate"),
        stage=generate.STAGE,
        settings=r.generate,
        inputs={"prompts": ("prompts",), **models},
        plugs=tuple(sorted(samplers)),
    )


def _judge(r: _Round) -> Step:
    needs_model = judge.needs_model(r.judge)
    return Step(
        name=r.named("judge"),
        stage=replace(judge.STAGE, in_child=needs_model),
        settings=judge.JudgeSettings(teacher=r.judge, task=r.recipe.task),
        inputs={
            "prompts": ("prompts",),
            "candidates": (r.named("generate"),),
            **({"teacher": ("teacher",)} if needs_model else {}),
        },
        plugs=registry.family(judge.TEACHERS, r.judge.teacher) + (judge.MODEL_MODULES if needs_model else ()),
    )


def _order(r: _Round) -> Step:
    settings = order.OrderSettings(strategy=r.order)
    return Step(
        name=r.named("order"),
        stage=order.STAGE,
        settings=settings,
        inputs={
            "prompts": ("prompts",),
            "candidates": (r.named("generate"),),
            "judgements": (r.named("judge"),),
        },
        external=order.external(settings),
        plugs=registry.family(order.STRATEGIES, r.order.strategy),
    )


def _examples(r: _Round) -> Step:
    return Step(
        name=r.named("examples"),
        stage=examples.STAGE,
        settings=r.examples,
        inputs={
            "prompts": ("prompts",),
            "candidates": (r.named("generate"),),
            "orders": (r.named("order"),),
            "student": (r.student,),
        },
    )


def _kinds(r: _Round) -> set[str]:
    """The kinds of examples that the arms learn from."""
    return {train.examples_kind(method) for method in r.arms.values()}


def _feedback(r: _Round) -> Step:
    assert r.recipe.feedback is not None, "checked by the recipe"
    return Step(
        name=r.named("feedback"),
        stage=feedback.STAGE,
        settings=feedback.FeedbackInputs(feedback=r.recipe.feedback, task=r.recipe.task),
        inputs={
            "prompts": ("prompts",),
            "candidates": (r.named("generate"),),
            "judgements": (r.named("judge"),),
        },
        external=feedback.external(r.recipe.feedback),
        plugs=registry.family(feedback.ANNOTATORS, r.recipe.feedback.annotator.annotator),
    )


def _feedback_examples(r: _Round) -> Step:
    return Step(
        name=r.named("feedback_examples"),
        stage=feedback_examples.STAGE,
        settings=r.recipe.feedback_examples,
        inputs={
            "prompts": ("prompts",),
            "candidates": (r.named("generate"),),
            "feedback": (r.named("feedback"),),
            "student": (r.student,),
        },
    )


def _reference(r: _Round) -> Step:
    return Step(
        name=r.named("reference"),
        stage=reference.STAGE,
        settings=reference.ReferenceSettings(),
        inputs={"examples": (r.named("examples"),), "student": (r.student,)},
    )


def _arm(r: _Round, arm: str, seed: int) -> _Trained:
    step = _train(r, arm, seed)
    return _Trained(arm=arm, seed=seed, steps=[step], step=step.name, seen=(*r.seen, _learned(r, r.arms[arm])))


def improver_steps(r: _Round, arm: str, seed: int) -> _Trained:
    """PIT's chain: the supervised improver, the gap reward model, RL with easy and with hard references."""
    method: pit.Settings = r.arms[arm]
    folds = improver_examples.ImproverExamplesSettings(
        template=method.template, max_length=method.max_length, pairs_per_prompt=method.pairs_per_prompt
    )
    ordered = {"prompts": ("prompts",), "candidates": (r.named("generate"),), "orders": (r.named("order"),)}
    name = f"train/{arm}/seed-{seed}"
    steps: list[Step] = []
    student, seen = r.student, list(r.seen)

    def add(step: Step) -> str:
        steps.append(step)
        return step.name

    def examples_step(stage: Any, settings: Any) -> str:
        seen.append(f"{stage.name}/{arm}/seed-{seed}")
        return add(Step(name=seen[-1], stage=stage, settings=settings, inputs={**ordered, "student": (r.student,)}))

    def trained(part: str, method_settings: Any, optimiser: Any, source: str, base: str) -> str:
        return add(
            Step(
                name=f"{name}/{part}",
                stage=train.STAGE,
                settings=train.TrainSettings(method=method_settings, optimiser=optimiser, seed=seed),
                inputs={"prompts": ("prompts",), "examples": (source,), "student": (base,)},
                plugs=registry.family(train.METHODS, method_settings.method),
            )
        )

    reward = None
    if method.supervised:
        source = examples_step(improver_examples.IMPROVER, folds)
        student = improver = trained("improver", sft.Settings(target="best"), method.improver, source, student)
        if method.curriculum or method.threshold is not None:
            folds = folds.model_copy(update={"blind": method.reward == "additive"})
            source = examples_step(improver_examples.GAP, folds)
            reward = trained("reward", gap_reward.Settings(), method.reward_model, source, improver)
        for kind in method.curriculum:
            settings = improve_rl.ImproveRlSettings(
                rl=method.easy if kind == "easy" else method.hard,
                references=kind,
                reference_temperature=method.reference_temperature,
                blind=method.reward == "additive",
                template=method.template,
                pairs_per_prompt=method.pairs_per_prompt,
                seed=seed,
            )
            models = {"student": (student,), "anchor": (improver,), "reward": (reward,)}
            if kind == "hard":
                models["policy"] = (r.student,)
            inputs = {**ordered, **models} if kind == "easy" else {"prompts": ("prompts",), **models}
            student = add(Step(name=f"{name}/{kind}", stage=improve_rl.STAGE, settings=settings, inputs=inputs))
    how = evaluate.ImproveSettings(
        template=method.template,
        rounds=method.rounds,
        threshold=method.threshold,
        shuffle_references=method.shuffle_references,
    )
    needed = {"policy": (r.student,)}
    if method.threshold is not None and reward:
        needed["reward"] = (reward,)
    return _Trained(arm=arm, seed=seed, steps=steps, step=student, seen=tuple(seen), improve=how, inputs=needed)


def _learned(r: _Round, method: Any) -> str:
    """The step with the examples that a method learns from."""
    if train.examples_kind(method) == "feedback":
        return r.named("feedback_examples")
    return r.named("reference" if train.needs_reference(method) else "examples")


def _train(r: _Round, arm: str, seed: int) -> Step:
    method, section = r.arms[arm], r.recipe.train
    settings = train.TrainSettings(
        method=method, optimiser=section.optimiser(arm, r.optimiser), lora=section.adapter(arm), seed=seed
    )
    return Step(
        name=f"train/{arm}/seed-{seed}",
        stage=train.STAGE,
        settings=settings,
        inputs={
            "prompts": ("prompts",),
            "examples": (_learned(r, method),),
            "student": (r.student,),
        },
        plugs=registry.family(train.METHODS, method.method),
    )


def _evaluate(recipe: Recipe, model: _Trained) -> Step:
    """A model must share nothing with what it has learned from; the student has only pretraining to share."""
    section = recipe.evaluate.model_dump()
    if model.arm == RESAMPLE:
        section["seed"] += 1 + model.seed
    if recipe.evaluate.pairs and model.improve is None:
        model = replace(model, inputs={**model.inputs, "pairs": (_held_out(recipe).named("examples"),)})
    inputs = {
        **model.inputs,
        "checkpoint": (model.step,),
        "prompts": (f"prompts:{recipe.evaluate.split}",),
        "seen": ("prompts:pretrain",),
    }
    return Step(
        name=f"evaluate/{model.name}",
        stage=evaluate.STAGE,
        settings=evaluate.EvaluateSettings(
            **section, task=recipe.task, feedback_template=recipe.feedback_examples.template, improve=model.improve
        ),
        inputs={**inputs, "examples": model.seen} if model.seen else inputs,
    )


def _benchmark(recipe: Recipe, settings: Any, model: _Trained) -> Step:
    return Step(
        name=f"benchmark/{model.name}/{settings.benchmark}",
        stage=benchmark.STAGE,
        settings=benchmark.BenchmarkSettings(benchmark=settings),
        inputs={"checkpoint": (model.step,), "prompts": ("prompts",)},
        external=benchmark.external(settings),
        plugs=registry.family(benchmark.BENCHMARKS, settings.benchmark),
    )


def _lm_eval(recipe: Recipe, model: _Trained) -> Step:
    assert recipe.lm_eval is not None, "asked by the caller"
    return Step(
        name=f"lm_eval/{model.name}",
        stage=lm_eval.STAGE,
        settings=recipe.lm_eval,
        inputs={"checkpoint": (model.step,)},
    )


def _report(recipe: Recipe, made: dict[str, list[str]]) -> Step:
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
            **{name: tuple(steps) for name, steps in made.items()},
        },
    )
