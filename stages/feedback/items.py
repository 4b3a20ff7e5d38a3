"""An item for an annotator: one answer to one prompt, and its judgement."""

from dataclasses import dataclass

from hasse.data.records import Candidate, Judgement, Prompt
from hasse.stages.grading import TaskSettings
from hasse.stages.grading.answers import names

RIGHT, WRONG = "right", "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationItem:
    """One answer to be annotated."""

    prompt: Prompt
    candidate: Candidate
    judgement: Judgement

    @property
    def ids(self) -> tuple[str, str]:
        return self.prompt.prompt_id, self.candidate.candidate_id


def right_answer(prompt: Prompt, task: TaskSettings) -> str:
    """The right answer to the prompt; empty where none is known."""
    return prompt.label or next(iter(prompt.answers), None) or task.no_answer or ""


def names_answer(text: str, prompt: Prompt, task: TaskSettings) -> bool:
    """Whether the text contains a right answer as whole words, even if it denies it."""
    golds = [prompt.label] if prompt.label else list(prompt.answers) or [task.no_answer or ""]
    return any(gold.strip() and names(text, gold) for gold in golds)
