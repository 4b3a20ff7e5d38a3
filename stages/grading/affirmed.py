"""Words of denial that do not deny what follows: in idioms, in titles and names, in descriptions of a subject."""

import re

NOT = r"(?:\bnot\b|n't\b|\bnever\b)"
AFFIRMED = re.compile(
    rf"{NOT}\s+(?:\w+\s+){{0,3}}?(?:only|just|merely|simply|solely|until|least|unlike|surprising\w*|unusual\w*)\b"
    r"|(?:\b(?:no|without|little|beyond)|n't|\bnot)\s+(?:an?\s+|any\s+|in\s+|to\s+)?(?:doubt|question|wonder|surprise)\w*"
    r"|\bnothing\s+but\b|\bwithout\s+fail\b|\b(?:none|no|nobody|nothing)\s+(?:\w+\s+)?other(?:\s+\w+)?\s+than\b"
    rf"|(?:{NOT}|\bcannot\b)\s+(?:\w+\s+){{0,5}}?any\w*\s+but\b|(?:{NOT}|\bcannot\b)\s+go\s+wrong\b"
    r"|\b(?:if|unless)\s+(?:i|we|my)\b(?:'m)?(?:\s+\w+){0,3}?\s+(?:correctly|right|rightly|well|mistaken|wrong|serves\s+me)\b"
    r"|\bif\s+you\s+(?:mean|are|ask|want|refer|look)\w*"
    r"|\bwithout\s+(?:\w+\s+){1,6}?(?=(?:i|we)(?:'d|\s+(?:would|should|think|believe|guess|assume))\b)"
    r"|\b(?:it|that|this|he|she|they)(?:\s+(?:is|was|are|were))?(?:n't|'s\s+not|\s+not)\s+(?:the\s+)?"
    r"(?:(?-i:[A-Z])\w*\s+){1,4}(?=(?:it|that|this|he|she|they)(?:'s|'re|\s+(?:is|was|are|were))\s)",
    re.IGNORECASE,
)
"""Idioms that do not deny X: not only X, no doubt X, not until X, if I remember correctly X, it isn't Y it's X."""

_SMALL = r"(?:of|the|an?|in|on|to|for|and|with|at|is|from|by)"
_FINITE = (
    r"(?:is|was|are|were|has|had|came|stars?|starred|features?|featured|won|tells|told|opened|aired|premiered|follows"
    r"|appeared|reached|sold|takes|begins|ends|received|stayed|became)"
)
_TITLE = re.compile(rf"[A-Z][\w']*(?:\s+{_SMALL}\b)*(?:\s+[A-Z][\w']*(?:\s+{_SMALL}\b)*){{1,7}}?\s+{_FINITE}\b")
"""A title at the beginning of a sentence and the verb after it: Never Let Me Go was."""
_TITLE_BEFORE = re.compile(r"(?:\b[A-Z][\w']*|\b(?:Dr|Mr|Mrs|Ms|St|Mt)\.)\s+$")
_QUOTED = re.compile(r"\"[A-Z][^\"\n]*\"|“[^”\n]+”|«[^»\n]+»|《[^》\n]+》|「[^」\n]+」|(?<!\w)'[A-Z][^\"\n]*?'(?!\w)")
_RELATIVE = re.compile(
    r"\b(?:who|that|which)\s+(?:(?:has|have|had|is|was|are|were|does|do|did|can|could|would|will)\s*)?$", re.IGNORECASE
)
_SUBJECT = re.compile(r"\W*(?:the|an?|its|one|his|her|their)\b[^.,;:]*", re.IGNORECASE)
_VERB = re.compile(
    r"\b(?:is|was|are|were|be|do|does|did|has|have|had|can|could|would|should|will|may|might|must"
    r"|(?:say|state|mention|know|knew|think|thought|believ|mean|indicat|specif|suggest|show|tell|told|claim|confirm|prov|see"
    r"|said|sure|certain|clear|clarif|reveal|impl|assum|guess|hold|find|found|agree|accept)\w*|that|if|whether|whom?|which)\b",
    re.IGNORECASE,
)
_COPULA = re.compile(
    r"\b(?:is|was|are|were)\s+(?:(?:the|an?|called|named|probably|likely|most)\s+)*(?:\w+\.?\s+){0,2}$", re.IGNORECASE
)
_OF_SUBJECT = re.compile(r"without|except|besides|excluding|not\s+(?:in|on|at|from|of|by|to)\b", re.IGNORECASE)
"""Denials that describe a subject: the city not on a coast."""


def in_a_name(before: str, at: int) -> bool:
    """Whether the denial at this index is a word of a title or a name: Dr. No, Catch Me If You Can, the poem "If"."""
    at -= len(re.search(r"[\w']*$", before[:at])[0])  # pyright: ignore  an empty match is found always
    if any(found.start() < at < found.end() for found in _QUOTED.finditer(before)):
        return True
    if not re.match(r"[A-Z](?:[a-z']+|\b)", before[at:]):
        return False
    return _TITLE_BEFORE.search(before[:at]) is not None or _TITLE.match(before, at) is not None


def describes(clause: str, denial: re.Match[str]) -> bool:
    """Whether a denial describes the subject of "is X": a bird that cannot fly is X, the city not on a coast is X."""
    copula = _COPULA.search(clause, denial.end())
    if copula is None or _VERB.search(clause[denial.end() : copula.start()]):
        return False
    subject = re.sub(r"\w*$", "", clause[: denial.start()])
    if _RELATIVE.search(clause[: denial.start()]) or _RELATIVE.search(subject):
        return True
    of_subject = _OF_SUBJECT.match(clause, denial.start()) is not None and _SUBJECT.fullmatch(subject) is not None
    return of_subject and not _VERB.search(subject)
