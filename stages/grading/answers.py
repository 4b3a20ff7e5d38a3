"""Whether a text gives a gold short answer, by the readings strict, loose and first."""

import re

from hasse.data.text import normalise_answer
from hasse.stages.grading import labels
from hasse.stages.grading.denial import is_denied
from hasse.stages.grading.nearness import exact_match
from hasse.stages.grading.numbers import same
from hasse.stages.grading.statements import explicit, marked, plain, retraction, sentences, unwrapped
from hasse.stages.grading.tokens import Token, canonical, is_word, may_hold, places, tokens, without_articles

_LETTERS = tuple("ABCDEFGHJ")
_PAIRS = (("yes", "no"), ("true", "false"))
"""Pairs of gold answers that deny each other; they are read like labels."""


def strict(text: str, gold: str) -> bool:
    """Whether the text is the gold answer, by SQuAD's exact match with two exceptions.

    Numbers are compared by value, and symbols that make another word count (C++ is not C). Where SQuAD's normalisation
    leaves nothing of the gold answer (A, The The, !), the two are compared without normalisation.
    """
    if canonical(text).strip() == canonical(gold).strip():
        return True
    said = unwrapped(text)
    theirs = tokens(canonical(unwrapped(gold)))
    if not normalise_answer(gold):
        return _bare(said, gold, tokens(canonical(said)), theirs)
    theirs = without_articles(theirs)
    if exact_match(text, gold) or exact_match(said, gold):
        return not _contradict(without_articles(tokens(canonical(said))), theirs)
    if not may_hold(canonical(said), canonical(unwrapped(gold))):
        return False
    ours = without_articles(tokens(canonical(said), len(theirs) + 1))
    return len(ours) == len(theirs) > 0 and all(a.equals(b) for a, b in zip(ours, theirs, strict=True))


def loose(text: str, gold: str, *, asks_not: bool = False) -> bool:
    """Whether the text contains the gold answer as whole words, at least once without denying it.

    Where the text says "the answer is ...", only what follows the last of these counts. asks_not: the question asks for
    what is not so.
    """
    if strict(text, gold):
        return True
    options = _options(gold)
    if options:
        return (labels.loose(text, options) or "").lower() == canonical(gold).strip().lower()
    found = marked(text)
    said = plain(canonical(found[-1] if found else text))
    return may_hold(said, canonical(gold)) and _contains(_decisive(said, gold), gold, asks_not)


def first(text: str, gold: str, *, asks_not: bool = False) -> bool:
    """Whether the first statement gives the gold answer, read as in `loose`; a gold number must be its first number.

    The first statement is the first "the answer is ...", else the first sentence.
    """
    if strict(text, gold):
        return True
    options = _options(gold)
    if options:
        return (labels.first(text, options) or "").lower() == canonical(gold).strip().lower()
    found = marked(text)
    said = plain(canonical(found[0] if found else text))
    if not may_hold(said, canonical(gold)):
        return False
    stated = explicit(said)
    said = said[stated[0][0] : stated[0][1]] if stated else said
    told = sentences(said)
    wanted = tokens(canonical(gold))
    if not told:
        return False
    if len(wanted) == 1 and wanted[0].number is not None:
        numbers = [token for token in tokens(told[0]) if token.number is not None]
        return bool(numbers) and numbers[0].equals(wanted[0]) and _contains(said, gold, asks_not, told[0])
    return _contains(said, gold, asks_not, told[0])


def names(text: str, gold: str) -> bool:
    """Whether the text contains the gold answer as whole words, denied or not."""
    return strict(text, gold) or bool(places(tokens(plain(canonical(text))), tokens(canonical(gold))))


def _contains(text: str, gold: str, asks_not: bool, sentence: str | None = None) -> bool:
    """Whether the sentence, by default the whole text, has the gold answer and the text does not deny it there."""
    sentence = text if sentence is None else sentence
    at = text.index(sentence)
    spans = places(tokens(sentence), tokens(canonical(gold)))
    return any(not is_denied(text, at + start, at + end, asks_not=asks_not) for start, end in spans)


def _bare(said: str, gold: str, ours: list[Token], theirs: list[Token]) -> bool:
    """Compare without normalisation: by words where the gold answer has any, else by characters."""
    if any(character.isalnum() for character in gold):
        return len(ours) == len(theirs) and all(a.equals(b) for a, b in zip(ours, theirs, strict=True))
    return canonical(said).strip() == canonical(gold).strip()


def _contradict(ours: list[Token], theirs: list[Token]) -> bool:
    """Whether two texts that SQuAD calls equal differ in a number or in a symbol that counts."""
    numbers, wanted = ([token.number for token in found if token.number is not None] for found in (ours, theirs))
    if len(numbers) != len(wanted) or not all(same(a, b) for a, b in zip(numbers, wanted, strict=True)):
        return True
    return _symbols(ours) != _symbols(theirs)


def _symbols(found: list[Token]) -> list[str]:
    return [
        token.text
        for token in found
        if token.number is None and (not any(map(is_word, token.text)) or re.search(r"[+*#]|-$|^\.", token.text))
    ]


def _options(gold: str) -> tuple[str, ...]:
    """The options that the gold answer is one of, if it is a letter of a multiple choice, yes, no, true or false."""
    gold = canonical(gold).strip()
    if len(gold) == 1 and gold.isascii() and gold.isalpha():
        return tuple(dict.fromkeys((*_LETTERS, gold.upper())))
    return next((pair for pair in _PAIRS if gold.lower() in pair), ())


def _decisive(text: str, gold: str) -> str:
    """The text from the last "the answer is ..." on, if a name, a number or a colon follows; else the whole text.

    What comes before the text takes back what it said does not count either, if a name or a number follows.
    """
    _, taken_back = retraction(text)
    if taken_back and _names_something(text[taken_back:], gold):
        text = text[taken_back:]
    stated = explicit(text)
    if not stated:
        return text
    start, end = stated[-1]
    by_colon = text[:start].rstrip().endswith((":", "="))
    if _names_something(text[start:end], gold):
        return text[start:]
    return text[start:] if by_colon and sentences(text[start:end]) else text


def _names_something(text: str, gold: str) -> bool:
    """Whether the first sentence has a number or, unless the gold answer is a number, a capital letter."""
    told = (sentences(text) or [""])[0]
    wants_number = any(token.number is not None for token in tokens(canonical(gold)))
    says_number = any(token.number is not None for token in tokens(told))
    return says_number if wants_number else says_number or any(c.isupper() for c in told)
