"""Write orders as a data set that other trainers read: a folder for `datasets.load_dataset`, with a card."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from hasse.data.errors import InputError
from hasse.data.joins import join
from hasse.data.records import Candidate, PartialOrder, Prompt
from hasse.data.rendering import asked_turns, prompt_as_text
from hasse.data.tables import Row, write_rows
from hasse.pipeline.store import Artifact, Store

OrderedPrompt = tuple[Prompt, dict[str, str], PartialOrder]
"""(prompt, candidate_id -> text, order)"""


def preferences(item: OrderedPrompt) -> Iterator[Row]:
    """TRL's preference format: one row for every ordered pair."""
    prompt, text, order = item
    for pair in order.pairs:
        chosen, rejected = (_answer(prompt, text[i]) for i in (pair.above, pair.below))
        yield {**_prompt(prompt), "chosen": chosen, "rejected": rejected}


def prompt_completion(item: OrderedPrompt) -> Iterator[Row]:
    """TRL's prompt-completion format: one row for the target of the order."""
    prompt, text, order = item
    if order.target is not None:
        yield {**_prompt(prompt), "completion": _answer(prompt, text[order.target])}


def ranked(item: OrderedPrompt) -> Iterator[Row]:
    """One row for each prompt: its candidates, their levels, and the pairs as positions among the candidates."""
    prompt, text, order = item
    place = {candidate_id: i for i, candidate_id in enumerate(order.candidate_ids)}
    yield {
        **_prompt(prompt),
        "completions": [text[i] for i in order.candidate_ids],
        "levels": list(order.levels),
        "pairs": [[place[pair.above], place[pair.below]] for pair in order.pairs],
    }


def kto(item: OrderedPrompt) -> Iterator[Row]:
    """TRL's unpaired format: an answer above another and below none is good; the reverse is bad."""
    prompt, text, order = item
    above, below = {pair.above for pair in order.pairs}, {pair.below for pair in order.pairs}
    for candidate_id in order.candidate_ids:
        if (candidate_id in above) != (candidate_id in below):
            yield {**_prompt(prompt), "completion": _answer(prompt, text[candidate_id]), "label": candidate_id in above}


FORMATS: dict[str, Callable[[OrderedPrompt], Iterator[Row]]] = {
    "trl-preference": preferences,
    "trl-prompt-completion": prompt_completion,
    "ranked": ranked,
    "kto": kto,
}


def export(store: Store, orders: Artifact, folder: Path, *, kind: str) -> int:
    """Write the folder, sorted by prompt_id, and return the number of rows. Raises InputError without a row."""
    inputs = orders.manifest.inputs
    prompts = (p for p in store.resolve(inputs["prompts"][0]).records(Prompt) if p.status == "ok")
    candidates = store.resolve(inputs["candidates"][0]).records(Candidate)
    rows = [
        row
        for prompt, answers, order in join(prompts, candidates, orders.records(PartialOrder))
        if order
        for row in FORMATS[kind]((prompt, {c.candidate_id: c.text for c in answers}, order[0]))
    ]
    if not rows:
        raise InputError(f"{orders.ref} has no row for the format {kind}; `hasse show` counts its orders by status")
    (folder / "data").mkdir(parents=True, exist_ok=True)
    write_rows(folder / "data" / "train.parquet", rows)
    (folder / "README.md").write_text(_card(orders, kind, len(rows), rows[0]), encoding="utf-8")
    return len(rows)


def _prompt(prompt: Prompt) -> Row:
    if prompt.messages or prompt.demonstrations:
        return {"prompt": [{"role": m.role, "content": m.content} for m in asked_turns(prompt)]}
    return {"prompt": prompt_as_text(prompt)}


def _answer(prompt: Prompt, text: str) -> Any:
    return [{"role": "assistant", "content": text}] if prompt.messages or prompt.demonstrations else text


def _card(orders: Artifact, kind: str, num_rows: int, example: Row) -> str:
    head = {
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train.parquet"}]}],
        "tags": ["preference", "partial-order"],
    }
    manifest = orders.manifest
    return f"""---
{yaml.safe_dump(head, sort_keys=False).strip()}
---
# Candidate answers in a partial order

{num_rows} rows in the format `{kind}`, from the orders `{orders.ref}` of {manifest.created}.

Settings of the ordering: `{json.dumps(manifest.key["config"])}`

Made from: {", ".join(f"{name} `{refs[0]}`" for name, refs in manifest.inputs.items())}

An example:

```json
{json.dumps(example, indent=1, ensure_ascii=False)}
```
"""
