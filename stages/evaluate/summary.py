"""The numbers of one evaluation, over all its prompts."""

from collections.abc import Sequence

from hasse.data.records import Evaluation
from hasse.stages.grading import READINGS


def summary(rows: Sequence[Evaluation]) -> dict[str, float]:
    """Accuracies as `<decoding>_<reading>` and scores as `<decoding>_score`, 0 to 1, over the rows that have them.

    `pair_accuracy`, `pair_margin` (nats per token) and `reference_nll` (nats per token) where they were measured.
    """
    numbers: dict[str, float] = {}
    for decoding in sorted({row.decoding for row in rows}):
        numbers |= _of_decoding(decoding, [row for row in rows if row.decoding == decoding])
    ordered = [row for row in rows if row.pair_accuracy is not None]
    if ordered:
        numbers["pair_accuracy"] = sum(row.pair_accuracy or 0 for row in ordered) / len(ordered)
        numbers["pair_margin"] = sum(row.pair_margin or 0 for row in ordered) / len(ordered)
    measured = [row for row in rows if row.reference_logprob is not None and row.reference_tokens]
    if measured:
        nll = (-(row.reference_logprob or 0) / (row.reference_tokens or 1) for row in measured)
        numbers["reference_nll"] = sum(nll) / len(measured)
    return numbers


def _of_decoding(decoding: str, rows: Sequence[Evaluation]) -> dict[str, float]:
    graded = [row for row in rows if row.correct_strict is not None]
    numbers = {
        f"{decoding}_{reading}": sum(bool(getattr(row, f"correct_{reading}")) for row in graded) / len(graded)
        for reading in (READINGS if graded else ())
    }
    scored = [row.score for row in rows if row.score is not None]
    return numbers | ({f"{decoding}_score": sum(scored) / len(rows)} if scored else {})
