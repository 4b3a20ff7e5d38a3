"""Benchmark `lmentry`: "LMentry: A Language Model Benchmark of Elementary Language Tasks" (arXiv 2211.02069).

It is for evaluation only and must not be trained on. A JSONL file with {"task", "id", "input", "metadata"} a line,
where metadata is an object or its JSON text. The line with the canary is skipped.

Scoring: per task, regular expressions after the rules published with the paper, written anew. An answer is
    right and certain      a bare answer ('beach', 'The word "beach".') or, as a whole, a phrase known for the task
    right and uncertain    a known phrase inside other text
    wrong and certain      without the answer in it, or as a whole a known wrong answer
    wrong and uncertain    all else
homophones and rhyming_word read known phrases only as a whole, and "The answer is" is none of theirs. Quotes and
punctuation around a word do not matter.

Where this differs from the published code: curly quotes count as quotes and asterisks (bold type) are dropped; numbers
are spelled out here, with "and" optional; an answer without a letter or digit is always certainly wrong; an answer
without a single Latin word is never right for want of words to check; statements that the published lists hold for one
of two mirrored tasks hold for both; slips in the lists (a missing comma, "first" for "last") are not repeated.

Robustness is the mean of up to four kinds, each the mean over its groups of 100 minus the largest gap between two
accuracies, in points of percent:
    argument order      tasks with two options: by the position of the right one
    argument content    first_alphabetically by the distance of the first letters (same, consecutive, far: at least 13,
                        different: the others); all/any_words_from_category by the number of distractors; rhyming_word
                        by whether query and answer share their last two letters; more/less_letters by a difference
                        of 1 or of at least 3 letters. The paper asks these subsets as sets of their own; here they are
                        parts of the task's items, so `different` excludes the far and the consecutive.
    template            every task: by the wording of the question
    adjacent tasks      the paper's 17 pairs of tasks
A group with fewer than two accuracies is left out, and so is a kind without groups.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import fmean
from string import ascii_lowercase
from typing import Any, Literal

from pydantic import Field

from hasse.data.errors import SourceError
from hasse.data.settings import Config, unkeyed
from hasse.data.tables import Row, read_rows
from hasse.pipeline.fingerprint import file_digest
from hasse.stages.evaluate.benchmarks import BenchmarkItem, Score

Data = dict[str, Any]
Scored = Sequence[tuple[BenchmarkItem, Score]]


class Settings(Config):
    benchmark: Literal["lmentry"] = "lmentry"
    path: str = unkeyed(description="The JSONL file with the items.")
    limit: int | None = Field(default=None, ge=1, description="Only this many items of each task, the first.")
    max_tokens: int = Field(default=48, ge=1, description="The most tokens of an answer.")
    truncate: bool = Field(
        default=False,
        description="Score only the text before the first line break or full stop, as the authors do for models that "
        "do not end their answers.",
    )


def external(settings: Settings) -> dict[str, str]:
    """The digest of the file. Raises SourceError when there is no file."""
    path = Path(settings.path)
    if not path.is_file():
        raise SourceError("there is no such file", file=path)
    return {"lmentry": file_digest(path)}


def items(settings: Settings) -> list[BenchmarkItem]:
    """One item a row, in the order of the file. Raises SourceError that names file, row and field."""
    path = Path(settings.path)
    found: list[BenchmarkItem] = []
    count: dict[str, int] = defaultdict(int)
    for number, row in read_rows(path):
        if "canary" in row:
            continue
        item = _item(row, settings.truncate, path, number)
        count[item.task] += 1
        if settings.limit is None or count[item.task] <= settings.limit:
            found.append(item)
    return found


def _item(row: Row, truncate: bool, path: Path, number: int) -> BenchmarkItem:
    task = row.get("task")
    if not isinstance(task, str) or task not in TASKS:
        raise SourceError(f"is not a task of LMentry: {task!r}", file=path, row=number, field="task")
    for name in ("id", "input"):
        if not str(row.get(name) or "").strip():
            raise SourceError("is missing or empty", file=path, row=number, field=name)
    metadata = row.get("metadata")
    try:
        metadata = json.loads(metadata) if isinstance(metadata, str) else metadata
    except ValueError as error:
        raise SourceError(f"is not JSON: {error}", file=path, row=number, field="metadata") from error
    if not isinstance(metadata, dict):
        raise SourceError("must be an object or its JSON text", file=path, row=number, field="metadata")
    for name in TASKS[task].fields:
        if metadata.get(name) in (None, "", []):
            raise SourceError("is missing or empty", file=path, row=number, field=f"metadata.{name}")
    data = {**metadata, "truncate": True} if truncate else metadata
    return BenchmarkItem(item_id=f"{task}/{row['id']}", task=task, text=row["input"], data=data)


def score(item: BenchmarkItem, text: str) -> Score:
    """1 or 0 by the rule of the item's task; `label` is the right answer, or the one word that was given."""
    answer = _normal(text)
    if item.data.get("truncate"):
        answer = re.split(r"[\n.]", answer, maxsplit=1)[0]
    if not re.search(r"[^\W_]", answer):
        return Score(value=0.0, certain=True)
    right, certain = TASKS[item.task].judge(item, answer)
    return Score(value=float(right), certain=certain, label=_label(item.data, answer, right))


_PLAIN = str.maketrans("\u201c\u201d\u2018\u2019_", "\"\"'' ", "*")


def _normal(text: str) -> str:
    text = text.translate(_PLAIN)
    return re.sub(" +", " ", text.strip().lower())


def _label(data: Data, answer: str, right: bool) -> str | None:
    if right and "answer" in data:
        return str(data["answer"]).lower()
    words = _words(answer)
    return words[0] if len(set(words)) == 1 else None


def _words(text: str) -> list[str]:
    return re.findall(r"\b[a-z\d]+\b", text)


Verdict = tuple[bool, bool]
"""(whether right, whether certain)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """Patterns of one item, in lower case.

    bare: right as a whole; phrases: also right inside other text, and with one of `before` and `after` around them;
    wrong: wrong as a whole; needs: what any right answer has in it; alone: what an answer of one word must be;
    repeats: whether several answers in a row are right when each word is.
    """

    bare: Sequence[str]
    phrases: Sequence[str] = ()
    before: Sequence[str] = ()
    after: Sequence[str] = ()
    wrong: Sequence[str] = ()
    needs: str | None = None
    alone: str | None = None
    repeats: bool = True

    def __call__(self, answer: str) -> Verdict:
        words = _words(answer)
        if self.needs and not re.search(self.needs, answer):
            return False, True
        if self.alone and len(set(words)) == 1 and not re.fullmatch(self.alone, words[0]):
            return False, True
        if self.wrong and _whole(self.wrong, answer):
            return False, True
        if _whole(self.bare, answer):
            return True, True
        if self.repeats and words and all(_whole(self.bare, word) for word in words):
            return True, True
        if not self.phrases:
            return False, False
        before, after = (f"{_any(part)}?" if part else "" for part in (self.before, self.after))
        if re.fullmatch(rf"{before}{_any(self.phrases)}{after}\.?", answer):
            return True, True
        return bool(re.search(_any(self.phrases), answer)), False


def _any(patterns: Iterable[str]) -> str:
    return f"(?:{'|'.join(patterns)})"


def _whole(patterns: Iterable[str], text: str) -> bool:
    return re.fullmatch(rf"{_any(patterns)}\.?", text) is not None


def _named(noun: str, pattern: str) -> str:
    return rf"""(?:the {noun} )?["'.,]*\b(?:{pattern})\b["'.,]*"""


def _word(word: Any) -> str:
    return _named("word", re.escape(str(word).lower()))


def _letter(letter: str) -> str:
    return _named("letter", re.escape(letter.lower()))


def _sentence(sentence: str) -> str:
    return rf"""(?:(?:the sentence )?["'.,]*{re.escape(sentence.lower())}["'.,]*|the sentence)"""


def _has(word: str) -> str:
    return rf"\b{re.escape(word.lower())}\b"


def _shared(answer: str) -> list[str]:
    return [f"{answer} is the answer", f"the (?:correct )?answer is {answer}", f"answer: {answer}"]


# fmt: off
_ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]
_TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
# fmt: on


def _spelled(number: int) -> str:
    """A pattern for a number below a million in words."""
    if number < 20:
        return _ONES[number]
    for size, name, joint in ((1000, " thousand", ",?(?: and)? "), (100, " hundred", "(?: and)? ")):
        if number >= size:
            rest = joint + _spelled(number % size) if number % size else ""
            return _spelled(number // size) + name + rest
    return _TENS[number // 10] + (f"[- ]{_ONES[number % 10]}" if number % 10 else "")


def _number(number: Any) -> str:
    return _any([str(number), _spelled(int(number))])


def _numbers(item: BenchmarkItem, answer: str) -> Verdict:
    data = item.data
    high, low = (_named("number", _number(n)) for n in sorted((int(data["n1"]), int(data["n2"])), reverse=True))
    right = _named("number", _number(data["answer"]))
    sides = [(high, "(?:bigger|larger)", low), (low, "smaller", high)]
    facts = [
        [f"{a} is {more}(?: than {b})?", f"{a} is the {more} number", f"the {more} number is {a}"]
        for a, more, b in sides
    ]
    both = [rf"{data['n1']} and {data['n2']}", rf"{data['n2']} and {data['n1']}"]
    rule = _Rule(
        bare=[right],
        phrases=[*chain(*facts), *_shared(right)],
        before=[f"(?:of|from|between) the numbers {_any(both)}, "],
        alone=_number(data["answer"]),
    )
    return rule(answer)


def _letter_counts(item: BenchmarkItem, answer: str) -> Verdict:
    data = item.data
    long, short = sorted((str(data["answer"]), str(data["distractor"])), key=len, reverse=True)
    right, other = _word(data["answer"]), _word(data["distractor"])
    gap = len(long) - len(short)
    rule = _Rule(
        bare=[right],
        phrases=[*_longer(_word(long), _word(short), gap), *_shared(right)],
        before=[f"(?:of|from) the words {_any([f'{right} and {other}', f'{other} and {right}'])},? "],
        wrong=[other, *_longer(_word(short), _word(long), gap), *_wrong_gap(_word(long), _word(short), gap)],
    )
    return rule(answer)


_SIDES = (("more", "longer"), ("(?:less|fewer)", "shorter"))


def _longer(long: str, short: str, gap: int) -> list[str]:
    """Ways to say that one word is longer than the other."""
    by = _gap(gap)
    return [
        fact
        for (a, b), (more, longer) in zip(((long, short), (short, long)), _SIDES, strict=True)
        for fact in (
            f"{a} has (?:{by} )?{more} letters?(?: than {b})?",
            f"the word that has {more} letters is {a}",
            f"{a} is the word that (?:has {more} letters|is {longer})",
            f"{a} is {longer}(?: than {b})?(?: by {by} letters?)?",
            f"the {longer} word is {a}",
            f"the word that is {longer} is {a}",
        )
    ]


def _wrong_gap(long: str, short: str, gap: int) -> list[str]:
    """Ways to name the longer word rightly and the difference wrongly."""
    wrong = rf"(?!{_gap(gap)}\b)(?:\d+|{'|'.join(_ONES[:11])}|a single)"
    return [
        fact
        for (a, b), (more, longer) in zip(((long, short), (short, long)), _SIDES, strict=True)
        for fact in (
            rf"{a} has {wrong} {more} letters?\b.*",
            rf"{a} is {longer}(?: than {b})? by {wrong} letters?\b.*",
        )
    ]


def _gap(gap: int) -> str:
    return _any([str(gap), _spelled(gap), *(["a single"] if gap == 1 else [])])


def _alphabetical(item: BenchmarkItem, answer: str) -> Verdict:
    right, other = _word(item.data["answer"]), _word(item.data["distractor"])
    rule = _Rule(
        bare=[right, f"{right} does"],
        phrases=[
            f"{right} (?:comes|is) first",
            f"{other} (?:comes|is) second",
            f"{other} (?:comes|is) after(?: {right})?",
            f"{right} (?:comes|is) before {other}",
            *_shared(right),
        ],
        before=[
            "alphabetically, ",
            "in (?:an )?alphabetical order, ",
            f"of the words {_any([f'{right} and {other}', f'{other} and {right}'])},? ",
        ],
        after=[" alphabetically", " in (?:an )?alphabetical order", " in the dictionary"],
        alone=re.escape(str(item.data["answer"]).lower()),
    )
    return rule(answer)


def _homophones(item: BenchmarkItem, answer: str) -> Verdict:
    data = item.data
    right, other, query = (_word(data[name]) for name in ("answer", "distractor", "query"))
    like, but = "(?:like|similar to)", "[.,]? (?:but|and)"
    facts = [
        fact
        for a, b in ((query, right), (right, query))
        for fact in (
            f"{a} sounds {like} {b}(?:{but} not {like} {other}|{but} {other} does not)?",
            f"{a} and {b} sound alike",
            f"{a} sounds more {like} {b}(?: than(?: like)? {other}(?: does)?)?",
            f"{a} sounds most {like} {b}",
            f"{a} is a homophone of {b}",
            f"{a} and {b} are homophones(?: of each other)?",
            f"the homophone of {a} is {b}",
        )
    ]
    return _Rule(bare=[right, *facts], needs=_has(data["answer"]))(answer)


def _rhymes(item: BenchmarkItem, answer: str) -> Verdict:
    data = item.data
    right, other, query = (_word(data[name]) for name in ("answer", "distractor", "query"))
    not_rhyme = "(?:does not|doesn't) rhyme"
    facts = [
        fact
        for a, b in ((query, right), (right, query))
        for fact in (
            f"{a} rhymes with {b}(?: and not with {other})?",
            f"{a} is (?:a|the) rhyme of {b}(?: and not of {other})?",
            f"{a} and {b} (?:rhyme|are rhymes|are words that rhyme)",
            f"(?:a|the) rhyme of {a} is {b}(?: and not {other})?",
            f"(?:a|the) word (?:rhyming|that rhymes) with {a} is {b}",
            f"{a} and {b}(?: both)? rhyme(?: with each other)?, (?:while|but|and) {other} {not_rhyme} with either"
            "(?: word)?",
        )
    ]
    denials = [
        rf"{other} {not_rhyme} with {query}(?:\s+{right} (?:rhymes|does rhyme) with {query})?",
        rf"{query} {not_rhyme} with {other}(?:\s+{query} (?:rhymes|does rhyme) with {right})?",
        rf"{right} rhymes with {query}\s+{other} {not_rhyme} with {query}",
    ]
    return _Rule(bare=[right, *facts, *denials], alone=re.escape(data["answer"].lower()))(answer)


def _associated(item: BenchmarkItem, answer: str, *, most: bool) -> Verdict:
    data = item.data
    right, category = _word(data["answer"]), _word(data["category"])
    degree = "most" if most else "least"
    related = f"{degree}(?: commonly)? (?:associated|related) (?:to|with)"
    options = _options(data)
    facts = [
        fact
        for a, b in ((right, category), (category, right))
        for fact in (
            f"the word {related} {b}(?: {options})? is {a}",
            f"{b} (?:is|are) {related} {a}",
            f"{a} (?:is|are) the (?:word )?{related} {b}",
            f"the word that relates to {b} the {degree} is {a}",
            f"{a} relates to {b} the {degree}",
        )
    ]
    rule = _Rule(
        bare=[right, f"{category} - {right}"] if most else [right],
        phrases=[*facts, *_shared(right)],
        before=[rf"{options}[^a-z0-9]*"],
        after=[rf"[^a-z0-9]*{options}"],
        needs=_has(data["answer"]),
    )
    return rule(answer)


def _options(data: Data) -> str:
    word = _any(re.escape(str(word).lower()) for word in (*data["distractors"], data["answer"]))
    count = len(data["distractors"]) + 1
    listed = rf"(?:the words )?[^a-z0-9]*(?:(?:and[^a-z0-9]+)?{word}\b[^a-z0-9]*){{{count}}}"
    given = "(?:above|given|listed|following)"
    return f"(?:of|from) (?:{listed}|the (?:words|options) {given}|the {given} (?:words|options))"


def _edge_letter(item: BenchmarkItem, answer: str, *, first: bool) -> Verdict:
    right, word = _letter(item.data["answer"]), _word(item.data["word"])
    edge, verb, other = ("first", "(?:starts|begins)", "starting") if first else ("last", "ends", "final")
    rule = _Rule(
        bare=[right],
        phrases=[
            f"the {edge} letter(?: (?:of|in) {word})? is {right}",
            f"{right} is the (?:{edge}|{other}) letter (?:of|in) {word}",
            f"{word} {verb} with {right}",
            f"the letter that {word} {verb} with is {right}",
            f"{word}: {right}",
            f"{edge} letter: {right}",
            *_shared(right),
        ],
        needs=_has(item.data["answer"]),
    )
    return rule(answer)


def _edge_word(item: BenchmarkItem, answer: str, *, first: bool) -> Verdict:
    right, sentence = _word(item.data["answer"]), _sentence(item.data["sentence"])
    edge, verb = ("first", "(?:starts|begins)") if first else ("last", "ends")
    rule = _Rule(
        bare=[right],
        phrases=[
            f"the {edge} word(?: (?:of|in) {sentence})? is {right}",
            f"{right} is the {edge} word",
            f"{sentence} {verb} with {right}",
            rf"{edge} word\W+{right}",
            *_shared(right),
        ],
        before=[f"in {sentence} "],
        after=[f" (?:of|in) {sentence}"],
        needs=_has(item.data["answer"]),
    )
    return rule(answer)


def _neighbour(item: BenchmarkItem, answer: str, *, after: bool) -> Verdict:
    data = item.data
    right, query, sentence = _word(data["answer"]), _word(data["query"]), _sentence(data["sentence"])
    left, next_ = (query, right) if after else (right, query)
    behind = "(?:comes (?:immediately |right )?after|(?:immediately )?succeeds|(?:immediately )?follows)"
    ahead = "(?:comes (?:immediately |right )?before|(?:immediately )?precedes)"
    facts = [
        fact
        for a, stands, b in ((next_, behind, left), (left, ahead, next_))
        for fact in (
            f"{a} (?:is the word that )?{stands} {b}",
            f"the word that {stands} {b}(?: in {sentence})? is {a}",
        )
    ]
    rule = _Rule(
        bare=[right],
        phrases=[*facts, f"{left} is (?:succeeded|followed) by {next_}", *_shared(right)],
        before=[f"in {sentence} "],
        after=[f" (?:of|in) {sentence}"],
        wrong=[rf"\W*{re.escape(data['sentence'].lower())}\W*"],
        needs=_has(data["answer"]),
    )
    return rule(answer)


_CATEGORY_NAMES = {
    "items of clothing": "(?:items of clothing|clothes|clothing)",
    "furniture": "(?:furniture|pieces of furniture)",
    "fruit": "(?:fruit|fruits)",
}


def _category(item: BenchmarkItem, answer: str, *, every: bool) -> Verdict:
    right, other = ("yes", "no") if _category_holds(item.data, every) else ("no", "yes")
    phrases = [rf"^{right}\b", *_shared(right)]
    if every:
        name = str(item.data["category"]).lower()
        category = _CATEGORY_NAMES.get(name, re.escape(name))
        those = "(?:all of (?:these|those|the) words|they all)(?: listed| in the list)?"
        phrases += [
            f"{right}, the list contains only {category}",
            f"{right}, {those} (?:represent|are types of|refer to types of) {category}",
        ]
    return _Rule(bare=[right], phrases=phrases, wrong=[other])(answer)


def _category_holds(data: Data, every: bool) -> bool:
    distractors = int(data["num_distractors"])
    return distractors == 0 if every else distractors < int(data["num_words"])


def _sentence_with(item: BenchmarkItem, answer: str) -> Verdict:
    word = _has(item.data["word"])
    return bool(re.search(f"{word}.|.{word}", answer)), True


def _sentence_without(item: BenchmarkItem, answer: str) -> Verdict:
    """One word is no sentence, though not certainly; another form of the word is allowed, though not certainly."""
    if re.search(_has(item.data["word"]), answer):
        return False, True
    words = re.findall(r"\b[a-z]+\b", answer)
    if len(words) < 2:
        return False, not words
    return True, item.data["word"].lower() not in answer


_A_WORD = r"(?:a|i|\w\w+)"


def _sentence_edge(item: BenchmarkItem, answer: str, *, first: bool) -> Verdict:
    word = _word(item.data["word"])
    if first:
        whole = rf"[^a-z0-9]*{word}[^a-z0-9]+{_A_WORD}.*"
        asked = f"that starts with {word}|starting with {word}|whose first word is {word}"
        end = f"(?:starts with {word}|is a sentence (?:{asked}))"
    else:
        whole = rf".*{_A_WORD}[^a-z0-9]+{word}[^a-z0-9]*"
        asked = f"that ends with {word}|ending with {word}|whose (?:last|final) word is {word}"
        end = "$"
    start = f"(?:the sentence(?: is)?|(?:a|one) sentence (?:{asked})(?: is)?)"
    return _Rule(bare=[whole], phrases=[start + whole + end], needs=_has(item.data["word"]))(answer)


def _word_edge(item: BenchmarkItem, answer: str, *, first: bool) -> Verdict:
    letter = item.data["letter"].lower()
    more = r"\w*" if letter in "ai" else r"\w+"
    pattern, needs = (
        (rf"{letter}-?{more}", rf"\b{letter}[a-z]*\b") if first else (more + letter, rf"\b[a-z]*{letter}\b")
    )
    word, named = _named("word", pattern), _letter(letter)
    verb, verbing = ("(?:starts|begins)", "(?:starting|beginning)") if first else ("ends", "ending")
    edge = "first" if first else "last"
    phrases = [
        f"(?:a|one) possible(?: such)? (?:word|answer) is {word}",
        f"{word} is (?:a|one) possible(?: such)? (?:word|answer)",
        f"{word} (?:is (?:a|one) word that )?{verb} with {named}",
        f"{word} is (?:a|one) word {verbing} with {named}",
        f"a word {verbing} with {named} is {word}",
        f"{word} is (?:a|one) word whose {edge} letter is {named}",
        *([f"{named} is for {word}"] if first else []),
        f"how about {word}",
        f"may i suggest {word}",
        *_shared(word),
    ]
    return _Rule(bare=[word], phrases=phrases, needs=needs)(answer)


def _word_with(item: BenchmarkItem, answer: str) -> Verdict:
    letter = item.data["letter"].lower()
    longer = rf"\w+{letter}\w*|\w*{letter}\w+|{letter}-\w+"
    word = _named("word", rf"\w*{letter}\w*" if letter in "ai" else longer)
    fact = f"{word} (?:is a word (?:that|which) )?(?:contains|uses|has) {_letter(letter)}"
    return _Rule(bare=[word], phrases=[fact, *_shared(word)])(answer)


def _word_without(item: BenchmarkItem, answer: str) -> Verdict:
    letter = item.data["letter"].lower()
    allowed = ascii_lowercase.replace(letter, "")
    word = _named("word", "|".join([f"[{allowed}]{{2,}}", *(one for one in "ai" if one != letter)]))
    named = _letter(letter)
    not_ = "(?:does not|doesn't) (?:contain|use|have)"
    question = re.escape(_normal(item.text)).replace(f'"{letter}"', r'"\w"')
    rule = _Rule(
        bare=[word],
        phrases=[
            f"{word} (?:is a word (?:that|which) )?{not_} {named}",
            f"a word (?:that|which) {not_} {named} is {word}",
            f"a word not (?:containing|using|having) {named} is {word}",
            f"{word} is a word without {named}",
        ],
        wrong=[question, rf"\w*{letter}\w*"],
        repeats=False,
    )
    return rule(answer)


@dataclass(frozen=True, slots=True)
class _Task:
    """judge: (item, normalised answer) -> verdict; fields: what it reads of the metadata."""

    judge: Callable[[BenchmarkItem, str], Verdict]
    fields: tuple[str, ...]


_PAIR = ("answer", "distractor")
_ASSOCIATION = ("answer", "distractors", "category")

TASKS: dict[str, _Task] = {
    "all_words_from_category": _Task(partial(_category, every=True), ("category", "num_distractors", "num_words")),
    "any_words_from_category": _Task(partial(_category, every=False), ("category", "num_distractors", "num_words")),
    "bigger_number": _Task(_numbers, ("n1", "n2", "answer")),
    "ends_with_letter": _Task(partial(_word_edge, first=False), ("letter",)),
    "ends_with_word": _Task(partial(_sentence_edge, first=False), ("word",)),
    "first_alphabetically": _Task(_alphabetical, _PAIR),
    "first_letter": _Task(partial(_edge_letter, first=True), ("word", "answer")),
    "first_word": _Task(partial(_edge_word, first=True), ("sentence", "answer")),
    "homophones": _Task(_homophones, (*_PAIR, "query")),
    "last_letter": _Task(partial(_edge_letter, first=False), ("word", "answer")),
    "last_word": _Task(partial(_edge_word, first=False), ("sentence", "answer")),
    "least_associated_word": _Task(partial(_associated, most=False), _ASSOCIATION),
    "less_letters": _Task(_letter_counts, _PAIR),
    "more_letters": _Task(_letter_counts, _PAIR),
    "most_associated_word": _Task(partial(_associated, most=True), _ASSOCIATION),
    "rhyming_word": _Task(_rhymes, (*_PAIR, "query")),
    "sentence_containing": _Task(_sentence_with, ("word",)),
    "sentence_not_containing": _Task(_sentence_without, ("word",)),
    "smaller_number": _Task(_numbers, ("n1", "n2", "answer")),
    "starts_with_letter": _Task(partial(_word_edge, first=True), ("letter",)),
    "starts_with_word": _Task(partial(_sentence_edge, first=True), ("word",)),
    "word_after": _Task(partial(_neighbour, after=True), ("sentence", "query", "answer")),
    "word_before": _Task(partial(_neighbour, after=False), ("sentence", "query", "answer")),
    "word_containing": _Task(_word_with, ("letter",)),
    "word_not_containing": _Task(_word_without, ("letter",)),
}

TWO_OPTIONS = (
    "more_letters",
    "less_letters",
    "first_alphabetically",
    "rhyming_word",
    "homophones",
    "bigger_number",
    "smaller_number",
)

ADJACENT = (
    ("bigger_number", "smaller_number"),
    ("more_letters", "less_letters"),
    ("word_after", "word_before"),
    ("most_associated_word", "least_associated_word"),
    ("any_words_from_category", "all_words_from_category"),
    ("sentence_containing", "sentence_not_containing"),
    ("word_containing", "word_not_containing"),
    ("starts_with_word", "starts_with_letter"),
    ("ends_with_word", "ends_with_letter"),
    ("sentence_containing", "word_containing"),
    ("sentence_not_containing", "word_not_containing"),
    ("first_word", "first_letter"),
    ("last_word", "last_letter"),
    ("starts_with_word", "ends_with_word"),
    ("starts_with_letter", "ends_with_letter"),
    ("first_word", "last_word"),
    ("first_letter", "last_letter"),
)


def summary(scored: Scored) -> dict[str, float]:
    """All in percent: `accuracy <task>`, `accuracy` and `certainty` as means over tasks, `robustness <kind>` and
    `robustness`, and `lmentry score` = accuracy x robustness / 100. Only what the items allow."""
    tasks = _groups(scored, lambda item: item.task)
    if not tasks:
        return {}
    accuracies = {task: _accuracy(tasks[task]) for task in sorted(tasks)}
    numbers = {f"accuracy {task}": value for task, value in accuracies.items()}
    numbers["accuracy"] = fmean(accuracies.values())
    numbers["certainty"] = fmean(100 * fmean(score.certain for _, score in part) for part in tasks.values())
    kinds = {
        "argument order": [_parts(tasks.get(task, ()), _position) for task in TWO_OPTIONS],
        "argument content": [_parts(part, _content) for part in tasks.values()],
        "template": [_parts(part, lambda item: item.data.get("template_id")) for part in tasks.values()],
        "adjacent tasks": [[accuracies[task] for task in pair if task in accuracies] for pair in ADJACENT],
    }
    means = {kind: fmean(steady) for kind, groups in kinds.items() if (steady := _steadiness(groups))}
    if means:
        numbers |= {f"robustness {kind}": value for kind, value in means.items()}
        numbers["robustness"] = fmean(means.values())
        numbers["lmentry score"] = numbers["accuracy"] * numbers["robustness"] / 100
    return numbers


def _accuracy(scored: Scored) -> float:
    return 100 * fmean(score.value for _, score in scored)


def _groups(scored: Scored, key: Callable[[BenchmarkItem], Any]) -> dict[Any, list[tuple[BenchmarkItem, Score]]]:
    """The items of each key; those without a key are left out."""
    groups: dict[Any, list[tuple[BenchmarkItem, Score]]] = defaultdict(list)
    for item, score in scored:
        if (name := key(item)) is not None:
            groups[name].append((item, score))
    return dict(groups)


def _parts(scored: Scored, key: Callable[[BenchmarkItem], Any]) -> list[float]:
    """The accuracy of each key."""
    return [_accuracy(part) for part in _groups(scored, key).values()]


def _steadiness(groups: Iterable[Sequence[float]]) -> list[float]:
    """100 minus the largest gap of each group of two or more accuracies."""
    return [100 - (max(group) - min(group)) for group in groups if len(group) > 1]


def _position(item: BenchmarkItem) -> Any:
    return item.data.get("answer_index")


def _content(item: BenchmarkItem) -> Any:
    """The subset of its task to which an item belongs by its words, or None."""
    data = item.data
    match item.task:
        case "first_alphabetically":
            distance = abs(ord(data["distractor"][0].lower()) - ord(data["answer"][0].lower()))
            return {0: "same", 1: "consecutive"}.get(distance, "far" if distance >= 13 else "different")
        case "all_words_from_category" | "any_words_from_category":
            return data["num_distractors"]
        case "rhyming_word":
            return "similar" if data["query"][-2:].lower() == data["answer"][-2:].lower() else "different"
        case "more_letters" | "less_letters":
            gap = abs(len(data["answer"]) - len(data["distractor"]))
            return "1" if gap == 1 else "3+" if gap >= 3 else None
    return None
