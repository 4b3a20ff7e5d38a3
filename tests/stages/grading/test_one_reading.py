"""The judge, the orders, feedback and evaluation read an answer alike, by the reading of the task."""

from types import SimpleNamespace

import pytest

from hasse.data.records import Candidate, Judgement, Prompt
from hasse.stages.evaluate.answers import graded
from hasse.stages.feedback.annotators import rule as annotator
from hasse.stages.feedback.items import AnnotationItem
from hasse.stages.grading import READINGS, TaskSettings
from hasse.stages.judge.teachers import rule
from hasse.stages.order.strategies import qa_lp

SAID = {
    "gold": "Denver Broncos",
    "a statement": "It was the Denver Broncos, in 2015.",
    "late": "Some say Carolina. It was the Denver Broncos.",
    "denied": "Not the Denver Broncos but Carolina",
    "refused": "I cannot say whether it is Denver Broncos.",
    "thought": "<think>Denver Broncos?</think> Carolina",
}
RIGHT = {
    "strict": {"gold"},
    "loose": {"gold", "a statement", "late"},
    "first": {"gold", "a statement"},
}
PROMPT = Prompt(
    prompt_id="p", text="Who won?", answers=("Denver Broncos",), source="s", cluster_id="p", split="test"
)  # fmt: skip
CANDIDATES = [Candidate(prompt_id="p", candidate_id=name, text=text, source="student") for name, text in SAID.items()]


def judged(task) -> list[Judgement]:
    return next(rule.judge([(PROMPT, CANDIDATES)], rule.Settings(), task, None))


@pytest.mark.parametrize("reading", READINGS)
def test_everybody_reads_by_the_reading_of_the_task(reading):
    task, right = TaskSettings(reading=reading), RIGHT[reading]
    judgements = judged(task)
    assert {j.candidate_id for j in judgements if j.correct} == right
    (order,) = qa_lp.orders([(PROMPT, list(zip(CANDIDATES, judgements, strict=True)))], qa_lp.Settings())
    assert {pair.above for pair in order.pairs} == right
    assert {pair.below for pair in order.pairs} == set(SAID) - right
    items = [
        AnnotationItem(prompt=PROMPT, candidate=c, judgement=j) for c, j in zip(CANDIDATES, judgements, strict=True)
    ]
    said = annotator.annotate(items, annotator.Settings(), task)
    assert {f.candidate_id for f in said if f.text.startswith("The answer is right.")} == right
    for name, text in SAID.items():
        answer = SimpleNamespace(text=text, num_answer_tokens=1, finish_reason="stop")
        row = graded(PROMPT, answer, decoding="greedy", sample=0, task=task)
        assert getattr(row, f"correct_{reading}") is (name in right), name
