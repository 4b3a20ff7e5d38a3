"""Stage benchmark: a checkpoint answers a benchmark greedily; and which items stood in the training prompts."""

from typing import Any

from pydantic import Field

from data import registry
from data.config import Config, unkeyed
from data.records import Evaluation, Prompt
from pipeline.stage import Job, Stage
from stages.benchmarks import Item, Score
from stages.checkpoints import model_folder
from stages.contamination import contaminated

BENCHMARKS = "stages.benchmarks"
Benchmark = registry.settings_union(BENCHMARKS, "benchmark")

TRAINED = ("pretrain", "train")
SHOWN = 5


class BenchmarkSettings(Config):
    """Settings of the benchmark stage."""

    benchmark: Benchmark = Field(description="Which one.")  # type: ignore[valid-type]
    contamination_words: int = Field(default=13, ge=3, description="Words in a row that count as the same text.")
    batch_size: int = unkeyed(64, ge=1, description="Sequences at a time; memory only.")


def external(settings: Any) -> dict[str, str]:
    """Digests of the benchmark's files."""
    return registry.load(BENCHMARKS, settings.benchmark, kind="benchmark").external(settings)


def run(job: Job) -> None:
    from stages.models import load_model, load_tokenizer

    settings: BenchmarkSettings = job.settings
    module = registry.load(BENCHMARKS, settings.benchmark.benchmark, kind="benchmark")
    items = module.items(settings.benchmark)
    folder = model_folder(job.input("checkpoint"))
    answers = _answers(items, load_model(folder), load_tokenizer(folder), settings)
    scored = [(item, module.score(item, text)) for item, (text, _) in zip(items, answers, strict=True)]
    rows = [_row(item, s, text, n) for (item, s), (text, n) in zip(scored, answers, strict=True)]
    job.write(sorted(rows, key=lambda row: row.prompt_id), Evaluation)
    trained = ((p.prompt_id, p.text) for p in job.input("prompts").records(Prompt) if p.split in TRAINED)
    overlaps = contaminated(trained, ((i.item_id, i.text) for i in items), n=settings.contamination_words)
    job.metrics |= {
        "summary": module.summary(scored),
        "too_long": sum(n is None for _, n in answers),
        "contaminated": len(overlaps),
        "overlaps": [f"{o.evaluation_id} in {o.training_id}: {o.gram}" for o in overlaps[:SHOWN]],
    }


def _answers(
    items: list[Item], model: Any, tokenizer: Any, settings: BenchmarkSettings
) -> list[tuple[str, int | None]]:
    """(answer, its tokens) of each item; ("", None) for one that does not fit into the model's context."""
    from stages.models import context_length
    from stages.samplers.transformers import generate
    from stages.tokens import prompt_token_ids

    max_tokens = settings.benchmark.max_tokens
    ids = [prompt_token_ids(tokenizer, item.text) for item in items]
    room = context_length(model) - max_tokens
    fitting = [i for i in ids if len(i) <= room]
    found = iter(
        generate(
            model,
            tokenizer,
            fitting,
            [0] * len(fitting),
            temperature=0.0,
            top_p=1.0,
            max_tokens=max_tokens,
            batch_size=settings.batch_size,
        )
    )
    answers: list[tuple[str, int | None]] = []
    for i in ids:
        sampled = next(found) if len(i) <= room else None
        answers.append((sampled.text, len(sampled.token_ids)) if sampled else ("", None))
    return answers


def _row(item: Item, score: Score, text: str, num_tokens: int | None) -> Evaluation:
    return Evaluation(
        prompt_id=item.item_id,
        cluster_id=item.item_id,
        split="test",
        group=item.task,
        decoding="greedy",
        text=text,
        num_tokens=num_tokens or 0,
        label_strict=score.label,
        correct_strict=score.value == 1 and score.certain,
        correct_loose=score.value == 1,
        score=score.value,
        status="ok" if num_tokens is not None else "filtered",
        error=None if num_tokens is not None else "the item does not fit into the model's context",
    )


STAGE = Stage(
    name="benchmark",
    run=run,
    modules=(
        "stages.benchmark",
        "stages.contamination",
        "stages.samplers.transformers",
        "stages.tokens",
        "stages.models",
        "stages.checkpoints",
        "data.text",
    ),
    in_child=True,
)
