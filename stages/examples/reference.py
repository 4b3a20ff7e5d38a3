"""Stage reference: the log-prob of every completion under the frozen student, computed once for all methods.

Where all arms train adapters on a base of one precision, the student is in that precision, and otherwise in float32. It
is in memory in this stage alone, and not beside the model that an arm trains. A row is one example; its key holds the
token ids and the model's digests.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from hasse.data.records import TrainingExample
from hasse.data.settings import Config, unkeyed
from hasse.pipeline.fingerprint import canonical, text_digest
from hasse.pipeline.row_chunks import Unit
from hasse.pipeline.rows import map_rows
from hasse.pipeline.stage import Job, Stage
from hasse.stages.models.lazy import LazyModel


class ReferenceSettings(Config):
    """Settings of the reference stage."""

    precision: Literal["float32", "auto", "4bit"] = Field(
        default="float32", description="Of the student's weights, as in `train.lora.base`."
    )
    micro_batch_tokens: int = unkeyed(
        16384, ge=1, description="Padded tokens in a batch; it only affects memory and speed."
    )
    chunk_size: int = unkeyed(2000, ge=1, description="Prompts between two commits to the store.")


def run(job: Job) -> None:
    settings: ReferenceSettings = job.settings
    model = LazyModel(job.input("student"))
    start = canonical([model.identity, settings.precision]).decode()
    total = sum(1 for _ in job.input("examples").records(TrainingExample))
    written = map_rows(
        job,
        (Unit(_row_key(start, example), example) for example in job.input("examples").records(TrainingExample)),
        lambda chunk: [
            [scored] for scored in score(model.frozen(settings.precision), chunk, settings.micro_batch_tokens)
        ],
        TrainingExample,
        total=total,
        chunk_size=settings.chunk_size,
        gpus=1,
    )
    job.count(TrainingExample, written.counts)
    job.metrics |= written.metrics
    job.conserve("examples", expected=total, found=sum(written.counts.values()))


def score(model: Any, examples: list[TrainingExample], micro_batch_tokens: int) -> Iterator[TrainingExample]:
    """The examples with their reference log-probs, in nats and in order; an example that is not ok stays as it is."""
    import torch

    from hasse.stages.models.load import device
    from hasse.stages.scoring.batch import collate
    from hasse.stages.scoring.score import choose_layout, group_of, in_passes, prepared, sequence_logps

    usable = [example for example in examples if example.status == "ok"]
    layout, _ = choose_layout(model, usable)
    scored = {}
    with torch.inference_mode(), prepared(model, layout):
        for members in in_passes([group_of(example) for example in usable], layout, micro_batch_tokens):
            part = [usable[i] for i in members]
            sums = iter(sequence_logps(model, collate(part).to(device()), layout).sum_N.tolist())
            for example in part:
                logps = tuple(next(sums) for _ in example.completions)
                scored[example.prompt_id] = replace(example, reference_logps=logps)
    for example in examples:
        yield scored.get(example.prompt_id, example)


def _row_key(start: str, example: TrainingExample) -> str:
    """The key of the whole example: its pairs and target are part of the row that comes out."""
    return text_digest(start, repr(example))


STAGE = Stage(
    name="reference",
    run=run,
    in_child=True,
)
