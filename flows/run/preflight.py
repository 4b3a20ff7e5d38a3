"""What would stop a run later and can be known before it begins: programs, packages and room on the disk."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hasse.data.errors import HasseError, InputError
from hasse.pipeline.executors import local
from hasse.pipeline.run import look_up
from hasse.pipeline.stage import Step, producer
from hasse.pipeline.store import Artifact, Store
from hasse.stages.evaluate import lm_eval
from hasse.stages.models.vllm_engine import EngineSettings, interpreter

MODEL_FILES = ("*.safetensors", "*.bin")


PACKAGES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "sentence_transformers": ("embeddings", lambda s: _at(s, "strategy.embedder") not in (None, "tfidf")),
    "liger_kernel": ("liger", lambda s: bool(_at(s, "optimiser.liger"))),
}
"""Package -> its extra, and whether a step's settings want it."""


def check_ready(steps: Sequence[Step], store: Store, *, first: int = 0, anew: bool = False) -> None:
    """Raises InputError that names, a line each, what steps from `first` on lack; steps in the store lack nothing.

    anew: these steps are computed even where the store has them.
    """
    problems = list(dict.fromkeys(problem for step in steps[first:] for problem in _problems(step)))
    if problems and not anew:
        open_steps = _uncached(steps, store)
        problems = list(dict.fromkeys(p for step in steps[first:] if step.name in open_steps for p in _problems(step)))
    if problems:
        raise InputError("\n  ".join(["the run cannot begin:", *problems]) if len(problems) > 1 else problems[0])


def check_disk(steps: Sequence[Step], store: Store) -> None:
    """Raises InputError where the checkpoints of the models that are to be trained have no room."""
    weights = {step.name: _num_bytes(step.settings) for step in steps if step.stage.name == "student"}
    largest = max(weights.values(), default=0)
    number = sum(step.stage.name == "train" for step in steps)
    place = next(path for path in (store.root.absolute(), *store.root.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if largest * number > free:
        raise InputError(
            f"{number} models of {largest / 2**30:.1f} GiB are to be trained, and {place} has {free / 2**30:.1f} GiB "
            "free; choose another store, or make room by `hasse prune`"
        )


def _uncached(steps: Sequence[Step], store: Store) -> set[str]:
    """The steps that the store does not have, as far as can be known before they are reached."""
    found: dict[str, Artifact] = {}
    for step in steps:
        needed = {producer(name) for names in step.inputs.values() for name in names}
        artifact = look_up(store, step, found) if needed <= set(found) else None
        if artifact is not None:
            found[step.name] = artifact
    return {step.name for step in steps} - set(found)


def _problems(step: Step) -> Iterator[str]:
    for engine in _engines(step.settings):
        yield from _said(step, lambda engine=engine: interpreter(engine))
    settings = step.settings
    if isinstance(settings, lm_eval.LmEvalSettings):
        yield from _said(step, lambda: lm_eval.check_interpreter(settings))
    for package, (extra, wanted) in PACKAGES.items():
        if wanted(step.settings) and find_spec(package) is None:
            yield f"{step.name}: the package {package} is not installed here; pip install 'hasse-llm[{extra}]'"
    if not isinstance(step.executor, local.Settings) and find_spec("ray") is None:
        yield "execution: ray is not installed here; pip install 'hasse-llm[ray]', or leave the section out"


def _said(step: Step, check: Any) -> Iterator[str]:
    try:
        check()
    except HasseError as error:
        yield f"{step.name}: {error}"


def _engines(settings: Any) -> Iterator[EngineSettings]:
    if isinstance(settings, EngineSettings):
        yield settings
    elif isinstance(settings, BaseModel):
        for name in type(settings).model_fields:
            yield from _engines(getattr(settings, name))
    elif isinstance(settings, (list, tuple, dict)):
        for value in settings.values() if isinstance(settings, dict) else settings:
            yield from _engines(value)


def _at(settings: Any, dotted: str) -> Any:
    for name in dotted.split("."):
        settings = getattr(settings, name, None)
    return settings


def _num_bytes(settings: Any) -> int:
    """Of a model's weights, where they lie in a folder."""
    folder = Path(getattr(settings, "model", None) or "")
    if not getattr(settings, "model", None) or not folder.is_dir():
        return 0
    return sum(path.stat().st_size for pattern in MODEL_FILES for path in folder.glob(pattern))
