"""Checks before a run for columns, keys, programs, packages and disk space, whose absence would stop it later."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hasse.data.errors import HasseError, InputError
from hasse.flows.recipe.endpoints import endpoints, settings_of_kind
from hasse.flows.run.endpoint_keys import missing_key
from hasse.flows.run.source_rows import check_source_rows, warn_of_thinking
from hasse.pipeline.executors import local
from hasse.pipeline.run import look_up
from hasse.pipeline.stage import Step, producer
from hasse.pipeline.store import Artifact, Store
from hasse.stages.evaluate import lm_eval
from hasse.stages.models.vllm_engine import EngineSettings, interpreter

MODEL_FILES = ("*.safetensors", "*.bin")

PACKAGES: dict[str, tuple[str, Callable[[Step], bool]]] = {
    "sentence_transformers": ("embeddings", lambda step: _at(step, "strategy.embedder") not in (None, "tfidf")),
    "liger_kernel": ("liger", lambda step: bool(_at(step, "optimiser.liger"))),
    "bitsandbytes": ("4bit", lambda step: _at(step, "lora.base") == "4bit"),
    "ray": ("ray", lambda step: not isinstance(step.executor, local.Settings)),
}
"""Package -> the extra of hasse that installs it, and whether a step needs it."""


def check_ready(steps: Sequence[Step], store: Store, *, first: int = 0, anew: bool = False) -> None:
    """Check that the steps from number `first` on can run. Steps that the store has need nothing, unless `anew`.

    Raises InputError, with a line for each missing key, program and package, and SourceError or InputError for a
    source without a column or without the answers that the recipe takes from its rows.
    """
    problems = {step.name: list(_problems(step)) for step in steps[first:]}
    open_steps = {step.name for step in steps} if anew else _uncached(steps, store)
    if "prompts" in open_steps & problems.keys():
        check_source_rows(steps)
        warn_of_thinking(steps)
    first_step: dict[str, str] = {}
    for step, found in problems.items():
        for problem in found if step in open_steps else ():
            first_step.setdefault(problem, step)
    lines = [f"{step}: {problem}" for problem, step in first_step.items()]
    if lines:
        raise InputError("\n  ".join(["the run cannot begin:", *lines]) if len(lines) > 1 else lines[0])


def check_disk(steps: Sequence[Step], store: Store) -> None:
    """Raises InputError if the disk has no room for the checkpoints of the models that these steps train."""
    weights = {step.name: _num_bytes(step.settings) for step in steps if step.stage.name == "student"}
    largest = max(weights.values(), default=0)
    number = sum(step.stage.name == "train" and step.settings.lora is None for step in steps)  # type: ignore[attr-defined]
    place = next(path for path in (store.root.absolute(), *store.root.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if largest * number > free:
        raise InputError(
            f"{number} models of {largest / 2**30:.1f} GiB are to be trained, and {place} has {free / 2**30:.1f} GiB "
            "free; choose another store, or make room by `hasse prune`"
        )


def _uncached(steps: Sequence[Step], store: Store) -> set[str]:
    """Names of the steps that the store does not have. A step after such a step counts as missing as well."""
    artifacts: dict[str, Artifact] = {}
    for step in steps:
        needed = {producer(name) for names in step.inputs.values() for name in names}
        artifact = look_up(store, step, artifacts) if needed <= artifacts.keys() else None
        if artifact is not None:
            artifacts[step.name] = artifact
    return {step.name for step in steps} - artifacts.keys()


def _problems(step: Step) -> Iterator[str]:
    """Everything that this step needs and that is missing here."""
    settings = step.settings
    yield from filter(None, map(missing_key, endpoints(settings)))
    for engine in settings_of_kind(settings, EngineSettings):
        yield from _error_of(lambda engine=engine: interpreter(engine))
    if isinstance(settings, lm_eval.LmEvalSettings):
        yield from _error_of(lambda: lm_eval.check_interpreter(settings))
    for package, (extra, is_needed) in PACKAGES.items():
        if is_needed(step) and find_spec(package) is None:
            yield f"the package {package} is not installed here; pip install 'hasse-llm[{extra}]'"
    for tracker in _at(step, "tracking.trackers") or ():
        spec = find_spec(tracker)
        if spec is None or spec.origin is None:  # wandb leaves a folder `wandb` behind, which is no package
            yield (
                f"train.tracking: the package {tracker} is not installed here; pip install 'hasse-llm[tracking]', or "
                f"leave {tracker} out"
            )


def _error_of(check: Callable[[], object]) -> Iterator[str]:
    """Give the text of the error with which a check fails, or None."""
    try:
        check()
    except HasseError as error:
        yield str(error)


def _at(step: Step, dotted: str) -> Any:
    """The value of a setting by its dotted name, or None if the step has no such setting."""
    value = step.settings
    for name in dotted.split("."):
        value = getattr(value, name, None)
    return value


def _num_bytes(settings: Any) -> int:
    """Size of a model's weights, or 0 if they are not in a local folder."""
    folder = Path(getattr(settings, "model", None) or "")
    if not getattr(settings, "model", None) or not folder.is_dir():
        return 0
    return sum(path.stat().st_size for pattern in MODEL_FILES for path in folder.glob(pattern))
