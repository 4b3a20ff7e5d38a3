"""The id, near-duplicate cluster, split and status of every prompt.

Rows are read one at a time and not kept. Memory holds the id of each row, a few digests and what decides its split,
some hundred bytes, so that a source may have any number of rows.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from hasse.data.errors import SourceError
from hasse.data.near_duplicates import Clusters
from hasse.data.raw_prompt import RawPrompt
from hasse.data.records import HELD_OUT, Prompt, Status
from hasse.data.rendering import comparison_text
from hasse.data.settings.registry import unknown
from hasse.data.text import normalise, short_digest, unit_hash
from hasse.stages.grading.tokens import canonical
from hasse.stages.prompts import carry_over
from hasse.stages.prompts.carry_over import EarlierPrompt, SplitPlacement
from hasse.stages.prompts.splits import SplitSettings, split_of


@dataclass(frozen=True, slots=True)
class RowSummary:
    """The part of a row that is kept in memory."""

    prompt_id: str
    copy_of: int | None
    """The number of the first row that is the same prompt."""
    split: str | None
    has_reference: bool
    label: str | None
    can_demonstrate: bool
    """Whether the row is a text with an answer."""
    error: str | None


class Placement:
    """Decides the placement of prompts: `add` all rows in order, then `settle`, then ask for each row's `prompt`."""

    def __init__(
        self,
        settings: SplitSettings,
        *,
        source: str,
        labels: tuple[str, ...],
        before: Mapping[str, EarlierPrompt] | None = None,
        folder: Path | None = None,
    ):
        self.settings, self.source, self.labels, self.before = settings, source, labels, before or {}
        self.clusters = Clusters(threshold=settings.near_duplicate_threshold, folder=folder)
        self.rows: list[RowSummary] = []
        self.places: list[SplitPlacement] = []
        self.notes: dict[int, tuple[Status, str]] = {}
        """Number of a row -> its status and error, for rows that are not ok."""
        self.without_reference: set[int] = set()
        self.first: dict[bytes, int] = {}
        self.repeats: dict[str, int] = {}
        self.given: dict[str, tuple[str | None, int | None]] = {}

    def add(self, row: RawPrompt) -> None:
        """Take the next row.

        Raises SourceError for an unknown label, for blank gold answers, and for an id that another row has.
        """
        canonical_label(row, self.labels)
        _check_gold(row)
        number = len(self.rows)
        turns = [(m.role, normalise(m.content)) for m in row.messages or ()] or [("user", normalise(row.text))]
        first = self.first.setdefault(_identity(row, turns), number)
        self.rows.append(
            RowSummary(
                prompt_id=self._given(row) if row.prompt_id is not None else self._digest(row, turns),
                copy_of=first if first != number else None,
                split=row.split,
                has_reference=row.reference is not None,
                label=row.label,
                can_demonstrate=row.messages is None and (row.reference is not None or bool(row.answers)),
                error=row.error,
            )
        )
        text = normalise(comparison_text(row.text, row.messages)) if row.messages else turns[0][1]
        self.clusters.add(text, row.cluster_key)

    def settle(self) -> None:
        """Decide the clusters, splits and statuses of all rows. Raises SourceError for a source without rows."""
        if not self.rows:
            raise SourceError(f"the source {self.source!r} holds no rows")
        roots = self.clusters.roots()
        self.places = self._placed(roots)
        held_out = {
            root: row.split
            for root, row, place in zip(roots, self.rows, self.places, strict=True)
            if row.split in HELD_OUT and place.clash is None
        }
        for i, (row, place, root) in enumerate(zip(self.rows, self.places, roots, strict=True)):
            copied = self.rows[row.copy_of].prompt_id if row.copy_of is not None else None
            if (note := _note(row, place, held_out.get(root), copied)) is not None:
                self.notes[i] = note
        self._hide_experts()

    def prompt(self, number: int, row: RawPrompt) -> Prompt:
        """The prompt made of a row, which the caller gives again with its number."""
        place = self.places[number]
        status, error = self.notes.get(number, ("ok", None))
        return Prompt(
            prompt_id=self.rows[number].prompt_id,
            text=row.text,
            messages=row.messages,
            variants=row.variants,
            context=row.context,
            reference=None if number in self.without_reference else row.reference,
            drafts=row.drafts,
            label=canonical_label(row, self.labels),
            answers=row.answers,
            group=row.group,
            source=self.source,
            cluster_id=place.cluster_id,
            split=place.split,
            status=status,
            error=error,
        )

    def demonstrations(self, number: int) -> list[int]:
        """The numbers of the training rows that are drawn as demonstrations, the labels in turn.

        A row whose expert's answer is hidden is not drawn. Raises SourceError if there are too few rows.
        """
        usable = [
            i
            for i, (row, place) in enumerate(zip(self.rows, self.places, strict=True))
            if place.split == "train" and row.can_demonstrate and i not in self.notes
        ]
        usable = [i for i in usable if i not in self.without_reference or not self.rows[i].has_reference]
        if len(usable) < number:
            raise SourceError(
                f"{number} demonstrations are wanted, but {len(usable)} training prompts are texts with an answer; "
                "lower the number, or give demonstrations as a list",
                field="demonstrations",
            )
        usable.sort(key=lambda i: unit_hash("demonstration", self.settings.split_seed, self.rows[i].prompt_id))
        before: Counter[str | None] = Counter()
        turns = []
        for i in usable:
            turns.append((before[self.rows[i].label], len(turns), i))
            before[self.rows[i].label] += 1
        return [i for *_, i in sorted(turns)[:number]]

    def _placed(self, roots: list[int]) -> list[SplitPlacement]:
        """The cluster and split of every row: carried over, given by the source, or by the cluster's hash."""
        ids = [row.prompt_id for row in self.rows]
        earlier = carry_over.members(ids, roots, self.before) if self.before else {}
        places = []
        for row, root in zip(self.rows, roots, strict=True):
            if root in earlier:
                places.append(carry_over.place(row.split, self.before.get(row.prompt_id), earlier[root]))
            else:
                split = row.split or split_of(ids[root], self.settings)
                places.append(SplitPlacement(cluster_id=ids[root], split=split))
        return places

    def _hide_experts(self) -> None:
        """Keep the reference of only `num_expert` training prompts: first those that had one before, then by hash."""
        if self.settings.num_expert is None:
            return
        training = [i for i, place in enumerate(self.places) if place.split == "train"]
        offered = [i for i in training if i not in self.notes and self.rows[i].has_reference]
        kept = set(sorted(offered, key=self._rank)[: self.settings.num_expert])
        self.without_reference = {i for i in training if i not in kept}

    def _rank(self, number: int) -> tuple[bool, float]:
        prompt_id = self.rows[number].prompt_id
        had_it = prompt_id in self.before and self.before[prompt_id].has_reference
        return not had_it, unit_hash("expert", self.settings.split_seed, prompt_id)

    def _digest(self, row: RawPrompt, turns: list[tuple[str, str]]) -> str:
        """The id of a row without one: a digest of its texts, with a number behind it for a repeated prompt."""
        parts = [part for turn in turns for part in turn] if row.messages else []
        base = short_digest(self.source, normalise(row.text) if row.messages else turns[0][1], *parts)
        self.repeats[base] = self.repeats.get(base, 0) + 1
        return base if self.repeats[base] == 1 else f"{base}-{self.repeats[base]}"

    def _given(self, row: RawPrompt) -> str:
        """The id that the source gives. Raises SourceError, naming both rows, for an id that another row has."""
        assert row.prompt_id is not None
        if row.prompt_id in self.given:
            file, number = self.given[row.prompt_id]
            elsewhere = "" if file == row.file else f" of {file}"
            raise SourceError(
                f"{row.prompt_id!r} is the id of row {number}{elsewhere} too; ids must be different",
                file=row.file,
                row=row.row,
                field="prompt_id",
            )
        self.given[row.prompt_id] = (row.file, row.row)
        return row.prompt_id


def canonical_label(row: RawPrompt, labels: tuple[str, ...]) -> str | None:
    """The row's label as the task spells it. Raises SourceError for a label that the task does not have."""
    if row.label is None or not labels:
        return row.label
    label = next((label for label in labels if label.lower() == row.label.strip().lower()), None)
    if label is None and row.error is None:
        raise SourceError(unknown(row.label, list(labels), kind="label"), file=row.file, row=row.row, field="label")
    return label


def _identity(row: RawPrompt, turns: list[tuple[str, str]]) -> bytes:
    """A digest that is equal for rows that are the same prompt."""
    given = [row.prompt_id] if row.prompt_id is not None else ["", *(part for turn in turns for part in turn)]
    return blake2b("\x1f".join(given).encode(), digest_size=16).digest()


def _note(
    row: RowSummary, place: SplitPlacement, held_out_as: str | None, copy_of: str | None
) -> tuple[Status, str] | None:
    """The status and error of a row that cannot be used; None for a usable row."""
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
    return None


def _check_gold(row: RawPrompt) -> None:
    """Raise SourceError for gold answers that are all blank, with which no answer could be right."""
    if row.answers and row.error is None and not any(canonical(answer).strip() for answer in row.answers):
        raise SourceError(
            f"the gold answers {list(row.answers)} are blank, so that no answer could be right; leave them out where a "
            "question has no answer",
            file=row.file,
            row=row.row,
            field="answers",
        )
