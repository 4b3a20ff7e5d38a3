"""Record what a stage spends at chat endpoints, in files that survive a kill, so that a cap holds across restarts.

The files lie in the folder `logs` of the artifact. One records every request before it is sent, and its cost; the other
the estimate from before the first request. The replies lie in the store's cache of replies and outlive the artifact.
"""

import json
import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from hasse.data.errors import CorruptFile
from hasse.pipeline.disk import disk_errors
from hasse.pipeline.files import write_atomically
from hasse.pipeline.stage import Job
from hasse.pipeline.store import LOGS
from hasse.stages.chat.cache.file import path_in
from hasse.stages.chat.money.budget import Ledger
from hasse.stages.chat.money.estimate import Planned, estimate

T = TypeVar("T")

SPENT, EXPECTED = "spent.jsonl", "expected.json"
TOTALS = (
    "requests", "retries", "cached", "repeated", "input_tokens", "output_tokens", "cached_input_tokens",
    "reasoning_tokens", "dollars", "dollars_unreported",
)  # fmt: skip
ANSWERED_BY = "answered_by"
LOG = logging.getLogger("hasse")
DAMAGED = object()


class Spending:
    """The payer of a stage's questions, with one ledger per model.

    A request that was in flight when a run was killed is counted at its maximum cost. A stage that the user has
    computed again asks again: older replies are not used.
    """

    def __init__(self, job: Job, planned: Callable[[Job], Iterator[Planned] | None]):
        self._folder, self._root = job.path / LOGS, job.store.root
        self._lock, self._file = threading.Lock(), None
        self._closing = threading.Event()
        self.replies = path_in(job.store.root)
        self.not_before = time.time() if job.refresh else 0.0
        with disk_errors(self._root):
            self._expected = self._expect(job, planned)
            spent = _read(self._folder / SPENT)
            self._ledgers = {model: self._ledger(model, **amounts) for model, amounts in spent.items()}

    def ledger(self, model: str) -> Ledger:
        with self._lock:
            return self._ledgers.setdefault(model, self._ledger(model))

    def close(self, job: Job) -> None:
        """Put the total cost into the job's metrics, if anything was asked or would have been asked."""
        self._closing.set()
        with disk_errors(self._root):
            expected = self._expected.result()
        if self._ledgers or expected:
            totals = {name: sum(getattr(ledger, name) for ledger in self._ledgers.values()) for name in TOTALS}
            others = {model: sorted(ledger.answered_by - {model}) for model, ledger in self._ledgers.items()}
            answered = {model: names for model, names in others.items() if names}
            named = {ANSWERED_BY: answered} if answered else {}
            job.metrics["cost"] = {"models": sorted(self._ledgers), **totals, **named, "estimate": expected}
        if self._file is not None:
            self._file.close()
            self._shorten()

    def _expect(self, job: Job, planned: Callable[[Job], Iterator[Planned] | None]) -> Future[dict[str, Any] | None]:
        """The estimate of the first run, to be compared with the cost of all runs; it is computed in a thread."""
        path = self._folder / EXPECTED
        if path.exists() and (kept := _kept(path)) is not DAMAGED:
            return _known(kept)
        questions = planned(job)
        if questions is None:
            return _known(None)
        self._folder.mkdir(parents=True, exist_ok=True)
        return _in_a_thread(lambda: _written(path, estimate(self._with_pauses(questions))))

    def _with_pauses(self, questions: Iterator[Planned]) -> Iterator[Planned]:
        """The questions, with pauses until `close`, so that the estimate does not slow down the asking."""
        for number, question in enumerate(questions):
            if number % 10 == 0:
                self._closing.wait(0.01)
            yield question

    def _ledger(self, model: str, **amounts: Any) -> Ledger:
        return Ledger(**amounts, log=lambda changes: self._write(model, changes))

    def _write(self, model: str, changes: Mapping[str, float | str]) -> None:
        """Write a change without buffering, so that a kill loses nothing. Several ledgers may write at once."""
        line = json.dumps({"model": model, **{name: amount for name, amount in changes.items() if amount}})
        with self._lock, disk_errors(self._root):
            if self._file is None:
                self._file = self._open()
            self._file.write(line.encode() + b"\n")

    def _open(self) -> BinaryIO:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._shorten()
        return (self._folder / SPENT).open("ab", buffering=0)

    def _shorten(self) -> None:
        """Rewrite the file with one line per model, which also removes an incomplete last line."""
        lines = [
            json.dumps(line)
            for model, ledger in self._ledgers.items()
            for line in (
                {"model": model, **{name: getattr(ledger, name) for name in TOTALS}},
                *({"model": model, ANSWERED_BY: name} for name in sorted(ledger.answered_by)),
            )
        ]
        write_atomically(self._folder / SPENT, "".join(f"{line}\n" for line in lines))


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """model -> totals of the lines. An incomplete last line is ignored: its request was not sent.

    Raises CorruptFile for another unreadable line: what was spent is not known then, and a cap would not hold.
    """
    totals: defaultdict[str, Counter[str]] = defaultdict(Counter)
    answered: defaultdict[str, set[str]] = defaultdict(set)
    for model, changes in _lines(path):
        answered[model].update(filter(None, [changes.pop(ANSWERED_BY, None)]))
        totals[model].update(changes)
    for amounts in totals.values():
        amounts["dollars_unreported"] += max(0.0, amounts.pop("reserved", 0.0))  # type: ignore[arg-type]  counts dollars too
    return {model: {**amounts, ANSWERED_BY: answered[model]} for model, amounts in totals.items()}


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(model, changes) of each line."""
    try:
        text = path.read_text() if path.exists() else ""
    except (OSError, ValueError) as error:
        raise _unknown(path, str(error)) from error
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        try:
            changes = json.loads(line)
            model = changes.pop("model")
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            if not line.endswith("\n"):
                return
            raise _unknown(path, f"line {number} cannot be read") from error
        yield model, changes


def _unknown(path: Path, problem: str) -> CorruptFile:
    return CorruptFile(
        f"{path}: {problem}, so what the stage has spent so far is not known; delete the file to go on as if nothing "
        "had been spent"
    )


def _kept(path: Path) -> Any:
    """The estimate in the file; logs a warning and returns DAMAGED for an unreadable file."""
    try:
        kept = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        LOG.warning("%s cannot be read: %s. What the stage may cost is estimated anew.", path, error)
        return DAMAGED
    if kept is None or (isinstance(kept, dict) and kept):
        return kept
    LOG.warning("%s holds no estimate. What the stage may cost is estimated anew.", path)
    return DAMAGED


def _written(path: Path, estimated: dict[str, Any] | None) -> dict[str, Any] | None:
    write_atomically(path, json.dumps(estimated))
    return estimated


def _known(value: T) -> Future[T]:
    future: Future[T] = Future()
    future.set_result(value)
    return future


def _in_a_thread(work: Callable[[], T]) -> Future[T]:
    """The result of `work` in a daemon thread, which does not keep a failing program from ending."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # raised where the result is read
            future.set_exception(error)

    threading.Thread(target=run, name="estimate", daemon=True).start()
    return future
