"""The memory that each step of a recipe takes on one GPU, by the configs of its models alone."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hasse.flows.plan.steps import reference_precision
from hasse.flows.recipe.recipe import Recipe
from hasse.flows.recipe.sections import RoundSettings
from hasse.pipeline.child_process import run_in_child
from hasse.stages.generate.groups import engine_of, max_tokens_of, needs_model
from hasse.stages.judge import traits
from hasse.stages.models.footprint import BITS_4, HALF, SINGLE, TRAINED, ModelShape, shapes_of
from hasse.stages.models.model_folders import config_folder, is_adapter
from hasse.stages.models.vllm_engine import EngineSettings
from hasse.stages.student.stage import StudentSettings
from hasse.stages.train.methods import pit
from hasse.stages.train.optimiser import OptimiserSettings
from hasse.stages.train.settings import LoraSettings, needs_reference

OVERHEAD = 1 << 30
"""CUDA's context, the libraries' work space and fragmentation."""
ENGINE_OVERHEAD = 2 << 30
"""What a vLLM engine takes besides weights and cache: a profiled pass, CUDA graphs."""
SCORING_TOKENS = 16_384
"""Tokens of a pass that scores answers, where no setting says otherwise."""
LOGIT_COPIES = 3
"""Copies in float32 of the logits of TRL's pass: the logits, their log-softmax, and a gradient."""


@dataclass(frozen=True, kw_only=True)
class StepMemory:
    """The peak memory of a step, in bytes, by its parts. Arms and seeds with equal settings take the same."""

    step: str
    model: str
    parts: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.parts.values()) + OVERHEAD

    def row(self) -> dict[str, Any]:
        """The parts and their sum in GiB."""
        gib = {name: round(value / 2**30, 2) for name, value in self.parts.items()}
        return {"step": self.step, "model": self.model, "GiB": round(self.total / 2**30, 1), "parts": gib}


def memory_of(recipe: Recipe) -> list[StepMemory]:
    """The steps that load a model with a config, in the order of the plan; models that are trained here are too small.

    Prompts are taken to be as long as `examples.max_length` allows with their answers. Raises InputError for a model
    whose config is not found.
    """
    models: dict[str, StudentSettings] = {"student": recipe.student, **recipe.models}
    if recipe.teacher is not None:
        models["teacher"] = recipe.teacher
    folders = {
        name: config_folder(settings.model, revision=settings.revision)
        for name, settings in models.items()
        if settings.model is not None
    }
    folders = {name: folder for name, folder in folders.items() if not is_adapter(folder)}
    if not folders:
        return []
    shapes = run_in_child(shapes_of, folders, on_event=lambda event: None)
    return list(_Memory(recipe, models, shapes).steps())


class _Memory:
    def __init__(self, recipe: Recipe, models: dict[str, StudentSettings], shapes: dict[str, ModelShape]):
        self.recipe, self.models, self.shapes = recipe, models, shapes

    def steps(self) -> Iterator[StepMemory]:
        if (warmup := self.recipe.student.warmup) is not None:
            yield from self._fitting("student", warmup.optimiser, warmup.lora, warmup.max_length)
        for settings in self.recipe.every_round():
            suffix = "/" + settings.place.split(".")[1] if settings.place else ""
            yield from self._sampling(settings, f"generate{suffix}")
            yield from self._judging(settings, f"judge{suffix}")
            if any(needs_reference(method) for method in settings.arms.values()):
                precision = reference_precision(self.recipe, settings)
                yield from self._scoring(f"reference{suffix}", "student", SCORING_TOKENS, precision=precision)
            for arm, method in settings.arms.items():
                yield from self._training(settings, arm, method)
        section = self.recipe.evaluate
        yield from self._answering("evaluate", "student", section.batch_size, section.max_tokens)

    def _sampling(self, settings: RoundSettings, step: str) -> Iterator[StepMemory]:
        """The largest of the groups, which are run one after another."""
        found: list[StepMemory] = []
        for group in settings.generate.groups:
            if needs_model(group):
                engine, tokens = engine_of(group), max_tokens_of(group)
                if engine is not None:
                    found += self._serving(step, group.model, engine)
                else:
                    found += self._answering(step, group.model, getattr(group, "batch_size", 1), tokens)
        yield from sorted(found, key=lambda need: need.total)[-1:]

    def _judging(self, settings: RoundSettings, step: str) -> Iterator[StepMemory]:
        for teacher in traits.judges_of(settings.judge).values():
            if traits.needs_model(teacher):
                engine = teacher if isinstance(teacher, EngineSettings) else getattr(teacher, "engine", None)
                tokens = getattr(teacher, "max_tokens", 1)
                if engine is not None:
                    yield from self._serving(step, "teacher", engine)
                elif scored := getattr(teacher, "micro_batch_tokens", None):
                    yield from self._scoring(step, "teacher", scored)
                else:
                    yield from self._answering(step, "teacher", getattr(teacher, "batch_size", 1), tokens)

    def _training(self, settings: RoundSettings, arm: str, method: Any) -> Iterator[StepMemory]:
        lora = self.recipe.train.adapter(arm)
        if not isinstance(method, pit.Settings):
            length = settings.examples.max_length
            if method.method == "laffi":
                length = self.recipe.feedback_examples.max_length
            yield from self._fitting(f"train/{arm}", self.recipe.train.optimiser(arm, settings.optimiser), lora, length)
        elif method.supervised:
            yield from self._fitting(f"train/{arm}/improver", method.improver, lora, method.max_length)
            if method.curriculum or method.threshold is not None:
                yield from self._fitting(f"train/{arm}/reward", method.reward_model, lora, method.max_length)
            for phase in method.curriculum:
                yield from self._reinforcing(f"train/{arm}/{phase}", getattr(method, phase), lora, method.max_length)

    def _fitting(
        self, step: str, optimiser: OptimiserSettings, lora: LoraSettings | None, length: int
    ) -> Iterator[StepMemory]:
        """A pass holds `micro_batch_tokens`, or where the probe decides, at least the longest answer."""
        if (shape := self.shapes.get("student")) is None:
            return
        tokens = max(optimiser.micro_batch_tokens or 0, length)
        recomputed = optimiser.gradient_checkpointing is not False  # auto: where it does not fit otherwise
        element = SINGLE if lora is None or lora.base == "float32" else HALF
        activations = shape.activations(tokens, checkpointing=recomputed, element=element)
        yield self._need(step, "student", **_trained(shape, lora), activations=activations)

    def _reinforcing(
        self, step: str, rl: pit.RlSettings, lora: LoraSettings | None, length: int
    ) -> Iterator[StepMemory]:
        """Sampling holds the cache of all answers of a step, training the activations and logits of one pass."""
        if (shape := self.shapes.get("student")) is None:
            return
        frozen = 2 * SINGLE * (shape.adapter(lora.r, lora.target_modules) if lora else shape.parameters)
        cache = shape.cache(rl.num_answers * (length + rl.max_tokens))
        logits = rl.answers_per_pass * rl.max_tokens * shape.vocabulary * SINGLE * LOGIT_COPIES
        learning = logits + shape.activations(
            rl.answers_per_pass * (length + rl.max_tokens), checkpointing=rl.gradient_checkpointing
        )
        scoring = shape.forward(SCORING_TOKENS)
        passes = {"cache": cache, "activations": learning, "scoring": scoring}
        most = max(passes, key=lambda name: passes[name])
        yield self._need(step, "student", **_trained(shape, lora), others=frozen, **{most: passes[most]})

    def _answering(self, step: str, model: str, batch_size: int, max_tokens: int) -> Iterator[StepMemory]:
        """Sampling by transformers: the cache of a batch, and the logits of its next token."""
        if (shape := self.shapes.get(model)) is not None:
            length = self.recipe.examples.max_length
            logits = batch_size * shape.vocabulary * SINGLE * LOGIT_COPIES
            cache = shape.cache(batch_size * max(length, max_tokens))
            yield self._need(step, model, weights=shape.weights(), cache=cache, activations=logits)

    def _serving(self, step: str, model: str, engine: EngineSettings) -> Iterator[StepMemory]:
        """The least that an engine takes, with the cache of one answer; it fills its share of the card."""
        if (shape := self.shapes.get(model)) is not None:
            cache = shape.cache(engine.max_model_len or shape.context)
            yield self._need(step, model, weights=shape.weights(), cache=cache, engine=ENGINE_OVERHEAD)

    def _scoring(self, step: str, model: str, tokens: int, *, precision: str = "auto") -> Iterator[StepMemory]:
        if (shape := self.shapes.get(model)) is not None:
            yield self._need(step, model, weights=_frozen(shape, precision), activations=shape.forward(tokens))

    def _need(self, step: str, model: str, **parts: int) -> StepMemory:
        return StepMemory(step=step, model=self.models[model].model or model, parts=parts)


def _trained(shape: ModelShape, lora: LoraSettings | None) -> dict[str, int]:
    """Bytes of the weights of a model that is trained, and of what its optimiser holds."""
    if lora is None:
        return {"weights": shape.parameters * SINGLE, "trained": shape.parameters * (TRAINED - SINGLE)}
    return {"weights": _frozen(shape, lora.base), "trained": shape.adapter(lora.r, lora.target_modules) * TRAINED}


def _frozen(shape: ModelShape, precision: str) -> int:
    """Bytes of frozen weights in the precision of `train.lora.base`, on CUDA."""
    if precision == "float32":
        return shape.parameters * SINGLE
    return shape.weights(BITS_4 if precision == "4bit" else None)
