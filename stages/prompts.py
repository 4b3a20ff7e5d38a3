"""Stage prompts: raw rows become prompts with an id, a near-duplicate cluster and a split; nothing is lost."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import Field, model_validator

from data import registry
from data.clusters import clusters
from data.config import Config, unkeyed
from data.errors import InputError, SourceError
from data.raw import RawPrompt
from data.records import HELD_OUT, SPLITS, Prompt
from data.rendering import compared
from data.text import normalise, short_digest, unit_hash
from pipeline.fingerprint import digest
from pipeline.stage import Job, Stage
from pipeline.store import content_digest, describe_files
from stages import carried
from stages.carried import Carried, Place

SOURCES = "data.sources"
Source = registry.settings_union(SOURCES, "kind")


class Fractions(Config):
    """Share of the clusters in each split; they add up to 1."""

    pretrain: float = Field(default=0.0, ge=0, le=1, description="For a student trained from scratch.")
    train: float = Field(default=0.8, ge=0, le=1, description="To learn from.")
    validation: float = Field(default=0.1, ge=0, le=1, description="To choose settings on.")
    test: float = Field(default=0.1, ge=0, le=1, description="To report.")

    @model_validator(mode="after")
    def _add_up(self) -> "Fractions":
        total = self.pretrain + self.train + self.validation + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the fractions add up to {total:g} instead of 1")
        return self


class PromptsSection(Config):
    """The recipe's section `prompts`."""

    fractions: Fractions = Fractions()
    split_seed: int = Field(
        default=0, description="Another seed, other splits; ignored for rows whose source gives a split."
    )
    near_duplicate_threshold: float = Field(
        default=0.8, gt=0, le=1, description="Jaccard similarity of word 3-grams from which prompts share a cluster."
    )
    num_expert: int | None = Field(
        default=None, ge=0, description="Keep the expert's answer for only so many training prompts; all when left out."
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitProof:
    """Two sets of prompts that share no id, no cluster and no normalised text."""

    num_trained: int
    num_held_out: int
    trained_clusters: int
    held_out_clusters: int


def run(job: Job) -> None:
    settings: PromptsSettings = job.settings
    source = registry.load(SOURCES, settings.source.kind, kind="source")
    raw = list(source.rows(settings.source))
    before = carried.read(settings.prompts.before)
    prompts = build_prompts(raw, settings.prompts, source=settings.source.kind, labels=settings.labels, before=before)
    counts = job.write(prompts, Prompt)
    job.conserve("rows", expected=len(raw), found=sum(counts.values()))
    usable = [p for p in prompts if p.status == "ok"]
    proof = prove_disjoint([p for p in usable if p.split not in HELD_OUT], [p for p in usable if p.split in HELD_OUT])
    job.metrics |= {
        "splits": {split: sum(p.split == split for p in usable) for split in SPLITS},
        "experts": sum(p.split == "train" and p.reference is not None for p in usable),
        "clusters": len({p.cluster_id for p in prompts}),
        "carried": sum(p.prompt_id in before for p in usable),
        "split_proof": {name: getattr(proof, name) for name in SplitProof.__slots__},
    }


def build_prompts(
    raw: Sequence[RawPrompt],
    settings: PromptsSection,
    *,
    source: str,
    labels: tuple[str, ...],
    before: Mapping[str, Carried] | None = None,
) -> list[Prompt]:
    """One prompt a row, sorted by id. Raises SourceError for a label outside the set and for ids given twice.

    A text that occurs again, a training row whose cluster the source also put into a held-out split, and a row that
    cannot stand beside what is carried over from `before`, are kept with status `duplicate`.
    """
    before = before or {}
    if not raw:
        raise SourceError(f"the source {source!r} holds no rows")
    ids = _unique_ids(raw, source)
    threshold = settings.near_duplicate_threshold
    roots = clusters([compared(r.text, r.messages) for r in raw], [r.cluster_key for r in raw], threshold=threshold)
    places = _places(raw, ids, roots, settings, before)
    held_out = {
        root: row.split
        for root, row, place in zip(roots, raw, places, strict=True)
        if row.split in HELD_OUT and place.clash is None
    }
    first = {}
    prompts = []
    for i, (row, root, place) in enumerate(zip(raw, roots, places, strict=True)):
        copy_of = first.setdefault(_identity(row), i)
        status, error = _status(row, place, held_out.get(root), ids[copy_of] if copy_of != i else None)
        prompts.append(_prompt(row, ids[i], place, source, labels, status, error))
    return sorted(_hide_experts(prompts, settings, before), key=lambda p: p.prompt_id)


def _places(
    raw: Sequence[RawPrompt],
    ids: Sequence[str],
    roots: Sequence[int],
    settings: PromptsSection,
    before: Mapping[str, Carried],
) -> list[Place]:
    """Cluster and split of every row: as carried over, as the source says, or by the cluster's hash."""
    earlier = carried.members(ids, roots, before)
    places = []
    for row, prompt_id, root in zip(raw, ids, roots, strict=True):
        if root in earlier:
            places.append(carried.place(row, before.get(prompt_id), earlier[root]))
        else:
            places.append(Place(cluster_id=ids[root], split=row.split or split_of(ids[root], settings)))
    return places


def split_of(cluster_id: str, settings: PromptsSection) -> str:
    """By a hash of the cluster alone: no row that comes or goes moves another cluster."""
    position = unit_hash("split", settings.split_seed, cluster_id)
    for split in SPLITS:
        share = getattr(settings.fractions, split)
        if position < share:
            return split
        position -= share
    return next(split for split in reversed(SPLITS) if getattr(settings.fractions, split) > 0)


def prove_disjoint(trained: Iterable[Prompt], held_out: Iterable[Prompt]) -> SplitProof:
    """Count both sets, after a check that nothing stands in both; only what is held out is kept in memory.

    Raises InputError that names an offender.
    """
    kinds = {"id": _by_id, "near-duplicate cluster": _by_cluster, "text": _by_text}
    held_out = list(held_out)
    seen = {what: {key(p): p.prompt_id for p in held_out} for what, key in kinds.items()}
    num_trained, trained_clusters = 0, set()
    for prompt in trained:
        num_trained += 1
        trained_clusters.add(prompt.cluster_id)
        for what, key in kinds.items():
            if key(prompt) in seen[what]:
                raise InputError(
                    f"held-out prompt {seen[what][key(prompt)]} shares its {what} with training prompt "
                    f"{prompt.prompt_id}; a score on it would not count"
                )
    return SplitProof(
        num_trained=num_trained,
        num_held_out=len(held_out),
        trained_clusters=len(trained_clusters),
        held_out_clusters=len({p.cluster_id for p in held_out}),
    )


def _by_id(prompt: Prompt) -> str:
    return prompt.prompt_id


def _by_cluster(prompt: Prompt) -> str:
    return prompt.cluster_id


def _by_text(prompt: Prompt) -> str:
    return normalise(compared(prompt.text, prompt.messages))


def _identity(row: RawPrompt) -> Any:
    if row.prompt_id is not None:
        return row.prompt_id
    turns = [(m.role, m.content) for m in row.messages or ()] or [("user", row.text)]
    return tuple((role, normalise(content)) for role, content in turns)


def _unique_ids(raw: Sequence[RawPrompt], source: str) -> list[str]:
    """Given ids, or digests of the text; a text that occurs again gets a number behind its id."""
    given: dict[str, RawPrompt] = {}
    count: dict[str, int] = {}
    ids = []
    for row in raw:
        if row.prompt_id is not None:
            _check_given(row, given)
            ids.append(row.prompt_id)
            continue
        turns = [part for m in row.messages or () for part in (m.role, normalise(m.content))]
        base = short_digest(source, normalise(row.text), *turns)
        count[base] = count.get(base, 0) + 1
        ids.append(base if count[base] == 1 else f"{base}-{count[base]}")
    return ids


def _check_given(row: RawPrompt, given: dict[str, RawPrompt]) -> None:
    assert row.prompt_id is not None
    other = given.setdefault(row.prompt_id, row)
    if other is not row:
        elsewhere = "" if other.file == row.file else f" of {other.file}"
        raise SourceError(
            f"{row.prompt_id!r} is the id of row {other.row}{elsewhere} too; ids must be different",
            file=row.file,
            row=row.row,
            field="prompt_id",
        )


def _status(row: RawPrompt, place: Place, held_out_as: str | None, copy_of: str | None) -> tuple[Any, str | None]:
    if row.error is not None:
        return "failed", row.error
    if copy_of is not None:
        return "duplicate", f"the same prompt as {copy_of}"
    if place.clash is not None:
        return "duplicate", f"it or its near-duplicate was in the split {place.clash} before"
    if held_out_as is not None and place.split not in HELD_OUT:
        return "duplicate", f"its near-duplicate is in the split {held_out_as}"
    if held_out_as is not None and place.split != held_out_as:
        return "duplicate", f"its near-duplicate is in the split {held_out_as} too"
    return "ok", None


def _prompt(
    row: RawPrompt,
    prompt_id: str,
    place: Place,
    source: str,
    labels: tuple[str, ...],
    status: Any,
    error: str | None,
) -> Prompt:
    return Prompt(
        prompt_id=prompt_id,
        text=row.text,
        messages=row.messages,
        variants=row.variants,
        context=row.context,
        reference=row.reference,
        drafts=row.drafts,
        label=_canonical_label(row, labels),
        answers=row.answers,
        group=row.group,
        source=source,
        cluster_id=place.cluster_id,
        split=place.split,
        status=status,
        error=error,
    )


def _canonical_label(row: RawPrompt, labels: tuple[str, ...]) -> str | None:
    """As the task spells it. Raises SourceError for a label that is not one of the task's."""
    if row.label is None or not labels:
        return row.label
    found = next((label for label in labels if label.lower() == row.label.strip().lower()), None)
    if found is None and row.error is None:
        raise SourceError(
            registry.unknown(row.label, list(labels), kind="label"), file=row.file, row=row.row, field="label"
        )
    return found


def _hide_experts(prompts: list[Prompt], settings: PromptsSection, before: Mapping[str, Carried]) -> list[Prompt]:
    """Only `num_expert` training prompts keep their reference: those that had it before, then by the smallest hash."""
    if settings.num_expert is None:
        return prompts

    def rank(prompt_id: str) -> tuple[bool, float]:
        had_it = prompt_id in before and before[prompt_id].has_reference
        return not had_it, unit_hash("expert", settings.split_seed, prompt_id)

    offered = [p.prompt_id for p in prompts if p.split == "train" and p.status == "ok" and p.reference is not None]
    kept = set(sorted(offered, key=rank)[: settings.num_expert])
    return [replace(p, reference=None) if p.split == "train" and p.prompt_id not in kept else p for p in prompts]


def identity(path: Any) -> dict[str, str]:
    """The digest of all, and one of each split's usable rows, on which a step may depend alone."""
    from data.parquet import read_records

    usable = [p for p in read_records(path / "prompt.parquet", Prompt) if p.status == "ok"]
    parts = {f"part:{split}": digest([repr(p) for p in usable if p.split == split]) for split in SPLITS}
    return {"content": content_digest(describe_files(path)), **parts}


STAGE = Stage(
    name="prompts",
    run=run,
    modules=(
        "stages.prompts",
        "stages.carried",
        "data.clusters",
        "data.conversations",
        "data.csv_rows",
        "data.json_rows",
        "data.mapping",
        "data.parquet_rows",
        "data.rendering",
        "data.tables",
        "data.text",
        "data.text_files",
    ),
    identity=identity,
)
