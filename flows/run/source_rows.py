"""Do the source's rows have the columns that the recipe names, and the answers that its samplers take?"""

import logging
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

from hasse.data.errors import InputError
from hasse.data.raw_prompt import RawPrompt
from hasse.data.settings import registry
from hasse.data.thinking import has_tags, split_thinking
from hasse.flows.recipe.sections import SOURCES
from hasse.pipeline.stage import Step
from hasse.stages.generate import GenerateSettings
from hasse.stages.models.chat_template import template_in
from hasse.stages.models.model_folders import locate
from hasse.stages.prompts import PromptsSettings
from hasse.stages.student import StudentSettings

LOG = logging.getLogger(__name__)
ROWS_READ = 50
"""The number of rows of the source in which expert answers with thinking are looked for."""


def check_source_rows(steps: Sequence[Step]) -> None:
    """Read rows of the source until each field that a group of the sampler `dataset` takes has been found in a row.

    At least the first row is read. Raises SourceError for a column that the source does not have, and InputError for a
    field that no row has.
    """
    rows = _rows(steps)
    first = next(rows, None)
    absent = _fields_taken(steps)
    for row in chain([first] if first else [], rows if absent else []):
        absent = {field: taker for field, taker in absent.items() if not getattr(row, field)}
        if not absent:
            return
    for field, taker in absent.items():
        raise InputError(
            f"{taker} takes the {field} of each prompt, but no row of the source has any; "
            f"check source.fields.{field}, or leave the group out"
        )


def warn_of_thinking(steps: Sequence[Step]) -> None:
    """Log a warning where the student's chat template thinks and the expert answers that it learns from do not."""
    student = next((step.settings for step in steps if step.name == "student"), None)
    if not isinstance(student, StudentSettings) or student.model is None or "reference" not in _fields_taken(steps):
        return  # a run may be asked for its first steps alone
    if not has_tags(template_in(locate(student.model, revision=student.revision))):
        return
    rows = _rows(steps)
    references = [row.reference for row in islice(rows, ROWS_READ) if row.reference]
    if references and not any(split_thinking(answer).thinking for answer in references):
        LOG.warning(
            "The chat template of the student %s lets it think before it answers, but the first %d expert answers of "
            "the source hold no thinking: a student that is trained on them learns to answer without it.",
            student.model,
            len(references),
        )


def _rows(steps: Sequence[Step]) -> Iterator[RawPrompt]:
    """The rows of the recipe's source."""
    prompts = next(step.settings for step in steps if step.stage.name == "prompts")
    assert isinstance(prompts, PromptsSettings)
    settings: Any = prompts.source
    return iter(registry.load(SOURCES, settings.kind, kind="source").rows(settings))


def _fields_taken(steps: Sequence[Step]) -> dict[str, str]:
    """Field of a prompt -> the step and the group of the sampler `dataset` that take it."""
    return {
        group.field: f"{step.name}: the group {group.name!r}"
        for step in steps
        if isinstance(step.settings, GenerateSettings)
        for group in step.settings.groups
        if group.sampler == "dataset"
    }
