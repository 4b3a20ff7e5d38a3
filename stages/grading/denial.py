"""Whether a text denies what it mentions: "not X", "X is wrong", "neither X nor Y", "I cannot say whether X".

A denial applies within its own clause, when it comes before the mention or directly after it. The rule looks at words
and understands nothing: "she did not beat X" also counts as a denial of X.
"""
# ruff: noqa: RUF001  the characters of other scripts are what this module is about

import re
from functools import lru_cache

from hasse.stages.grading.affirmed import AFFIRMED, NOT, describes, in_a_name
from hasse.stages.grading.languages import BREAKS, DENIALS, DENIALS_AFTER, UNSPACED_BREAKS, UNSPACED_DENIALS

_NEAR = 400
"""How many characters before and after a mention are searched for a denial. A search of the whole text would take time
quadratic in its length when an answer repeats itself."""
_REACH = 9
"""The largest number of words between a denial and what it denies."""

_BREAK = re.compile(
    r"[.!?](?=\s|$)|[;:\n,()。！？；：，、—–]|\s--?(?=\s)"
    r"|\b(?:but|however|although|though|yet|then|therefore|thus|hence|so|because|since|actually|rather(?!\s+than)"
    r"|instead(?!\s+of)|and\s+(?:it|this|that|the\s+answer)\s+(?:is|was)"
    rf"|{BREAKS})\b|{UNSPACED_BREAKS}",
    re.IGNORECASE,
)
_SENTENCE_BREAK = re.compile(r"[.!?](?=\s|$)|[;\n。！？；]|\bbut\b", re.IGNORECASE)

_DENIAL = re.compile(
    rf"""{NOT}|\b(?:is|are|was|were|do|does|did|ca|could|would|should|wo)nt\b
    |\b(?:neither|nor|cannot|no\ longer|without|rather\ than|instead\ of|as\ opposed\ to|unlike|except|excluding|besides
      |other\ than|apart\ from|far\ from|whether|if|unable|unsure|uncertain|unclear|unlikely|hardly
      |(?:refus\w+|declin\w+|deny|denies|denied|denying|doubt\w*|rul(?:e|es|ed|ing)\ out|exclud\w+|reject\w*|ignor\w+)
       (?!\s+by\b)|fail(?:s|ed)?\ to|contrary\ to)\b
    |\b(?:false|untrue|wrong|incorrect|impossible|mistaken|misleading)\ (?:that|to|in)\b
    |\b(?:myth|misconception|rumou?r|not\ the\ case)\ that\b
    |\b(?:none\ of\ \w+|nobody|no\ one)\ (?:says?|said|thinks?|believes?|claims?|is|are|was|were)\b
    |\bnothing\ (?:says?|indicates?|suggests?|shows?|proves?|points?\ to)\b
    |\bno\ (?:idea|way|evidence|sign|indication|clue|reason)\b
    |\b(?:all|every(?:one|body|thing|where)|any(?:one|body|thing|where)|any\ \w+)\ but\b
    |\bno\s+(?:(?!it\b|they\b|he\b|she\b|this\b|that\b|there\b|the\b|i\b|we\b|you\b)\w+\s+)?$|\bnon[\s-]$
    |\b(?:{DENIALS})\b
    |(?:{UNSPACED_DENIALS})(?=.{{0,4}}$)""",
    re.VERBOSE | re.IGNORECASE,
)

_NO_MORE = r"(?!\s+(?:only|just|merely|simply))"
_NEGATED_AFTER = re.compile(
    rf"""^[\s"'*)\]”’]*(?:
      (?:is|was|are|were|does|do|did|has|have|had|can|could|would|will|should|must|may|might|seems?)\s*(?:n't|not\b|never\b
        |no\ longer\b){_NO_MORE}
    | (?:cannot\b|can't|won't){_NO_MORE}
    | {DENIALS_AFTER}
    )""",
    re.VERBOSE | re.IGNORECASE,
)
"""X is not ..., X cannot ...: a denial, unless the question asks for what is not or cannot."""
_WRONG_AFTER = re.compile(
    r"""^[\s"'*)\]”’]*(?:
      [❌✗✘✖]|[:(\[–—-]\s*(?:that(?:'s|\ is)\ )?(?:wrong|incorrect|false|untrue|not\ (?:correct|right|true))\b
    | (?:is|was|are|were|would\ be|seems?|looks?)\s+(?:clearly\ |certainly\ |also\ |simply\ |definitely\ )?
      (?:wrong|incorrect|false|untrue|impossible|unlikely|ruled\ out|excluded|out\b|mistaken|inconsistent|unsupported)
    | (?:can|could|may|must|should)\ be\ (?:ruled\ out|excluded|rejected|discarded)
    | (?:是|选项)?(?:错|不对|不正确)
    | (?:is|was)\ an?\ (?:\w+\ )?(?:mistake|misconception|myth|distractor)\b
    | \?\s*(?:(?:absolutely|definitely|certainly|of\ course|(?:that|this|it)(?:'s|\ is|\ was))\ )?
      (?:no|nope|not|never|wrong|incorrect|false|nein|non)\b
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_ALL_BUT = re.compile(r"\b(?:all|every(?:\w+|\s\w+)|any(?:\w+|\s\w+))\s+but\s+(?:the\s+|an?\s+)?$", re.IGNORECASE)
_CROSSED = re.compile(r"(?:[❌✗✘✖]|\b(?:wrong|incorrect|false)(?:\s+(?:answer|option|choice))?\s*:)\s*$", re.IGNORECASE)
"""Marks before what is wrong: a cross, "Incorrect:"."""
_ASKS = re.compile(
    r"\W*(?:is|are|was|were|do|does|did|can|could|would|should|will|who|what|which|when|where|why|how|whether)\b", re.I
)


_QUESTION_BREAK = re.compile(r"[.!?](?=\s)|[\n。！？]")


def is_denied(text: str, start: int, end: int, *, asks_not: bool = False) -> bool:
    """Whether the mention text[start:end] is denied, left open or only asked about.

    asks_not: the question asks for what is not so, and "X is not" then states X.
    """
    after = text[end : end + 80]
    negated = not asks_not and _NEGATED_AFTER.match(after) is not None
    return negated or _denied_before(text, start) or bool(_WRONG_AFTER.match(after)) or _asked(text, start, end)


@lru_cache(maxsize=4096)
def asks_for_what_is_not(question: str) -> bool:
    """Whether the last question of a prompt contains a denial, such as "Which element does not freeze?"."""
    asked = re.findall(r"[^.!?\n]*\?", question) or question.strip().splitlines()[-1:]
    return bool(asked) and re.search(rf"{NOT}|\b(?:cannot|no\s+longer)\b", asked[-1], re.IGNORECASE) is not None


def is_left_open(text: str, start: int) -> bool:
    """Whether several labels are named without a choice between them: either X or Y, between X and Y."""
    before = text[max(0, start - _NEAR) : start]
    clause = before[_last(_BREAK, before) :]
    return re.search(r"\b(?:either|between)\b(?:\s+\S+){0,5}\s*$", clause, re.IGNORECASE) is not None


def _denied_before(text: str, start: int) -> bool:
    before = text[max(0, start - _NEAR) : start]
    at = _last(_BREAK, before)
    if re.match(r"\s*(?:or|nor)\b", before[at:], re.IGNORECASE):  # the end of a list: not X, Y, or Z
        at = _last(_SENTENCE_BREAK, before)
    if _CROSSED.search(before):
        return True
    if (listed := _ALL_BUT.search(before)) and not _denies(before[: listed.start()]):
        return True
    clause = AFFIRMED.sub(lambda found: " " * len(found[0]), before[at:])
    return any(
        len(clause[found.end() :].split()) <= _REACH
        and not describes(clause, found)
        and not in_a_name(before, at + found.start())
        for found in _DENIAL.finditer(clause)
    )


def _denies(before: str) -> bool:
    """Whether the last clause of this text has a negated verb: not all but X, nothing is anything but X."""
    return re.search(rf"{NOT}|\bcannot\b", before[_last(_BREAK, before) :], re.IGNORECASE) is not None


def _last(pattern: re.Pattern[str], text: str) -> int:
    end = 0
    for found in pattern.finditer(text):
        end = found.end()
    return end


def _asked(text: str, start: int, end: int) -> bool:
    """Whether the mention is part of a question that offers it. A guess such as "Rome?" is an answer."""
    before, after = text[max(0, start - _NEAR) : start], text[start : end + _NEAR]
    closing = re.search(r"[.!?](?=[\s\"')\]]|$)|[\n。！？]", after[end - start :])
    if closing is None or closing[0] not in "?？":
        return False
    sentence = before[_last(_QUESTION_BREAK, before) :] + after[: end - start + closing.end()]
    return bool(_ASKS.match(sentence)) or bool(re.search(r"\bor\b", sentence, re.IGNORECASE))
