"""Keeps the cluster, split and expert's answer of prompts from an earlier run when the source has grown.

Without an earlier run, clusters and splits follow from the rows alone. A new row can then move other prompts: if it is
a near-duplicate of rows in different clusters, or precedes its near-duplicates in the source. But a model that was
trained last night must not be tested tonight on a prompt that it has seen, so with an earlier run nothing moves: a new
row joins the cluster and split of its near-duplicates, and is set aside if these are in two splits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hasse.data.errors import InputError
from hasse.data.parquet import read_records
from hasse.data.records import HELD_OUT, Prompt
from hasse.pipeline.fingerprint import file_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierPrompt:
    """The values that one usable prompt of the earlier run keeps."""

    cluster_id: str
    split: str
    has_reference: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitPlacement:
    """The cluster and split of a row, and the split in which its near-duplicates clash with that, if any."""

    cluster_id: str
    split: str
    clash: str | None = None


def external(before: str | None) -> dict[str, str]:
    """The digest of the file with the earlier run's prompts. Raises InputError for a file that does not exist."""
    if before is None:
        return {}
    if not Path(before).is_file():
        raise InputError(f"prompts.before: there is no file {before}; give the prompt.parquet of an earlier run")
    return {"before": file_digest(Path(before))}


def read(before: str | None) -> dict[str, EarlierPrompt]:
    """prompt_id -> what the prompt keeps; a prompt that was set aside keeps nothing."""
    if before is None:
        return {}
    return {
        p.prompt_id: EarlierPrompt(cluster_id=p.cluster_id, split=p.split, has_reference=p.reference is not None)
        for p in read_records(Path(before), Prompt)
        if p.status == "ok"
    }


def members(
    ids: Sequence[str], roots: Sequence[int], before: Mapping[str, EarlierPrompt]
) -> dict[int, list[EarlierPrompt]]:
    """Root of a cluster -> its prompts of the earlier run, in the order of the source."""
    by_root: dict[int, list[EarlierPrompt]] = {}
    for prompt_id, root in zip(ids, roots, strict=True):
        if prompt_id in before:
            by_root.setdefault(root, []).append(before[prompt_id])
    return by_root


def place(given: str | None, mine: EarlierPrompt | None, earlier: Sequence[EarlierPrompt]) -> SplitPlacement:
    """The cluster and split of a row of which the earlier run had the same prompt or near-duplicates.

    given: the row's split in the source. mine: the same prompt in the earlier run. earlier: its near-duplicates there,
    at least one.
    """
    first = mine or earlier[0]
    split = given or first.split
    others = {kept.split for kept in ([mine] if mine else earlier)} - {split}
    clashes = sorted(other for other in others if split in HELD_OUT or other in HELD_OUT)
    return SplitPlacement(cluster_id=first.cluster_id, split=split, clash=clashes[0] if clashes else None)
