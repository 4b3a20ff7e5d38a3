"""Right or wrong by rule: what an answer states, and whether that is the gold label or one of the gold answers.

Everything that calls an answer right or wrong reads it here, by the reading that `task.reading` names: the rule judge,
the other judges' verdicts, the orders made of them, feedback, evaluation and the report. docs/reading.md has a table of
examples, which is this room's test.

    task.py         the settings, and the readings in words
    grade.py        one answer graded
    labels.py       which label of a closed set is stated
    answers.py      whether a gold short answer is given
    denial.py       what is mentioned and denied
    affirmed.py     words of denial that deny nothing
    statements.py   markup, "the answer is", sentences
    tokens.py       words, numbers and symbols that can be compared
    numbers.py      numbers by value
    mathematics.py  math-verify
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
