"""Find the statements of an answer: remove markup, find "the answer is ...", split sentences."""
# ruff: noqa: RUF001  the characters of other scripts are what this module is about

import re
from functools import lru_cache

KEY = (
    r"(?:(?:final|correct|right|best|predicted|short|my|gold|overall)\s+)*"
    r"(?:label|answer|option|choice|class|category|verdict|prediction|conclusion|classification|relation|relationship"
    r"|judge?ment|result|solution)"
)
"""The noun that introduces a statement, such as "final answer"."""
LINK = r"(?:\s*[:=]|\s+(?:is|was|are|would\s+be|must\s+be|should\s+be|will\s+be)\b\s*:?|\s+[-–—](?=\s))"
"""What connects the noun to the statement: a colon, "is", a dash."""

_STRUCK = re.compile(r"~~(?=\S)[^~\n]+(?<=\S)~~|<(?P<tag>s|del|strike)>.*?</(?P=tag)>", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"^\s*(?:```|~~~).*$", re.MULTILINE)
_COMMAND = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mathit|textit)\s*\{([^{}]*)\}")
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_ONLY_BOXED = re.compile(rf"\$*\s*{_BOXED.pattern}\s*\$*")
_ANSWER_TAG = re.compile(
    r"<(?P<tag>answer|final_answer|output|response)>(.*?)</(?P=tag)>"
    r"|<\|begin_of_solution\|>(.*?)(?:<\|end_of_solution\|>|\Z)|<\|START_RESPONSE\|>(.*?)(?:<\|END_RESPONSE\|>|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_MARKS = [
    (re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1"), r"\2"),
    (re.compile(r"(?<![\w*])\*(?=[^\s*])([^*\n]*[^\s*])\*(?![\w*])"), r"\1"),
    (re.compile(r"(?<![\w_])_(?=[^\s_])([^_\n]*[^\s_])_(?![\w_])"), r"\1"),
    (re.compile(r"(`+)(?=[^`\s])(.*?[^`])\1"), r"\2"),
    (re.compile(r"^[ \t]*#{1,6}[ \t]+", re.MULTILINE), ""),
    (re.compile(r"^[ \t]*[-*•][ \t]+", re.MULTILINE), ""),
    (re.compile(r"\\[()\[\]]|\${2}|(?<!\S)\$(?=[^$\d\s][^$\n]*\$)|(?<=[^$\s])\$(?=[\s.,;:!?]|$)"), ""),
]
_MARKUP = re.compile(r"[\\`~<*_#$•]|^[ \t]*-", re.MULTILINE)
"""The characters that markup needs."""
_MATHS = re.compile(r"^\$([^$\n]+)\$$")
_WRAPS = ('""', "''", "“”", "‘’", "«»", "‹›", "「」", "『』", "()", "[]", "（）", "【】", "``")
_SHORT = re.compile(
    r"\b(?:Mr|Mrs|Ms|Dr|St|Mt|Ft|Jr|Sr|vs|Prof|Gen|Col|Sgt|Lt|Capt|Gov|Sen|Rep|Rev|Inc|Ltd|Co|Corp|No|[A-Z])\.$"
)

_MAY_RETRACT = re.compile(r"\b(?:no|that|correction|second|back)\b", re.IGNORECASE)
_RETRACTS = re.compile(
    r"\bno[,.!…–—\s-]{1,5}(?:no[,.!…–—\s-]{1,5})*(?:wait|sorry)\b"
    r"|\b(?:wait|sorry|actually|hmm)[,.!…–—\s-]{1,5}no\b(?=\s*(?:[,.;:!…–—-]|$))"
    r"|\b(?:scratch|strike|forget)\s+that\b(?=\s*(?:[,.;:!…–—-]|$))|(?:^|(?<=[.!?…\n]))\s*correction\s*:"
    r"|\bi\s+take\s+(?:that|it)\s+back\b|\bon\s+second\s+thoughts?\b",
    re.IGNORECASE,
)
"""Words that take back what was said before."""


def without_struck(text: str) -> str:
    """The text without ~~struck out~~ words."""
    return _STRUCK.sub(" ", text) if "~~" in text or "</" in text else text


@lru_cache(maxsize=256)
def plain(text: str) -> str:
    """The text without markdown emphasis, headings, bullets, code fences and LaTeX around words."""
    if not _MARKUP.search(text):
        return text
    text = _COMMAND.sub(r"\1", _BOXED.sub(r" \1 ", _FENCE.sub("", text)))
    text = _FRACTION.sub(r"\1/\2", text)
    text = re.sub(r"</?(?:answer|final_answer|b|i|em|strong|p|br)\s*/?>", " ", text, flags=re.IGNORECASE)
    for pattern, kept in _MARKS:
        text = pattern.sub(kept, text)
    return text.replace("\\%", "%").replace("\\$", "$")


@lru_cache(maxsize=256)
def marked(text: str) -> list[str]:
    """The parts that the text marks as its answer, in order: in <answer> tags, else in boxes, else after ####.

    The list is cached; do not change it.
    """
    tagged = _ANSWER_TAG.finditer(text) if "<" in text else ()
    said = [next(filter(None, m.groups()[1:]), "") for m in tagged]
    said = said or (_BOXED.findall(text) if "\\" in text else [])
    return said or (re.findall(r"^####\s*(.+)$", text, re.MULTILINE) if "####" in text else [])


@lru_cache(maxsize=1024)
def unwrapped(text: str) -> str:
    """An answer without what surrounds it: markup, quotes, brackets, a box, tags."""
    text = text.strip()
    only = text[:1] in ("<", "$", "\\") and (_ANSWER_TAG.fullmatch(text) or _ONLY_BOXED.fullmatch(text))
    if only:
        text = next(filter(None, only.groups()[1 if "tag" in only.groupdict() else 0 :]), "")
    text = plain(_MATHS.sub(r"\1", text.strip())).strip()
    while len(text) > 2 and text[0] + text[-1] in _WRAPS and text[-1] not in text[1:-1]:
        text = text[1:-1].strip()
    return text


def explicit(text: str) -> list[tuple[int, int]]:
    """(start, end) of each explicit statement ("the answer is ...", "Answer: ..."), up to the next or the end."""
    starts = [found.end() for found in re.finditer(rf"\b{KEY}{LINK}\s*", text, re.IGNORECASE)]
    return [(start, end) for start, end in zip(starts, [*starts, len(text)][1:], strict=True)]


def sentences(text: str) -> list[str]:
    """Split a text at the ends of sentences and lines, but not after abbreviations such as Mr. and J."""
    found, start = [], 0
    for end in re.finditer(r"[.!?](?=\s)|[。！？\n]", text):
        if not _SHORT.search(text[start : end.end()]):
            found.append(text[start : end.end()])
            start = end.end()
    return [part.strip() for part in [*found, text[start:]] if part.strip()]


def retraction(text: str) -> tuple[int, int]:
    """(start, end) of the last words that take back what was said ("no, wait", "scratch that"); (0, 0) if none do."""
    found = list(_RETRACTS.finditer(text)) if _MAY_RETRACT.search(text) else []
    return found[-1].span() if found else (0, 0)


def is_statement(line: str) -> bool:
    """Whether a line introduces a label or an answer, for example `**Label:** X`."""
    return re.match(rf"\W*(?:the\s+)?{KEY}{LINK}", plain(line), re.IGNORECASE) is not None


def last_line(text: str) -> str:
    """The last line with a letter or a digit."""
    lines = [line for line in text.splitlines() if any(c.isalnum() for c in line)]
    return lines[-1].strip() if lines else ""
