"""The graded answers of all arms to the same held-out prompts, as arrays of numbers.

Legend: S seeds, I prompts.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hasse.data.errors import WorkError
from hasse.data.records import Evaluation
from hasse.pipeline.store import Artifact

UNKNOWN = "unknown"
"""The stated label of an answer that states none."""

SCORE = "score"
"""Nearness to the gold answer or, without one, to the expert's answer."""

MEASURES: dict[str, Callable[[Evaluation], float]] = {
    "strict": lambda row: float(bool(row.correct_strict)),
    "loose": lambda row: float(bool(row.correct_loose)),
    "first": lambda row: float(bool(row.correct_first)),
    SCORE: lambda row: row.score or 0.0,
}
"""The value of one answer, 0 to 1, by each measure. The readings are those of `hasse.stages.grading`."""


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Counts of stated labels for each gold label, in the greedy answers of one arm over its seeds.

    counts: gold label -> stated label, or "unknown" -> number of answers.
    """

    arm: str
    counts: dict[str, dict[str, int]]


class GradedAnswers:
    """The rows of the evaluations, by the arm in each artifact's labels.

    prompts: one row of each prompt, sorted by prompt_id; graded: those of them that have a gold answer.
    """

    def __init__(self, evaluations: Sequence[Artifact]):
        self.rows: dict[str, list[list[Evaluation]]] = defaultdict(list)
        for artifact in evaluations:
            self.rows[arm_of(artifact)].append(list(artifact.records(Evaluation)))
        first = next(iter(self.rows.values()))[0]
        self.prompts = sorted({row.prompt_id: row for row in first}.values(), key=lambda row: row.prompt_id)
        self.graded = [row for row in self.prompts if row.correct_strict is not None]

    @property
    def decodings(self) -> list[str]:
        return list(dict.fromkeys(row.decoding for rows in self.rows.values() for row in rows[0]))

    @property
    def has_scores(self) -> bool:
        """Whether every answered prompt has a score in every arm."""
        asked = [row for rows in self.rows.values() for row in rows[0] if row.status != "filtered"]
        return bool(asked) and all(row.score is not None for row in asked)

    def has_measure(self, measure: str) -> bool:
        return self.has_scores if measure == SCORE else bool(self.graded)

    def measured_by(self, measure: str) -> list[Evaluation]:
        """The prompts that count for a measure: all for the score, those with a gold answer for a reading."""
        return self.prompts if measure == SCORE else self.graded

    def measure(self, reading: str) -> str | None:
        """The measure by which arms are compared: the reading, without gold answers the score, or None."""
        return reading if self.graded else SCORE if self.has_scores else None

    def scores(self, arm: str, decoding: str, measure: str) -> np.ndarray:
        """The mean over the answers to each prompt, [S, I], 0 to 1. Raises WorkError if an answer is missing."""
        return np.stack([self._scores_of_seed(rows, arm, decoding, measure) for rows in self.rows[arm]])

    def drift(self, arm: str) -> np.ndarray | None:
        """The log-prob of the expert's answer minus the student's log-prob, [S, I], nats per token.

        None for the student, and where some prompt has no such log-prob.
        """
        if "student" not in self.rows or arm == "student":
            return None
        base = _reference_logprobs(self.rows["student"][0])
        seeds = [_reference_logprobs(rows) for rows in self.rows[arm]]
        known = [row.prompt_id for row in self.prompts if row.prompt_id in base]
        if len(known) < len(self.prompts) or any(i not in seed for seed in seeds for i in known):
            return None
        return np.array([[seed[i] - base[i] for i in known] for seed in seeds])

    def confusion(self, arm: str, reading: str) -> Confusion:
        """The confusion of labels by a reading, over the prompts that have a gold label."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for row in (row for rows in self.rows[arm] for row in rows):
            if row.decoding == "greedy" and row.gold is not None:
                counts[row.gold][getattr(row, f"label_{reading}") or UNKNOWN] += 1
        return Confusion(arm=arm, counts={gold: dict(stated) for gold, stated in sorted(counts.items())})

    def _scores_of_seed(self, rows: list[Evaluation], arm: str, decoding: str, measure: str) -> np.ndarray:
        position = {row.prompt_id: i for i, row in enumerate(self.measured_by(measure))}
        total_I, count_I = np.zeros(len(position)), np.zeros(len(position))
        for row in rows:
            if row.decoding == decoding and row.prompt_id in position:
                total_I[position[row.prompt_id]] += MEASURES[measure](row)
                count_I[position[row.prompt_id]] += 1
        if not count_I.all():
            raise WorkError(f"arm {arm} has no {decoding} answer to {int((count_I == 0).sum())} of the prompts")
        return total_I / count_I


def arm_of(artifact: Artifact) -> str:
    """The arm in the labels of the artifact's step. Raises WorkError where the step has no such label."""
    return str(artifact.label("arm"))


def _reference_logprobs(rows: list[Evaluation]) -> dict[str, float]:
    """prompt_id -> log-prob of the expert's answer, nats per token."""
    return {
        row.prompt_id: row.reference_logprob / row.reference_tokens
        for row in rows
        if row.reference_logprob is not None and row.reference_tokens
    }
