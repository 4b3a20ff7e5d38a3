"""Grading by rule: what an answer states, and whether that is the gold label or one of the gold answers.

Every stage that calls an answer right or wrong uses this room: the rule judge, the verdicts of other judges, the orders
made from them, feedback, evaluation and the report. The setting `task.reading` says how answers are read. The table of
examples in docs/reading.md is tested.

    task.py         settings, and a description of each reading
    grade.py        the grade of one answer
    labels.py       which label of a closed set a text states
    answers.py      whether a text gives a gold short answer
    denial.py       whether a text denies what it mentions
    affirmed.py     words of denial that deny nothing
    statements.py   markup, "the answer is ...", sentences
    tokens.py       words, numbers and symbols that can be compared
    numbers.py      numbers compared by value
    mathematics.py  mathematical answers compared by math-verify
    nearness.py     SQuAD's metrics, edit distance
"""

from hasse.stages.grading.grade import Grade, grade, stated
from hasse.stages.grading.labels import loose as loose_label
from hasse.stages.grading.nearness import SCORES, edit_similarity, exact_match, token_f1
from hasse.stages.grading.task import READINGS, Reading, TaskSettings

__all__ = [
    "READINGS",
    "SCORES",
    "Grade",
    "Reading",
    "TaskSettings",
    "edit_similarity",
    "exact_match",
    "grade",
    "loose_label",
    "stated",
    "token_f1",
]
