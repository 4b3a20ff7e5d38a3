"""Source `esnli`: entailment with explanations, from a table with e-SNLI's columns.

These are premise, hypothesis, label and explanation_1 to explanation_3. The expert's answer is the first annotator's
explanation, followed by the label on its own line. Prompts with the same premise share a split.
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

INSTRUCTION = (
    "Does the hypothesis follow from the premise (entailment), contradict it (contradiction), or neither (neutral)? "
    "Explain in one sentence, then end with a line of its own that states the label, such as `label: neutral`."
)


class Settings(Config):
    """The files of e-SNLI, and which of their rows to use."""

    kind: Literal["esnli"] = "esnli"
    path: str | list[str] = unkeyed(
        description="Parquet, CSV or JSONL with e-SNLI's columns: a file, folder or glob pattern."
    )
    limit: int | None = Field(default=None, ge=1, description="Use only this many rows, from the start.")
    on_bad_row: Literal["error", "keep"] = Field(
        default="error",
        description="What happens with a row without a prompt: `error` stops, `keep` keeps the row with status failed.",
    )


def rows(settings: Settings) -> Iterator[RawPrompt]:
    return table_rows(TableSettings(fields=FIELDS, **settings.model_dump(exclude={"kind"})))


def instruction(settings: Settings) -> str:
    return INSTRUCTION


def digest(settings: Settings) -> str:
    return files_digest(settings.path)
