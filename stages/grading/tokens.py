"""Split a text into tokens that can be compared: numbers by value, whole words, symbols; punctuation is dropped.

Denver-Broncos won 1,000 $   ->  denver  broncos (joined by a hyphen)  won  1000
C++ <= .NET                  ->  c++  <=  .net
日本の首都                    ->  日 本 の 首 都      one token per character for a script without spaces
"""
# ruff: noqa: RUF001  the characters of other scripts are what this module is about

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from hasse.stages.grading.numbers import CURRENCY_SIGNS, NUMBER, Quantity, plain_digits, quantity, same

_UNITS = {
    "km", "m", "cm", "mm", "nm", "mi", "ft", "in", "yd", "kg", "g", "mg", "lb", "lbs", "oz", "t", "l", "ml", "s", "ms",
    "h", "hr", "hrs", "min", "mins", "d", "w", "kw", "mw", "gw", "v", "a", "ma", "hz", "khz", "mhz", "ghz", "b", "kb",
    "mb", "gb", "tb", "mph", "kph", "k", "c", "f", "am", "pm",
}  # fmt: skip
_BEGINS_NUMBER = re.compile(rf"[\d+.mMnNuU{CURRENCY_SIGNS}-]")
"""First characters of numbers beside digits: of signs, currencies, minus, negative, US$."""
_SIMPLE = re.compile(r"[A-Za-z]+(?=[\s,;!?]|$)")
"""The most frequent words: only letters, followed by a space, a comma or the end."""
_INITIALS = re.compile(r"(?<!\w)(?:[^\W\d_a-z]\.[ ]?){1,3}[^\W\d_a-z]\.(?!\w)")
"""Initials: J. K. equals J.K."""
_ABBREVIATION = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]\.?")
_ENDING, _SHORT_ENDING = re.compile(r"[+#*]+"), re.compile(r"[+#*]+|-(?!\w)|-(?=\W|$)")
_JOINS = re.compile(r"[-/\\_.@:&]+")
_ARTICLES = frozenset(("a", "an", "the"))
_UNSPACED = re.compile(
    "[\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)
"""Thai, Lao, Burmese, Khmer, kana and Chinese characters."""
_INVISIBLE = re.compile(
    "[\ufe0e\ufe0f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\u0640\u0591-\u05c7\u064b-\u0652\u0670]"
)
"""Characters that do not change a word: soft hyphens, zero widths, direction marks, Arabic and Hebrew vowel points."""
_SYMBOL = re.compile(
    r"!=+|&&|\|\||-+>|<-+|(?<=\w)\|(?=\w)|(?<!\S)!(?=\w)|[<>=+*^%×÷±¬]+"
    "|(?![✓✔✅☑])[\u2190-\u22ff\u2600-\u27bf\U0001f1e6-\U0001faff]"
)
"""Symbols that count: operators, arrows and pictures. A check mark is emphasis, as a bullet is."""
_SAME_SYMBOL = {"≥": ">=", "≤": "<=", "≠": "!=", "→": "->", "⇒": "=>", "←": "<-"}
_ROOTS = ("√", "∛", "∜")
_QUOTES = str.maketrans({"‘": "'", "’": "'", "ʼ": "'", "′": "'"})
_SUFFIX = re.compile("'(?:s|[dt][ıiuü]r|[dt][ae]n?|[yn]?[ıiuü]n|y[ıiuüae])$", re.IGNORECASE)
"""An English possessive, or a Turkish ending behind a name: Ankara'dır."""
_PARTICLES = re.compile(
    "(?:은|는|이|가|을|를|에|에서|의|로|으로|와|과|도|만|이다|입니다|이에요|예요|이었다|였다|이었습니다|였습니다)$"
)


@dataclass(frozen=True, slots=True)
class Token:
    """text: case-folded, for comparison; start, end: its place in the text; joined: a hyphen or slash comes before."""

    text: str
    start: int
    end: int
    number: Quantity | None = None
    joined: bool = False

    def equals(self, gold: "Token") -> bool:
        """Whether this token of an answer equals a token of the gold answer."""
        if self.number is not None and gold.number is not None:
            return same(self.number, gold.number)
        if (self.number is None) != (gold.number is None):
            return False
        return self.text == gold.text

    def begins_with(self, gold: "Token") -> bool:
        """Whether this is the gold token, perhaps followed by a Korean particle."""
        return self.equals(gold) or _PARTICLES.sub("", self.text) == gold.text != ""


@lru_cache(maxsize=1024)
def canonical(text: str) -> str:
    """The text in NFKC, with ASCII digits and straight apostrophes, without invisible characters."""
    if text.isascii():
        return text
    return _INVISIBLE.sub("", plain_digits(text)).translate(_QUOTES)


def folded(text: str) -> str:
    """The text case-folded; the Turkish dotted and dotless i are one letter."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", text.casefold().replace("i\u0307", "i").replace("ı", "i"))


def may_hold(text: str, gold: str) -> bool:
    """Whether a text may contain the words of a gold answer; a fast check before tokenising. Both are canonical."""
    letters = _letters_alone(text)
    return all(_letters_alone(token.text) in letters for token in tokens(gold) if _is_plain_word(token))


def _is_plain_word(token: Token) -> bool:
    return token.number is None and token.text not in _ARTICLES


@lru_cache(maxsize=1024)
def _letters_alone(text: str) -> str:
    return re.sub(r"[\W_]+", "", folded(text))


@lru_cache(maxsize=1024)
def tokens(text: str, at_most: int | None = None) -> list[Token]:
    """The tokens of a canonical text. The list is cached; do not change it.

    at_most: stop after this many tokens, articles not counted.
    """
    found: list[Token] = []
    at = num_words = 0
    while at < len(text) and num_words != at_most:
        token = _number(text, at, found) or _word(text, at) or _symbol(text, at)
        if token is None:
            at += 1
            continue
        found.append(token if not _is_joined(text, found, token) else _joined(token))
        num_words += token.text not in _ARTICLES
        at = token.end
    return found


def without_articles(found: list[Token]) -> list[Token]:
    """The tokens without articles, as in SQuAD; a text that has only articles keeps them."""
    kept = [token for token in found if token.text not in _ARTICLES]
    return kept or found


def places(found: list[Token], gold: list[Token]) -> list[tuple[int, int]]:
    """(start, end) in the text of each occurrence of the gold answer as whole words, ignoring articles."""
    words, wanted = without_articles(found), without_articles(gold)
    if wanted and all(token.text in _ARTICLES for token in wanted):
        words = found
    width = len(wanted)
    spans = []
    for i in range(len(words) - width + 1) if width else ():
        run = words[i : i + width]
        after = words[i + width] if i + width < len(words) else None
        whole = not run[0].joined and not (after and after.joined)
        if whole and all(a.begins_with(b) for a, b in zip(run, wanted, strict=True)):
            spans.append((run[0].start, run[-1].end))
    return spans


def is_word(character: str) -> bool:
    """Whether the character is a letter, a digit or a combining mark, as in Hindi."""
    return character.isalnum() or unicodedata.category(character).startswith("M")


def _number(text: str, at: int, before: list[Token]) -> Token | None:
    """The number at this index, unless it is part of a word such as B12 or 3rd."""
    if not _BEGINS_NUMBER.match(text, at):
        return None
    inside = at > 0 and is_word(text[at - 1]) and not _UNSPACED.match(text[at - 1])
    if inside and not (before and before[-1].end == at and before[-1].number):
        return None
    match = NUMBER.match(text, at)
    if match is None or (inside and text[at] not in "+-"):
        return None
    letters = _letters(text, match.end())
    if letters and folded(letters) not in _UNITS and not _UNSPACED.match(letters) and not "가" <= letters[0] <= "힣":
        return None
    if text[match.end() : match.end() + 1] == "+" and not is_word(text[match.end() + 1 : match.end() + 2] or " "):
        return Token(match[0] + "+", at, match.end() + 1)
    found = quantity(match)
    return Token(folded(match[0]), at, match.end(), found) if match[0].strip() else None


def _letters(text: str, at: int) -> str:
    end = at
    while end < len(text) and is_word(text[end]):
        end += 1
    return text[at:end]


def _word(text: str, at: int) -> Token | None:
    if initials := _INITIALS.match(text, at):
        return Token(folded(re.sub(r"\W", "", initials[0])), at, initials.end())
    if simple := _SIMPLE.match(text, at):
        return Token(simple[0].lower(), at, simple.end())
    dot = text[at] == "." and (at == 0 or text[at - 1].isspace())  # .NET
    start = at + dot
    if start >= len(text) or not is_word(text[start]):
        return None
    if _UNSPACED.match(text[start]):
        return Token(folded(text[start]), start, start + 1)
    end = start
    while end < len(text) and _goes_on(text, end):
        end += 1
    end = _with_ending(text, start, end)
    word = text[start:end]
    if "." in word and _ABBREVIATION.fullmatch(word):  # U.S. is US
        word = word.replace(".", "")
    word = _SUFFIX.sub("", word).replace("'", "")
    return Token(folded("." * dot + word), at, end)


def _goes_on(text: str, at: int) -> bool:
    """Whether a word continues here: a letter, an apostrophe before a letter, or the dot of an abbreviation."""
    if is_word(text[at]):
        return not _UNSPACED.match(text[at])
    following = text[at + 1 : at + 2]
    if not following or not is_word(following):
        return False
    alone = at >= 1 and (at == 1 or not is_word(text[at - 2]))  # one letter before the dot, as in U.S
    return text[at] == "'" or (text[at] == "." and alone and not following.isdigit())


def _with_ending(text: str, start: int, end: int) -> int:
    """The word's end with symbols that make another word: C++, C#, A*, and O- (a minus after one or two letters)."""
    ending = (_ENDING if end - start > 2 else _SHORT_ENDING).match(text, end)
    if ending is None or (ending.end() < len(text) and is_word(text[ending.end()])):
        return end
    return ending.end()


def _symbol(text: str, at: int) -> Token | None:
    found = _SYMBOL.match(text, at)
    return Token(_SAME_SYMBOL.get(found[0], found[0]), at, found.end()) if found else None


def _is_joined(text: str, before: list[Token], token: Token) -> bool:
    """Whether only hyphens or slashes separate two tokens, as in north-east or he/she."""
    if not before:
        return False
    between = text[before[-1].end : token.start]
    if not between and before[-1].text in _ROOTS:
        return True
    return (
        bool(between)
        and between != " "
        and _JOINS.fullmatch(between) is not None
        and not between.endswith((". ", ": "))
    )


def _joined(token: Token) -> Token:
    return Token(token.text, token.start, token.end, token.number, joined=True)
