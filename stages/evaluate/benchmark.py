"""Stage benchmark: a checkpoint answers a benchmark greedily, and items that stand in training prompts are counted."""

from typing import Any

from pydantic import Field

from hasse.data.records import Evaluation, Prompt
from hasse.data.rendering import comparison_text
from hasse.data.settings import Config, registry, unkeyed
from hasse.pipeline.stage import Job, Stage
from hasse.stages.evaluate.benchmarks import BenchmarkItem, Score
from hasse.stages.evaluate.contamination import contaminated
from hasse.stages.models.checkpoints import load_tokenizer_of, model_folder
from hasse.stages.models.sample import Sampled

BENCHMARKS = "hasse.stages.evaluate.benchmarks"
Benchmark = registry.settings_union(BENCHMARKS, "benchmark")

TRAINED = ("pretrain", "train")
SHOWN = 5
"""Overlaps that the metrics quote."""


class BenchmarkSettings(Config):
    """Settings of the benchmark stage."""

    benchmark: Benchmark = Field(description="The benchmark and its settings.")  # type: ignore[valid-type]
    contamination_words: int = Field(
        default=13, ge=3, description="Equal words in a row that make an item count as contaminated."
    )
    batch_size: int = unkeyed(64, ge=1, description="Sequences at a time; this changes memory, not results.")


def external(settings: Any) -> dict[str, str]:
    """Digests of the benchmark's files."""
    return registry.load(BENCHMARKS, settings.benchmark, kind="benchmark").external(settings)


def run(job: Job) -> None:
    from hasse.stages.models.load import load_model
    from hasse.stages.models.sample import greedy

    settings: BenchmarkSettings = job.settings
    module = registry.load(BENCHMARKS, settings.benchmark.benchmark, kind="benchmark")
    items = module.items(settings.benchmark)
    checkpoint = job.input("checkpoint")
    answers = greedy(
        load_model(model_folder(checkpoint)),
        load_tokenizer_of(checkpoint),
        [item.text for item in items],
        max_tokens=settings.benchmark.max_tokens,
        batch_size=settings.batch_size,
    )
    texts = [sampled.text if sampled else "" for sampled in answers]
    scored = [(item, module.score(item, text)) for item, text in zip(items, texts, strict=True)]
    rows = [_row(item, score, sampled) for (item, score), sampled in zip(scored, answers, strict=True)]
    job.write(sorted(rows, key=lambda row: row.prompt_id), Evaluation)
    trained = (
        (p.prompt_id, comparison_text(p.text, p.messages))
        for p in job.input("prompts").records(Prompt)
        if p.split in TRAINED
    )
    overlaps = contaminated(trained, ((i.item_id, i.text) for i in items), n=settings.contamination_words)
    job.metrics |= {
        "summary": module.summary(scored),
        "too_long": sum(sampled is None for sampled in answers),
        "contaminated": len(overlaps),
        "overlaps": [f"{o.evaluation_id} in {o.training_id}: {o.gram}" for o in overlaps[:SHOWN]],
    }


def _row(item: BenchmarkItem, score: Score, sampled: Sampled | None) -> Evaluation:
    """The row of one item. An item that does not fit into the model's context is scored as an empty answer."""
    return Evaluation(
        prompt_id=item.item_id,
        cluster_id=item.item_id,
        split="test",
        group=item.task,
        decoding="greedy",
        text=sampled.text if sampled else "",
        num_tokens=sampled.num_answer_tokens if sampled else 0,
        label_strict=score.label,
        correct_strict=score.value == 1 and score.certain,
        correct_loose=score.value == 1,
        correct_first=score.value == 1,
        score=score.value,
        status="ok" if sampled else "filtered",
        error=None if sampled else "the item does not fit into the model's context",
    )


STAGE = Stage(
    name="benchmark",
    run=run,
    in_child=True,
)
