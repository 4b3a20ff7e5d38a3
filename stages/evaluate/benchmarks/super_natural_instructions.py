"""Benchmark `super_natural_instructions`: tasks of many kinds, each with a definition, answered in free text.

One JSON file a task: {"Definition": [...] or "...", "Positive Examples": [{"input", "output"}], "Instances": [{"id",
"input", "output": [...] or "..."}]}; an instance's id may be missing. The task's name is its file's. As in the official
evaluation, the score of an answer is ROUGE-L with stemming against the nearest reference. ROUGE reads only ASCII
letters and digits, so every answer scores 0 against a reference without them.
"""

import functools
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from hasse.data.errors import SourceError
from hasse.data.settings import Config, unkeyed
from hasse.data.tables import find_files
from hasse.data.text import normalise
from hasse.pipeline.fingerprint import file_digest
from hasse.stages.evaluate.benchmarks import BenchmarkItem, Score

REFERENCES = "references"


class Settings(Config):
    benchmark: Literal["super_natural_instructions"] = "super_natural_instructions"
    path: str = unkeyed(description="A folder of JSON files in the format of Super-NaturalInstructions, or one file.")
    shots: Literal[0, 2] = Field(default=2, description="How many of the task's positive examples the prompt shows.")
    limit: int | None = Field(
        default=None, ge=1, description="Only this many instances of each task, the first; officially 100."
    )
    max_tokens: int = Field(default=128, ge=1, description="The most tokens of an answer.")


def external(settings: Settings) -> dict[str, str]:
    """File name -> sha256 of its bytes. Raises SourceError when there is no file."""
    return {path.name: file_digest(path) for path in find_files(settings.path, suffix=".json")}


def items(settings: Settings) -> list[BenchmarkItem]:
    """The instances task by task, in the order of the files' names; ids are task/instance id or task/number from 1.

    Raises SourceError that names file, row (of the instance or example, from 1) and field.
    """
    found: dict[str, BenchmarkItem] = {}
    for path in find_files(settings.path, suffix=".json"):
        for row, item in _task(path, settings):
            if item.item_id in found:
                raise SourceError(f"{item.item_id!r} is there twice", file=path, row=row, field="id")
            found[item.item_id] = item
    return list(found.values())


def score(item: BenchmarkItem, text: str) -> Score:
    """ROUGE-L F1 with stemming, 0 to 1, against the reference that gives most; every answer can be read."""
    value = max(_scorer().score(reference, text)["rougeL"].fmeasure for reference in item.data[REFERENCES])
    return Score(value=value, label=text.strip())


def summary(scored: Sequence[tuple[BenchmarkItem, Score]]) -> dict[str, float]:
    """`rouge-l <task>`, and the means over tasks `rouge-l` and `exact match`, all in %; nothing for no items.

    An answer matches exactly when its words as ROUGE sees them (lower case, no punctuation, not stemmed) are those of
    a reference; without such words on either side, when the texts are equal but for case and white space.
    """
    rouge, exact = defaultdict(list), defaultdict(list)
    for item, found in scored:
        rouge[item.task].append(found.value)
        exact[item.task].append(_is_exact(found.label or "", item.data[REFERENCES]))
    if not rouge:
        return {}
    by_task = {f"rouge-l {task}": _percent(values) for task, values in rouge.items()}
    return {
        **by_task,
        "rouge-l": sum(by_task.values()) / len(by_task),
        "exact match": sum(_percent(values) for values in exact.values()) / len(exact),
    }


def _task(path: Path, settings: Settings) -> Iterator[tuple[int, BenchmarkItem]]:
    task = _read(path)
    head = [_definition(task, path), *_examples(task, settings.shots, path)]
    for row, instance in enumerate(_list(task, "Instances", path)[: settings.limit], start=1):
        question = _text(instance, "input", path, row)
        identity = instance.get("id")
        yield (
            row,
            BenchmarkItem(
                item_id=f"{path.stem}/{row if identity in (None, '') else identity}",
                task=path.stem,
                text="\n\n".join([*head, f"Input: {question}\nOutput:"]),
                data={REFERENCES: _references(instance, path, row)},
            ),
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        task = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError(f"is not JSON ({error})", file=path) from error
    if not isinstance(task, dict):
        raise SourceError("is not a JSON object with Definition and Instances", file=path)
    return task


def _definition(task: dict[str, Any], path: Path) -> str:
    """The first of several, as in the official evaluation."""
    given = task.get("Definition")
    first = given[0] if isinstance(given, list) and given else given
    if not isinstance(first, str) or not first.strip():
        raise SourceError("is missing or empty, or is no text", file=path, field="Definition")
    return first.strip()


def _examples(task: dict[str, Any], shots: int, path: Path) -> list[str]:
    if not shots:
        return []
    given = task.get("Positive Examples") or []
    if not isinstance(given, list) or len(given) < shots:
        have = len(given) if isinstance(given, list) else "no list of"
        raise SourceError(f"has {have} examples, fewer than shots: {shots}", file=path, field="Positive Examples")
    return [
        f"Input: {_text(example, 'input', path, row, of='Positive Examples.')}\n"
        f"Output: {_text(example, 'output', path, row, of='Positive Examples.')}"
        for row, example in enumerate(given[:shots], start=1)
    ]


def _list(task: dict[str, Any], field: str, path: Path) -> list[Any]:
    given = task.get(field)
    if not isinstance(given, list) or not given:
        raise SourceError("is missing or empty, or is no list", file=path, field=field)
    return given


def _text(row: Any, field: str, path: Path, number: int, *, of: str = "") -> str:
    value = row.get(field) if isinstance(row, dict) else None
    if not isinstance(value, str):
        raise SourceError("is missing or is no text", file=path, row=number, field=of + field)
    return value.strip()


def _references(instance: dict[str, Any], path: Path, row: int) -> list[str]:
    given = instance.get("output")
    outputs = given if isinstance(given, list) else [given]
    texts = [output.strip() for output in outputs if isinstance(output, str)]
    if len(texts) < len(outputs) or not any(texts):
        raise SourceError("is missing or empty, or is neither text nor texts", file=path, row=row, field="output")
    return [text for text in texts if text]


def _percent(values: Sequence[float]) -> float:
    return 100 * sum(values) / len(values)


def _is_exact(text: str, references: Sequence[str]) -> bool:
    return any(_comparable(text) == _comparable(reference) for reference in references)


def _comparable(text: str) -> list[str] | str:
    from rouge_score.tokenize import tokenize

    return tokenize(text, None) or normalise(text)


@functools.cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=True)
