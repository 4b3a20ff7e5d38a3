"""Annotator `rule`: a verdict, a reason and the right answer, put together from what is known of the prompt."""

from collections.abc import Iterable, Iterator
from typing import Literal

from hasse.data.records import Feedback
from hasse.data.settings import Config
from hasse.stages.feedback.items import RIGHT, WRONG, AnnotationItem, right_answer
from hasse.stages.grading import TaskSettings
from hasse.stages.grading.statements import is_statement

KIND = "rule"
PROMPT_VERSION = "rule-1"


class Settings(Config):
    """Nothing to set: the task says what is right."""

    annotator: Literal["rule"] = "rule"


def annotate(items: Iterable[AnnotationItem], settings: Settings, task: TaskSettings) -> Iterator[Feedback]:
    for item in items:
        verdict = RIGHT if item.judgement.correct else WRONG
        yield Feedback(
            prompt_id=item.prompt.prompt_id,
            candidate_id=item.candidate.candidate_id,
            text=_words(item, verdict, task),
            verdict=verdict,
            annotator=KIND,
            annotator_id="rule",
            prompt_version=PROMPT_VERSION,
        )


def _words(item: AnnotationItem, verdict: str, task: TaskSettings) -> str:
    parts = [f"The answer is {verdict}."]
    why = _reason(item, task)
    if why:
        parts.append(why)
    if verdict == WRONG:
        parts.append(f"The right answer is: {right_answer(item.prompt, task)}")
    return " ".join(parts)


def _reason(item: AnnotationItem, task: TaskSettings) -> str:
    """The expert's explanation where there is one; of an answer that states nothing, just that."""
    if item.judgement.label is None and task.labels:
        return "It states no label."
    lines = (item.prompt.reference or "").strip().splitlines()
    explanation = lines[:-1] if task.labels and lines and is_statement(lines[-1]) else []
    return " ".join(explanation)
