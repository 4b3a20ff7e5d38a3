"""The audit of the judge as a table: one row for each measure, with its meaning and its bound in the recipe."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hasse.pipeline.store import Artifact
from hasse.stages.judge.audit import MEASURES, Audit

EITHER_WAY = {"first_slot_preference", "first_shown_wins", "length_correlation"}
"""Measures whose bound applies to their absolute value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """values: one for each column, "" where the measure was not taken."""

    measure: str
    values: list[str]
    bound: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgePair:
    """The agreement of two of several judges."""

    judges: str
    tau: str
    alike: str
    num_prompts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditTable:
    """columns: for several judges, all together and then each judge; for one judge, its values only."""

    columns: list[str]
    rows: list[AuditRow]
    pairs: list[JudgePair]


def audit_table(judgements: Artifact, bounds: Mapping[str, Any]) -> AuditTable | None:
    """The table, or None where a rule judged. bounds: the recipe's section `audit`."""
    metrics = judgements.manifest.metrics
    if "audit" not in metrics:
        return None
    judges = metrics.get("judges", {})
    audits: list[Audit] = [metrics["audit"], *(judge.get("audit", {}) for judge in judges.values())]
    rows = [
        AuditRow(
            measure=name.replace("_", " "),
            values=[_number(found.get(name)) for found in audits],
            bound=_bound(name, bounds),
            meaning=meaning,
        )
        for name, meaning in MEASURES.items()
        if any(name in found for found in audits)
    ]
    pairs = [
        JudgePair(
            judges=" and ".join(found["judges"]),
            tau=_number(found["tau"]),
            alike=_number(found["alike"]),
            num_prompts=found["prompts"],
        )
        for found in metrics.get("agreement", [])
    ]
    return AuditTable(columns=["Together", *judges] if judges else ["Value"], rows=rows, pairs=pairs)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def _bound(name: str, bounds: Mapping[str, Any]) -> str:
    low, high = bounds.get(f"min_{name}"), bounds.get(f"max_{name}")
    if low is not None:
        return f"at least {low:g}"
    return "" if high is None else f"at most {high:g}{' in absolute value' if name in EITHER_WAY else ''}"
