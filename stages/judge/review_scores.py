"""Read the scores of two answers from the text of a review that compares them."""

import re

from hasse.data.thinking import split_thinking

NUMBER = r"(\d+(?:\.\d+)?)"
FIRST_LINE = re.compile(rf"\s*{NUMBER}[ \t,]+{NUMBER}[ \t]*(?:\n|$)")
LABELLED = re.compile(rf"^\W*Assistant ([12]):[ \t]*{NUMBER}(?:[ \t]*/[ \t]*\d+)?[ \t]*(?:\(.*|$)", re.MULTILINE)
TUPLE = re.compile(rf"\b(?:output|tuple|scores?)\b[^\n(]*\({NUMBER},\s*{NUMBER}\)", re.IGNORECASE)


def two_scores(text: str) -> tuple[float, float] | None:
    """(score of the answer shown first, score of the one shown second); None where the text states no scores.

    Judges of this kind are told to put both scores on the first line. Some judges reason first; then the scores stand
    on two lines, `Assistant 1: 10` and `Assistant 2: 4`, or as `Output: (10, 4)`, and the last scores count.
    """
    text = split_thinking(text).answer
    first_line = FIRST_LINE.match(text)
    if first_line:
        return float(first_line[1]), float(first_line[2])
    labelled = {number: float(score) for number, score in LABELLED.findall(text)}
    if len(labelled) == 2:
        return labelled["1"], labelled["2"]
    tuples = TUPLE.findall(text)
    return (float(tuples[-1][0]), float(tuples[-1][1])) if tuples else None
