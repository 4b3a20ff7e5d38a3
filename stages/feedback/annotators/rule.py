"""Annotator `rule`: a verdict, a reason and the right answer, made from what the prompt and its judgement say."""

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
    """This annotator has no settings: the task says which answers are right."""

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
    """The expert's explanation, if there is one; for an answer without a label, that it states none."""
    if item.judgement.label is None and task.labels:
        return "It states no label."
    lines = (item.prompt.reference or "").strip().splitlines()
    explanation = lines[:-1] if task.labels and lines and is_statement(lines[-1]) else []
    return " ".join(explanation)
