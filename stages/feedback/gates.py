"""The gates that feedback must pass to become a training example."""

from dataclasses import replace

from hasse.data.records import Feedback
from hasse.stages.feedback.items import RIGHT, WRONG, AnnotationItem, names_answer
from hasse.stages.feedback.settings import Gates
from hasse.stages.grading import TaskSettings


def gated(item: AnnotationItem, feedback: Feedback, gates: Gates, task: TaskSettings) -> Feedback:
    """The feedback, with status `filtered` and the reasons if it does not pass the gates."""
    if feedback.status != "ok":
        return feedback
    problems = []
    if not gates.min_chars <= len(feedback.text.strip()) <= gates.max_chars:
        problems.append(f"{len(feedback.text.strip())} characters, not {gates.min_chars} to {gates.max_chars}")
    expected = RIGHT if item.judgement.correct else WRONG
    if gates.verdict and feedback.verdict is None:
        problems.append("states no verdict")
    elif gates.verdict and feedback.verdict != expected:
        problems.append(f"says {feedback.verdict}, the judge says {expected}")
    if gates.names_answer and expected == WRONG and not names_answer(feedback.text, item.prompt, task):
        problems.append("does not name the right answer")
    return replace(feedback, status="filtered", error="; ".join(problems)) if problems else feedback
