"""What prompts keep from an earlier run when the source has grown: cluster, split, and the expert's answer.

By themselves, clusters and splits follow from the rows alone, and a row that is appended moves no other unless it is a
near-duplicate of two that stand in different clusters, or comes before its near-duplicates in the order of the source.
A model that was trained last night must not be tested tonight on a prompt that it has seen, so here nothing moves at
all: a new row goes to the cluster and split of its near-duplicates, and is set aside where these are in two splits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hasse.data.errors import InputError
from hasse.data.parquet import read_records
from hasse.data.records import HELD_OUT, Prompt
from hasse.pipeline.fingerprint import file_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """Of one usable prompt of the earlier run."""

    cluster_id: str
    split: str
    has_reference: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitPlacement:
    """Cluster and split of a row, and the split that it cannot stand beside, if any."""

    cluster_id: str
    split: str
    clash: str | None = None


def external(before: str | None) -> dict[str, str]:
    """The digest of the earlier run's prompts. Raises InputError when there is no such file."""
    if before is None:
        return {}
    if not Path(before).is_file():
        raise InputError(f"prompts.before: there is no file {before}; give the prompt.parquet of an earlier run")
    return {"before": file_digest(Path(before))}


def read(before: str | None) -> dict[str, Carried]:
    """prompt_id -> what it keeps; of prompts that were set aside nothing is kept."""
    if before is None:
        return {}
    return {
        p.prompt_id: Carried(cluster_id=p.cluster_id, split=p.split, has_reference=p.reference is not None)
        for p in read_records(Path(before), Prompt)
        if p.status == "ok"
    }


def members(ids: Sequence[str], roots: Sequence[int], before: Mapping[str, Carried]) -> dict[int, list[Carried]]:
    """Root of a cluster -> what its rows of the earlier run keep, in the order of the source."""
    found: dict[int, list[Carried]] = {}
    for prompt_id, root in zip(ids, roots, strict=True):
        if prompt_id in before:
            found.setdefault(root, []).append(before[prompt_id])
    return found


def place(given: str | None, mine: Carried | None, earlier: Sequence[Carried]) -> SplitPlacement:
    """Where a row goes that was there before (`mine`) or has near-duplicates that were (`earlier`, at least one).

    given: the split that the source gives it.
    """
    first = mine or earlier[0]
    split = given or first.split
    others = {kept.split for kept in ([mine] if mine else earlier)} - {split}
    clashes = sorted(other for other in others if split in HELD_OUT or other in HELD_OUT)
    return SplitPlacement(cluster_id=first.cluster_id, split=split, clash=clashes[0] if clashes else None)
