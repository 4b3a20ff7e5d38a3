"""What Prefect adds to a stage: the judge of 10,000 prompts as a task of the flow `hasse`, and by the plain walk.

python -m tests.benchmarks.orchestration [--prompts N] [--rounds N]

Eight drafts a prompt come with the source; the rule judges them by edit distance, in chunks of 500 prompts. The server
is that of `hasse up`, on loopback and SQLite, with its flows served beside it. A round is the stage in both ways, each
into an empty store of judgements; which goes first alternates. The stage's time is that from asking for the step to
having it: with Prefect all calls to the server are in it, states, slot, progress and page. What a run takes apart from
its stages (the flow's start and end) is told beside it, and what it takes once.
"""

import argparse
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from hasse.flows.cli import screen
from hasse.flows.recipe.recipe import Recipe, load_recipe
from hasse.flows.run import run as walk
from hasse.pipeline.store import Store
from tests.flows.prefect_up import Up

CHUNK = 500
NUM_DRAFTS = 8
WORDS = ("red", "green", "blue", "warm", "cold", "near", "far", "old", "young", "light", "heavy", "calm")
RECIPE = {
    "name": "orchestration",
    "task": {"score": "edit"},
    "prompts": {"near_duplicate_threshold": 1.0},
    "student": {
        "scratch": {
            "vocab_size": 300,
            "hidden_size": 16,
            "num_layers": 1,
            "num_heads": 2,
            "context_length": 160,
            "optimiser": {"steps": 1, "prompts_per_step": 8},
        }
    },
    "generate": {
        "groups": [{"sampler": "dataset", "name": "draft", "field": "drafts", "num_samples": NUM_DRAFTS}],
        "chunk_size": CHUNK,
    },
    "judge": {"teacher": "rule", "total": "score", "chunk_size": CHUNK},
    "order": {"strategy": "scores"},
    "train": {"arms": {"sft": {"method": "sft"}}},
}


class Clock:
    """Seconds of the last call of a function, which it stands for."""

    def __init__(self, function: Callable[..., Any]):
        self.function, self.seconds = function, 0.0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        try:
            return self.function(*arguments, **options)
        finally:
            self.seconds = time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe, path = make_recipe(folder, asked.prompts)
        store = Store(folder / "store")
        started = time.perf_counter()
        up = Up(folder, folder, "--recipe", str(path))
        try:
            up.wait(deployments=4)
            print(f"hasse up: {time.perf_counter() - started:.1f} s until its deployments are there", flush=True)
            compare(recipe, store, up, asked.rounds)
        finally:
            up.stop()


def compare(recipe: Recipe, store: Store, up: Up, num_rounds: int) -> None:
    started = time.perf_counter()
    become_client(up)
    from hasse.flows.server import flows

    print(f"a client's imports: {time.perf_counter() - started:.1f} s")
    plain, task = Clock(walk.perform), Clock(flows.as_task)
    walk.perform, flows.as_task = plain, task
    with screen.listener(quiet=True) as listener:
        for stage in ("prompts", "student", "generate"):
            walk.walk(recipe, store, listener, only=stage)

    def without_prefect() -> tuple[float, float]:
        return timed(lambda: walk.walk(recipe, store, listener, only="judge"), plain)

    def with_prefect() -> tuple[float, float]:
        return timed(lambda: flows.run_recipe_as_flow(recipe, store, from_stage=None, only="judge"), task)

    ways = {"without": without_prefect, "with": with_prefect}
    rounds = []
    for i in range(num_rounds + 1):
        found = {}
        for way in sorted(ways, reverse=bool(i % 2)):
            shutil.rmtree(store.root / "judge", ignore_errors=True)
            found[way] = ways[way]()
        print("\t".join(f"{way} {stage:.2f} s of {run:.2f} s" for way, (stage, run) in found.items()), flush=True)
        rounds.append(found)
    show(rounds[1:])  # the first one has what comes once
    print(f"a run by its deployment, all found: {from_its_deployment(up, store):.1f} s")


def timed(run: Callable[[], object], clock: Clock) -> tuple[float, float]:
    """Seconds of the stage and of the whole run."""
    started = time.perf_counter()
    run()
    return clock.seconds, time.perf_counter() - started


def show(rounds: list[dict[str, tuple[float, float]]]) -> None:
    for way in ("without", "with"):
        stage = [found[way][0] for found in rounds]
        rest = [found[way][1] - found[way][0] for found in rounds]
        print(
            f"{way:7} Prefect: stage {median(stage):6.2f} s ({min(stage):.2f} to {max(stage):.2f}), "
            f"rest of the run {median(rest):.2f} s"
        )
    shares = [found["with"][0] / found["without"][0] - 1 for found in rounds]
    print(f"overhead of the stage {median(shares):+.1%} ({min(shares):+.1%} to {max(shares):+.1%})")


def from_its_deployment(up: Up, store: Store) -> float:
    """Seconds from asking for a run that finds everything to its end: the process that it runs in, and its imports."""
    started = time.perf_counter()
    run = up.start("orchestration", store=str(store.root), only="judge")
    up.until(run, "COMPLETED")
    return time.perf_counter() - started


def become_client(up: Up) -> None:
    """As a command's environment has it, before Prefect reads it."""
    os.environ |= {"PREFECT_API_URL": f"{up.url}/api", "PREFECT_HOME": str(up.folder / "client")}


def make_recipe(folder: Path, number: int) -> tuple[Recipe, Path]:
    rows = folder / "rows.jsonl"
    with rows.open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in make_rows(number))
    fields = {name: name for name in ("text", "reference", "drafts", "answers", "split")}
    path = folder / "orchestration.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, "source": {"kind": "jsonl", "path": str(rows), "fields": fields}}))
    return load_recipe(str(path), []), path


def make_rows(number: int) -> Iterator[dict[str, Any]]:
    """So many to judge, and a few for the student and the test; in drafts some words of the answer are others."""
    draw = random.Random(0)
    for i, split in enumerate(["train"] * number + ["test"] * 16 + ["pretrain"] * 16):
        words = draw.choices(WORDS, k=24)
        drafts = [[draw.choice(WORDS) if draw.random() < 0.3 else word for word in words] for _ in range(NUM_DRAFTS)]
        answer = " ".join(words)
        yield {
            "text": f"prompt {i}",
            "reference": answer,
            "answers": [answer],
            "drafts": [" ".join(draft) for draft in drafts],
            "split": split,
        }


if __name__ == "__main__":
    main()
