"""The bounds that a teacher's audit must satisfy before anything is trained on its judgements."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from hasse.data.errors import SourceError, WorkError
from hasse.data.settings import Config, unkeyed
from hasse.data.text import unit_hash
from hasse.pipeline.fingerprint import file_digest
from hasse.stages.judge.audit import Audit

OF_TOTALS = {"gold_auc", "tau", "alike", "judges_tau", "judges_alike", "length_correlation", "tie", "abstained"}
"""Measures that are taken on the totals which several judges make together; the others are taken on each judge."""


Share = Annotated[float, Field(ge=0, le=1)]
Correlation = Annotated[float, Field(ge=-1, le=1)]


class AuditSettings(Config):
    """Bounds on the teacher's audit; a bound that is left out is not checked."""

    min_gold_auc: Share | None = Field(default=None, description="Right answers scored above wrong answers.")
    min_tau: Correlation | None = Field(default=None, description="Agreement with `compare_with`.")
    min_alike: Share | None = Field(default=None, description="Pairs on which `compare_with` agrees.")
    min_judges_tau: Correlation | None = Field(default=None, description="Agreement of any two of several judges.")
    min_judges_alike: Share | None = Field(default=None, description="Pairs on which any two of several judges agree.")
    min_consistent: Share | None = Field(default=None, description="Pairs that both presentation orders put alike.")
    max_reversed: Share | None = Field(
        default=None, description="Pairs that the second order puts the other way round."
    )
    max_first_slot_preference: float | None = Field(
        default=None, ge=0, description="Lead of the answer shown first, in either direction, in units of the scale."
    )
    max_first_shown_wins: Share | None = Field(
        default=None, description="Preference for the first answer of a pair, in either direction."
    )
    min_repeat_alike: Share | None = Field(default=None, description="Pairs alike when asked again; needs `repeats`.")
    min_repeat_tau: Correlation | None = Field(
        default=None, description="Agreement with itself when asked again; needs `repeats`."
    )
    max_repeat_shift: float | None = Field(
        default=None,
        ge=0,
        description="Mean change of a total when asked again, in units of the scale; needs `repeats`.",
    )
    max_length_correlation: Share | None = Field(
        default=None, description="Correlation of total and length, in either direction."
    )
    max_tie: Share | None = Field(default=None, description="Pairs with equal totals.")
    max_abstained: Share | None = Field(default=None, description="Abstentions.")
    max_overruled: Share | None = Field(default=None, description="Verdicts on pairs that the totals do not follow.")
    max_asked_again: Share | None = Field(default=None, description="Lists whose first reply was unusable.")
    max_refused: Share | None = Field(default=None, description="Judgements refused.")
    max_truncated: Share | None = Field(default=None, description="Judgements cut off.")
    max_unparsable: Share | None = Field(default=None, description="Judgements that cannot be read.")
    max_filtered: Share | None = Field(default=None, description="Judgements not made.")
    max_failed: Share | None = Field(default=None, description="Judgements that failed.")
    repeats: float = Field(
        default=0,
        ge=0,
        description="Prompts that a chat model is asked about once more, from no cache of replies: below 1 a share of "
        "them, else a number. At temperature 0 this measures whether the server is deterministic.",
    )
    compare_with: str | None = unkeyed(
        None, description="A Parquet table of judgements by another teacher; its content enters the key."
    )

    @model_validator(mode="after")
    def _can_be_measured(self) -> "AuditSettings":
        bounds = self.bounds()
        if self.compare_with is None and {"min_tau", "min_alike"} & set(bounds):
            raise ValueError("min_tau and min_alike compare with a table of judgements: set compare_with")
        if not self.repeats and any("_repeat_" in name for name in bounds):
            raise ValueError("bounds of what is asked again need prompts that are asked again: set repeats")
        if self.repeats >= 1 and self.repeats != int(self.repeats):
            raise ValueError(f"repeats is {self.repeats:g}: below 1 it is a share of the prompts, else a whole number")
        return self

    def alone(self) -> "AuditSettings":
        """The settings without the other teacher's table, whose candidates belong to the first round only."""
        return self.model_copy(update={"compare_with": None, "min_tau": None, "min_alike": None})

    def bounds(self) -> dict[str, float]:
        """Setting -> bound, for the bounds that are set."""
        named = {name: getattr(self, name) for name in type(self).model_fields if name.startswith(("min_", "max_"))}
        return {name: bound for name, bound in named.items() if bound is not None}

    def asked_again(self, prompt_ids: Iterable[str]) -> set[str]:
        """The prompts to ask about again: the smallest hashes, so that a larger sample holds a smaller one."""
        by_hash = {prompt_id: unit_hash("repeat", prompt_id) for prompt_id in prompt_ids} if self.repeats else {}
        if self.repeats < 1:
            return {prompt_id for prompt_id, value in by_hash.items() if value < self.repeats}
        return set(sorted(by_hash, key=lambda prompt_id: by_hash[prompt_id])[: int(self.repeats)])


def external(settings: AuditSettings) -> dict[str, str]:
    """Digests of the files that the audit reads. Raises SourceError for a file that does not exist."""
    if settings.compare_with is None:
        return {}
    if not Path(settings.compare_with).is_file():
        raise SourceError("there is no such file", file=settings.compare_with)
    return {"compare_with": file_digest(Path(settings.compare_with))}


def check(found: Audit, settings: AuditSettings, *, where: str, judges: Mapping[str, Audit] | None = None) -> None:
    """Raise WorkError, with bound and value, for a number out of its bound; upper bounds limit the absolute value.

    judges: the audits of several judges; each judge must satisfy the bounds on what is not measured on the totals.
    """
    each = {f"{where}, judge {name}": numbers for name, numbers in (judges or {}).items()}
    for name, bound in settings.bounds().items():
        kind, _, measure = name.partition("_")
        measured = {where: found} if measure in OF_TOTALS or not each else each
        values = {place: numbers[measure] for place, numbers in measured.items() if measure in numbers}
        if not values:
            raise WorkError(f"{where}: audit.{name} is {bound:g}, but no judgement gives a value of {measure}")
        for place, value in values.items():
            if (value < bound) if kind == "min" else (abs(value) > bound):
                raise WorkError(
                    f"{place}: {measure} of the judgements is {value:.3g}, audit.{name} is {bound:g}; the judgements "
                    "are kept, nothing is published: ask another judge or in another way, or change the bound"
                )
