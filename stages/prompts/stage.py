"""Stage prompts: the rows of a source become prompts with an id, a near-duplicate cluster and a split."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from pydantic import Field

from hasse.data.parquet import read_records
from hasse.data.raw_prompt import RawPrompt
from hasse.data.record_file import MappedRecords
from hasse.data.records import HELD_OUT, SPLITS, Prompt
from hasse.data.settings import Config, Seed, registry, unkeyed
from hasse.pipeline.disk import disk_errors
from hasse.pipeline.fingerprint import canonical
from hasse.pipeline.stage import Job, Stage
from hasse.pipeline.store import content_digest, describe_files
from hasse.stages.prompts import carry_over
from hasse.stages.prompts.carry_over import EarlierPrompt
from hasse.stages.prompts.held_out import SplitProof, prove_disjoint
from hasse.stages.prompts.placement import Placement
from hasse.stages.prompts.question import Asker, QuestionSettings, Shown, answer_of
from hasse.stages.prompts.splits import Fractions

SPOOL = "rows.arrow"
ROWS_SORTED = 20_000
"""The number of prompts that are in memory at the same time."""

SOURCES = "hasse.data.sources"
Source = registry.settings_union(SOURCES, "kind")


class PromptsSection(Config):
    """The recipe's section `prompts`."""

    fractions: Fractions = Fractions()
    split_seed: Seed = Field(
        default=0, description="Another seed gives other splits; not used for rows whose source gives a split."
    )
    near_duplicate_threshold: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Jaccard similarity from which prompts share a cluster, of 3-grams of words, or of characters in "
        "scripts without spaces.",
    )
    num_expert: int | None = Field(
        default=None, ge=0, description="Number of training prompts that keep the expert's answer; left out: all."
    )
    before: str | None = unkeyed(
        None,
        description="prompt.parquet of an earlier run, whose prompts keep cluster, split and expert's answer; "
        "`hasse nightly` fills it in.",
    )


class PromptsSettings(Config):
    """Settings of the prompts stage."""

    source: Source  # type: ignore[valid-type]
    prompts: PromptsSection
    labels: tuple[str, ...]
    question: QuestionSettings = QuestionSettings()
    held_out_question: QuestionSettings = QuestionSettings()


def run(job: Job) -> None:
    settings: PromptsSettings = job.settings
    source = registry.load(SOURCES, settings.source.kind, kind="source")
    placement = Placement(
        settings.prompts,
        source=settings.source.kind,
        labels=settings.labels,
        before=carry_over.read(settings.prompts.before),
        folder=job.path,
    )
    with disk_errors(job.store.root), spool(job.path) as path:
        rows = MappedRecords.write(path, add_rows(source.rows(settings.source), placement), RawPrompt)
        placement.settle()
        found = PromptCounts()
        prompts = asked(sorted_prompts(rows, placement), askers(rows, placement, settings))
        counts = job.write(found.counted(prompts, placement.before), Prompt)
    job.conserve("rows", expected=len(rows), found=sum(counts.values()))
    proof = prove_disjoint(*(_usable(job.path / "prompt.parquet", held_out=held_out) for held_out in (False, True)))
    job.metrics |= {
        "splits": {split: found.splits[split] for split in SPLITS},
        "experts": found.num_experts,
        "clusters": len(found.clusters),
        "largest_cluster": max(found.clusters.values()),
        "carried": found.num_carried,
        "split_proof": {name: getattr(proof, name) for name in SplitProof.__slots__},
    }


def build_prompts(
    raw: Sequence[RawPrompt],
    settings: PromptsSection,
    *,
    source: str,
    labels: tuple[str, ...],
    before: Mapping[str, EarlierPrompt] | None = None,
) -> list[Prompt]:
    """One prompt for each row, sorted by id. Raises SourceError for an unknown label and for an id given twice.

    These rows have the status `duplicate`: a repeated prompt, a training row whose cluster the source also put into a
    held-out split, and a row whose near-duplicates were in another split in `before`.
    """
    placement = Placement(settings, source=source, labels=labels, before=before)
    for row in raw:
        placement.add(row)
    placement.settle()
    return sorted((placement.prompt(i, row) for i, row in enumerate(raw)), key=lambda p: p.prompt_id)


def sorted_prompts(rows: MappedRecords[RawPrompt], placement: Placement) -> Iterator[Prompt]:
    """The prompts, sorted by id. A part of them is in memory at a time, and the rows are read once for each part."""
    order = sorted(range(len(placement.rows)), key=lambda i: placement.rows[i].prompt_id)
    for begin in range(0, len(order), ROWS_SORTED):
        part = order[begin : begin + ROWS_SORTED]
        prompts = {i: placement.prompt(i, row) for i, row in rows.selected(set(part))}
        yield from (prompts[i] for i in part)


@dataclass
class PromptCounts:
    """Counts of the prompts that are written."""

    splits: Counter[str] = field(default_factory=Counter)
    clusters: Counter[str] = field(default_factory=Counter)
    num_experts: int = 0
    num_carried: int = 0

    def counted(self, prompts: Iterable[Prompt], before: Mapping[str, EarlierPrompt]) -> Iterator[Prompt]:
        for prompt in prompts:
            self.clusters[prompt.cluster_id] += 1
            if prompt.status == "ok":
                self.splits[prompt.split] += 1
                self.num_experts += prompt.split == "train" and prompt.reference is not None
                self.num_carried += prompt.prompt_id in before
            yield prompt


def askers(rows: MappedRecords[RawPrompt], placement: Placement, settings: PromptsSettings) -> dict[str, Asker]:
    """Split -> how its prompts are asked. Demonstrations are drawn from the training prompts for every split."""
    questions = {split: settings.held_out_question if split in HELD_OUT else settings.question for split in SPLITS}
    drawn = placement.demonstrations(max(question.num_drawn for question in questions.values()))
    found = {i: placement.prompt(i, row) for i, row in rows.selected(set(drawn))}
    shown = [Shown(found[i], answer_of(found[i]) or "") for i in drawn]
    return {split: Asker(question, shown[: question.num_drawn]) for split, question in questions.items()}


def asked(prompts: Iterable[Prompt], by_split: Mapping[str, Asker]) -> Iterator[Prompt]:
    """The prompts as they are asked; those that cannot be used stay as they are."""
    for prompt in prompts:
        yield by_split[prompt.split].ask(prompt) if prompt.status == "ok" else prompt


def add_rows(rows: Iterable[RawPrompt], placement: Placement) -> Iterator[RawPrompt]:
    for row in rows:
        placement.add(row)
        yield row


@contextmanager
def spool(folder: Path) -> Iterator[Path]:
    """A file for the rows while they are sorted; it is deleted at the end, and before that if a killed run left it."""
    path = folder / SPOOL
    path.unlink(missing_ok=True)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _usable(path: Path, *, held_out: bool) -> Iterator[Prompt]:
    return (p for p in read_records(path, Prompt) if p.status == "ok" and (p.split in HELD_OUT) == held_out)


def identity(path: Path) -> dict[str, str]:
    """The digest of the whole table, and one of the usable prompts of each split, on which a step may depend alone."""
    parts = {split: ListDigest() for split in SPLITS}
    for prompt in read_records(path / "prompt.parquet", Prompt):
        if prompt.status == "ok":
            parts[prompt.split].add(repr(prompt))
    digests = {f"part:{split}": part.hex() for split, part in parts.items()}
    return {"content": content_digest(describe_files(path)), **digests}


class ListDigest:
    """The digest of a list whose items are added one at a time; equal to `hasse.pipeline.fingerprint.digest`."""

    def __init__(self) -> None:
        self.state, self.separator = sha256(b"["), b""

    def add(self, item: str) -> None:
        self.state.update(self.separator + canonical(item))
        self.separator = b","

    def hex(self) -> str:
        state = self.state.copy()
        state.update(b"]")
        return state.hexdigest()


STAGE = Stage(
    name="prompts",
    run=run,
    identity=identity,
)
