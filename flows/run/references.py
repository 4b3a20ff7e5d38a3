"""Finds the artifact that a user names by the name of a step, or by `stage/fingerprint`."""

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any

from hasse.data.errors import InputError
from hasse.flows.run.records import find_run, read_runs
from hasse.pipeline.store import Artifact, Store

FINGERPRINT = re.compile(r"[0-9a-f]{1,24}")
NUM_NEAR = 5
"""How many known names a message for an unknown one suggests."""

RunRecord = dict[str, Any]
"""A run as it is recorded in store/runs/<run_id>.json."""


def find_artifact(
    store: Store, name: str, *, run: str | None = None, say: Callable[[str], None] = lambda line: None
) -> Artifact:
    """Find an artifact by name. Raises InputError, with the nearest known names, if no artifact fits, or several.

    Args:
        name: A step, such as `judge` or `evaluate/rescue/seed-0`; the beginning of one step's name, such as `train`;
            `stage/fingerprint`; or the beginning of a fingerprint.
        run: The run that the step belongs to. Default: the newest run of the store that has the step.
        say: Called with a sentence that tells which run was chosen.
    """
    if run is not None:
        return _of_run(store, find_run(store, run), name)
    refs = store.refs()
    by_fingerprint = [ref for ref in refs if _is_beginning(name, ref)]
    runs = read_runs(store)[::-1]
    if len(by_fingerprint) == 1 and not any(_fitting(name, _steps(one)) for one in runs):
        return store.artifact(by_fingerprint[0])
    chosen = next((one for one in runs if _fitting(name, _steps(one))), None)
    if chosen is not None:
        artifact = _of_run(store, chosen, name)
        say(_chosen(name, chosen, runs[0]))
        return artifact
    if len(by_fingerprint) > 1:
        raise InputError(f"{name!r} fits {len(by_fingerprint)} artifacts: {', '.join(by_fingerprint)}")
    known = [*(step for one in runs for step in _steps(one)), *refs]
    raise InputError(f"no artifact {name!r} in {store}{_nearest(name, known)}")


def _of_run(store: Store, run: RunRecord, name: str) -> Artifact:
    steps = _steps(run)
    found = _fitting(name, steps) or [step for step, ref in steps.items() if _is_beginning(name, ref)]
    if len({steps[step] for step in found}) > 1:
        raise InputError(
            f"{name!r} fits {len(found)} steps of run {run['run_id']}: {', '.join(found)}; give one of them"
        )
    if not found:
        raise InputError(f"run {run['run_id']} has no finished step {name!r}{_nearest(name, steps)}")
    return store.artifact(steps[found[0]])


def _steps(run: RunRecord) -> dict[str, str]:
    """Step -> reference of its artifact."""
    return {step["step"]: step["ref"] for step in run["steps"]}


def _fitting(name: str, steps: Iterable[str]) -> list[str]:
    """The step with this name, or else the steps whose names begin so."""
    known = list(steps)
    return [name] if name in known else [step for step in known if step.startswith(f"{name.rstrip('/')}/")]


def _is_beginning(name: str, ref: str) -> bool:
    """Whether the name is the reference, or a beginning of it that includes part of the fingerprint."""
    stage, slash, part = name.partition("/")
    if not FINGERPRINT.fullmatch(part if slash else stage):
        return False
    return ref.startswith(name) if slash else ref.partition("/")[2].startswith(stage)


def _chosen(name: str, run: RunRecord, newest: RunRecord) -> str:
    if run is newest:
        return f"{name} of run {run['run_id']}, the newest run of the store; --run chooses another run"
    return (
        f"{name} of run {run['run_id']}, since the newest run, {newest['run_id']}, has no finished step of that name; "
        "--run chooses another run"
    )


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(dict.fromkeys(known))
    near = get_close_matches(name, names, n=NUM_NEAR, cutoff=0.4)
    if near:
        return f"; did you mean {', '.join(near)}?"
    shown = ", ".join(names[: 4 * NUM_NEAR])
    return f"; known are: {shown}{', ...' if len(names) > 4 * NUM_NEAR else ''}" if names else "; it holds no artifacts"
