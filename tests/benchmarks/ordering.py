"""100,000 prompts with 8 judged candidates each, ordered by LP: seconds, peak memory, and the share of the writing.

python -m tests.benchmarks.ordering [--prompts N]
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hasse.data.records import Candidate, Judgement, PartialOrder, Prompt
from hasse.pipeline.run import perform
from hasse.pipeline.stage import Job, Stage, Step
from hasse.pipeline.store import Store
from hasse.stages.order import stage as order
from hasse.stages.order.strategies import lp

NUM_CANDIDATES = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=100_000)
    number = parser.parse_args().prompts
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        made = {name: _made(store, name, record, number) for name, record in TABLES.items()}
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        step = Step(
            name="order",
            stage=order.STAGE,
            settings=order.OrderSettings(strategy=lp.Settings()),
            inputs={name: (name,) for name in TABLES},
        )
        first = _timed(store, step, made)
        _timed(store, Step(**{**vars(step), "external": {"again": "1"}}), made, note="all rows known")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"{number / first:,.0f} prompts a second; peak memory {peak / 1e6:.2f} GB ({before / 1e6:.2f} GB before)")


def _timed(store: Store, step: Step, made: dict[str, Any], note: str = "all rows computed") -> float:
    started = time.perf_counter()
    done = perform(store, step, made, progress=lambda done, total: None)
    seconds = time.perf_counter() - started
    print(f"order, {note}: {seconds:.1f} s; {done.artifact.manifest.metrics}")
    return seconds


def _made(store: Store, name: str, record: Any, number: int) -> Any:
    stage = Stage(
        name=name,
        run=lambda job: _write(job, name, record, number),
    )
    step = Step(name=name, stage=stage, settings=order.OrderSettings(strategy=lp.Settings()))
    return perform(store, step, {}, progress=lambda done, total: None).artifact


def _write(job: Job, name: str, record: Any, number: int) -> None:
    job.write(_ROWS[name](number), record)


def _prompts(number: int) -> Iterator[Prompt]:
    for i in range(number):
        name = f"{i:08d}"
        yield Prompt(prompt_id=name, text=f"question {i}", label="yes", source="x", cluster_id=name, split="train")


def _candidates(number: int) -> Iterator[Candidate]:
    tokens, logprobs = tuple(range(30)), tuple(-0.5 for _ in range(30))
    for i in range(number):
        for k in range(NUM_CANDIDATES):
            yield Candidate(
                prompt_id=f"{i:08d}",
                candidate_id=f"student-{k}",
                text=f"an answer of some thirty tokens, number {k} of the question {i}, as a student would give it",
                token_ids=tokens,
                logprobs=logprobs,
                source="human" if k == 0 else "student",
            )


def _judgements(number: int) -> Iterator[Judgement]:
    for i in range(number):
        for k in range(NUM_CANDIDATES):
            correct = (i * 31 + k * 17) % 3 == 0
            yield Judgement(
                prompt_id=f"{i:08d}", candidate_id=f"student-{k}", teacher="rule", total=float(correct), correct=correct
            )


TABLES = {"prompts": Prompt, "candidates": Candidate, "judgements": Judgement}
_ROWS = {"prompts": _prompts, "candidates": _candidates, "judgements": _judgements}

if __name__ == "__main__":
    print(f"{Path(__file__).stem}: K = {NUM_CANDIDATES}, table of {PartialOrder.__name__}")
    main()
