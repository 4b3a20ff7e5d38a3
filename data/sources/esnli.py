"""Source `esnli`: the table of e-SNLI (premise, hypothesis, label, explanation_1..3) as entailment with explanation.

The expert's answer is the first annotator's explanation, then the label on a line of its own. Prompts with the same
premise share a split.
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from hasse.data.field_mapping import Fields, TableSettings, files_digest, table_rows
from hasse.data.raw_prompt import RawPrompt
from hasse.data.settings import Config, unkeyed

FIELDS = Fields(
    text="premise: {premise}\nhypothesis: {hypothesis}",
    reference="{explanation_1}\nlabel: {label}",
    label="label",
    cluster_key="premise",
)


class Settings(Config):
    kind: Literal["esnli"] = "esnli"
    path: str | list[str] = unkeyed(
        description="Parquet, CSV or JSONL with the columns named above: file, folder or glob."
    )
    limit: int | None = Field(default=None, ge=1, description="Only the first so many rows.")
    on_bad_row: Literal["error", "keep"] = Field(
        default="error", description="A row without a prompt: stop, or keep it aside."
    )


def rows(settings: Settings) -> Iterator[RawPrompt]:
    return table_rows(TableSettings(fields=FIELDS, **settings.model_dump(exclude={"kind"})))


def digest(settings: Settings) -> str:
    return files_digest(settings.path)
