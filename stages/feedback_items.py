"""What an annotator sees: one answer to one prompt, and what is known of it."""

from dataclasses import dataclass

from data.records import Candidate, Judgement, Prompt
from data.text import normalise_answer
from stages.grading import TaskSettings

RIGHT, WRONG = "right", "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One answer to be annotated."""

    prompt: Prompt
    candidate: Candidate
    judgement: Judgement

    @property
    def ids(self) -> tuple[str, str]:
        return self.prompt.prompt_id, self.candidate.candidate_id


def right_answer(prompt: Prompt, task: TaskSettings) -> str:
    """What a wrong answer should have said."""
    return prompt.label or next(iter(prompt.answers), None) or task.no_answer or ""


def names_answer(text: str, prompt: Prompt, task: TaskSettings) -> bool:
    golds = [prompt.label] if prompt.label else list(prompt.answers) or [task.no_answer or ""]
    words = f" {normalise_answer(text)} "
    return any(normalise_answer(gold) and f" {normalise_answer(gold)} " in words for gold in golds)
