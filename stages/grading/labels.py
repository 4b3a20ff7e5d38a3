"""Finds the label of a closed set that a text states, by the readings strict, loose and first; None where none is."""
# ruff: noqa: RUF001  the characters of other scripts are what this module is about

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

from hasse.stages.grading.denial import is_denied, is_left_open
from hasse.stages.grading.statements import KEY, LINK, last_line, marked, plain, retraction, unwrapped
from hasse.stages.grading.tokens import canonical, folded, is_word

_OPEN, _CLOSE = r"[\"'“‘«(\[<]*\s*", r"\s*[\"'”’»)\]>]*"
_BEFORE = re.compile(rf"\b{KEY}(?:{LINK})?\s*(?:the\s+)?{_OPEN}$", re.IGNORECASE)
_ASSERTS = {
    "is", "was", "because", "since", "as", "seems", "would", "must", "should", "and", "or", "not", "but", "for", "if",
    "than", "over", "does", "can", "cannot", "isn't", "wasn't",
}  # fmt: skip
"""When one of these words follows, a letter such as A is an option and not an article."""
_REPLIES = {
    "it", "he", "she", "they", "we", "i", "you", "there", "this", "that", "these", "those", "because", "since", "as",
    "but", "the",
}  # fmt: skip
"""Words that may follow "no" as an answer. Before other words "no" is part of a phrase, such as "no idea"."""


_AND = r"\b(?:or|nor|and|oder|und|ou|et|o|y|e|или|и)\b|[/|&]|还是|或者?|和|または|か|と"
"""Words between labels of which none is chosen: X or Y, both X and Y."""
_NEAR = 200
"""How many characters before and after a label decide whether it is stated."""
_SCALE = re.compile(r"\d\s*/\s*$|\bout\s+of\s+$")
"""The beginning of "4/5" or "4 out of 5" before the upper end of the scale, which is not the rating."""


@dataclass(frozen=True, slots=True)
class Mention:
    """A label in a text. is_explicit: the text introduces it as the label or the answer."""

    label: str
    start: int
    end: int
    is_explicit: bool = False
    is_denied: bool = False


def strict(text: str, labels: Sequence[str]) -> str | None:
    """The label X if the last line is `label: X`, `the answer is X` or `option X`, or if the whole text is X.

    Case, emphasis, quotes and a full stop at the end are ignored.
    """
    said = _marked_or(text)
    whole = next((label for label in labels if _is(said, label) or _is(unwrapped(said), label)), None)
    if whole is not None:
        return whole
    shown = re.sub(rf"(?im)^(\W*(?:the\s+)?{KEY}\s*:)[ \t]*\n\s*", r"\1 ", _shown(text, labels))
    line = re.sub(r"^[\s>#*•-]+", "", last_line(shown))
    line = re.sub(r"^(?:so|thus|therefore|hence|finally)\b[,:]?\s*", "", line, flags=re.IGNORECASE)
    said = re.sub(rf"^(?:the\s+)?{KEY}(?:{LINK}|(?<=option)|(?<=choice))\s*", "", line, flags=re.IGNORECASE)
    return next((label for label in labels if said != line and (_is(said, label) or _is(unwrapped(said), label))), None)


def loose(text: str, labels: Sequence[str]) -> str | None:
    """The last label that is stated as the answer, else the last label that is mentioned and not denied."""
    said = _marked_or(text)
    found = _stated(said[retraction(said)[0] :], labels) or _stated(said, labels)
    said = [mention for mention in found if mention.is_explicit] or found
    return said[-1].label if said else None


def first(text: str, labels: Sequence[str]) -> str | None:
    """The first label that is mentioned and not denied."""
    found = _stated(_marked_or(text, last=False), labels)
    return found[0].label if found else None


def _marked_or(text: str, *, last: bool = True) -> str:
    """The content of the answer's tags or box, else the whole text."""
    found = marked(text)
    return text if not found else found[-1 if last else 0]


def _shown(text: str, labels: Sequence[str]) -> str:
    """The text without markup, unless a label contains markup."""
    text = canonical(text)
    return text if any(plain(canonical(label)) != canonical(label) for label in labels) else plain(text)


def _is(said: str, label: str) -> bool:
    """Whether the text is the label and nothing else."""
    said = canonical(said).strip()
    bare = re.sub(r"^[\s\"'“”(\[<]+|[^\w+#*%<>=&@$-]+$", "", said)
    return any(pattern(label).fullmatch(folded(text)) for text in (said, bare) if text)


def _stated(text: str, labels: Sequence[str]) -> list[Mention]:
    """The mentions of labels that the text does not deny, in order."""
    shown = _shown(text, labels).strip()
    text = folded(shown)
    shown = shown if len(shown) == len(text) else text.upper()
    found = sorted((m for label in labels for m in _mentions(text, shown, label)), key=lambda m: (m.start, -m.end))
    found = [m for m in found if not any(o is not m and o.start <= m.start and m.end <= o.end for o in found)]
    return [mention for mention in _without_lists(found, text) if not mention.is_denied]


def _mentions(text: str, shown: str, label: str) -> list[Mention]:
    found = []
    for match in pattern(label).finditer(text):
        start, end = match.span()
        if not _is_whole(text, start, end):
            continue
        said = bool(_BEFORE.search(text[max(0, start - _NEAR) : start]))
        if _is_meant(shown, start, end, said=said):
            alone = _is_a_line(text, start, end) or _opens(text, start, end)
            denied = is_denied(text, start, end) or is_left_open(text, start)
            found.append(Mention(label, start, end, said or alone, denied))
    return found


@lru_cache(maxsize=1024)
def pattern(label: str) -> re.Pattern[str]:
    """A pattern for the label in which spaces, hyphens and underscores are the same; equal for labels read alike."""
    parts = re.split(r"[\s_-]+", folded(canonical(label)).strip())
    words = [re.escape(part) for part in parts if part]
    return re.compile(r"[\s_-]+".join(words) if len(words) == len(parts) and words else re.escape(folded(label)))


def _is_whole(text: str, start: int, end: int) -> bool:
    """Whether text[start:end] is not part of a longer word, number or compound. In "X's", X is whole."""
    if text[start - 1 : start + 1].isalpha() and start and text[start - 1 : start + 1].isascii():
        return False  # the most frequent case: a letter within a word
    before, after = text[max(0, start - _NEAR) : start], text[end : end + _NEAR]
    spaced = [not _is_unspaced(c) for c in (text[start], text[end - 1])]
    before = "" if _is_unspaced(before[-1:]) else before
    if text[start:end].isdigit() and (_SCALE.search(before) or re.match(r"\s*/\s*\d+(?![\d/])", after)):
        return not _SCALE.search(before) and not re.search(r"[\w/.,]$", before)
    after = "" if _is_unspaced(after[:1]) or (text[end - 1].isascii() and _is_hangul(after[:1])) else after
    if not is_word(text[start]) and _runs_into(before, text[start:end]):
        return False
    if spaced[0] and is_word(text[start]) and before and _runs_on(before, text[start]):
        return False
    if after.startswith("'s") and not is_word(after[2:3] or " "):
        return True
    if spaced[1] and is_word(text[end - 1]) and after:
        goes_on = is_word(after[0]) or after[0] in "+#" or re.match(r"['/-]\w", after) is not None
        return not goes_on and not (text[end - 1].isdigit() and re.match(r"[.,]\d|\s?%", after))
    return not (after and not is_word(text[end - 1]) and after[0] == text[end - 1] and not after[0].isspace())


def _is_unspaced(character: str) -> bool:
    """Whether the character is of a script without spaces between words."""
    return re.match("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]", character) is not None


def _is_hangul(character: str) -> bool:
    """Whether the character is Korean, and so may begin a particle behind a word of another script."""
    return re.match("[\uac00-\ud7a3]", character) is not None


def _runs_into(before: str, label: str) -> bool:
    """Whether a label that begins with a symbol is the end of something longer: the = of !=, the .NET of asp.net."""
    if not any(is_word(character) for character in label):
        return before[-1:] in tuple("<>=!+*/^&|~") if label[0] in "<>=!+*/^&|~" else False
    return label[0] == "." and is_word(before[-1:] or " ")


def _is_a_line(text: str, start: int, end: int) -> bool:
    """Whether the label is alone on its line."""
    line_start, line_end = text.rfind("\n", 0, start) + 1, text.find("\n", end)
    behind = text[end:] if line_end < 0 else text[end:line_end]
    return not text[line_start:start].strip("\"'([ ") and not behind.strip("\"').:!]? ")


def _opens(text: str, start: int, end: int) -> bool:
    """Whether the text begins with the label and then explains it: "No. It would be yes if ...", "A) because"."""
    if text[:start].strip("\"'([ "):
        return False
    told = re.match(r"[\"')\]]*[.)](?:\s+([\w']+)|\s*$)|\s+[—–-]\s", text[end:])
    if told:
        return told[1] not in _ASSERTS
    follows = re.match(r"[\"']*[,;:!]\s+([\w']+)", text[end:])
    return end - start > 1 and follows is not None and follows[1] in _REPLIES - {"but"}


def _runs_on(before: str, first: str) -> bool:
    """Whether this character continues a word or number that began before it."""
    compound = re.search(r"\w[-/']$", before) is not None
    return is_word(before[-1]) or compound or (first.isdigit() and before[-1] in "-+.,")


def _is_meant(shown: str, start: int, end: int, *, said: bool) -> bool:
    """Whether a letter is an option and not an article, and "no" is an answer. shown: the text in its original case."""
    word, after = shown[start:end], shown[end:]
    following = re.match(r"\s+([\w']+)", after)
    if word.lower() == "no":
        begins = said or not shown[:start].strip() or re.search(r"[.,;:!?\n\"'(]\s*$", shown[:start])
        ends = following is None and re.match(r"\W*$", after)
        return bool(ends) or (bool(begins) and (following is None or following[1].lower() in _REPLIES))
    if len(word) > 1 or not word.isascii() or not word.isalpha():
        return True
    if re.match(r"\)", after) or (following is None and (said or not shown[:start].strip())):
        return True
    if word.islower():
        return False
    if word == "I" and not said:
        return following is None and bool(re.match(r"[.):,]|$", after))
    return following is None or following[1][0].isupper() or following[1].lower() in _ASSERTS


def _without_lists(found: list[Mention], text: str) -> list[Mention]:
    """Mark the labels of a list with "or" as not stated: X, Y or Z."""
    groups: list[list[Mention]] = []
    for mention in found:
        between = text[groups[-1][-1].end : mention.start] if groups else ""
        joined = groups and re.fullmatch(rf"[\"'\s]*(?:,|、|,?\s*(?:{_AND}))?[\"'\s]*(?:an?\s)?", between)
        if joined and between.strip("\"' "):
            groups[-1].append(mention)
        else:
            groups.append([mention])
    return [mention for group in groups for mention in _settled(group, text)]


def _settled(group: list[Mention], text: str) -> list[Mention]:
    between = " ".join(text[a.end : b.start] for a, b in pairwise(group))
    if len({mention.label for mention in group}) > 1 and re.search(_AND, between):
        return [replace(mention, is_denied=True) for mention in group]
    return group
