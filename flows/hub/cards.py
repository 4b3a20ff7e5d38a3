"""Cards of models and data sets: what they are, where they come from, how good they are, and how to load them."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq
import yaml

from hasse.flows.hub.contents import CARD, Contents, ModelToPush
from hasse.flows.hub.origin import Origin
from hasse.pipeline.store import Artifact

LINEAGE = "## Lineage"
"""The heading from which on the pushed card repeats the card that training has written."""


def model_card(model: ModelToPush, origin: Origin, repo: str, *, licence: str | None) -> str:
    row, is_adapter = model.checkpoint, model.adapter is not None
    head: dict[str, Any] = {"library_name": "peft" if is_adapter else "transformers"}
    if model.base:
        head |= {"base_model": model.base, "base_model_relation": "adapter" if is_adapter else "finetune"}
    if not model.is_reward:
        head["pipeline_tag"] = "text-generation"
    tags = ["hasse", row.method, *(["lora"] if is_adapter else [])]
    what = f"A {'LoRA adapter on' if is_adapter else 'model trained from'} {_base_in_words(model, origin)}"
    return "\n\n".join(
        [
            _front_matter({**head, "tags": tags}, licence),
            f"# {repo.rpartition('/')[2]}",
            f"{what}, by the method `{row.method}` of hasse, seed {row.seed}, {row.num_steps} optimiser steps.",
            _recipe(origin),
            f"## Results\n\n{_results(origin)}",
            f"## How to load it\n\n{_loading(model, repo)}",
            _source(origin),
            _from_training(model.contents),
        ]
    )


def tables_card(artifact: Artifact, contents: Contents, origin: Origin, repo: str, *, licence: str | None) -> str:
    manifest = artifact.manifest
    names = {file.removesuffix(".parquet"): file for file in contents.files}
    configs = [{"config_name": name, "data_files": file} for name, file in names.items()]
    schemas = {name: pq.read_schema(content) for name, content in zip(names, contents.files.values(), strict=True)}
    tables = [
        {
            "table": f"`{name}`",
            "rows by status": ", ".join(f"{n} {status}" for status, n in manifest.counts.get(name, {}).items()),
            "columns": ", ".join(f"`{column}`" for column in schemas[name].names),
        }
        for name in names
    ]
    first = next(iter(names))
    inputs = [f"* {name}: {', '.join(f'`{ref}`' for ref in refs)}" for name, refs in manifest.inputs.items()]
    lineage = "\n".join(inputs) or "* nothing of the store"
    return (
        "\n\n".join(
            [
                _front_matter({"configs": configs, "tags": ["hasse", artifact.stage]}, licence),
                f"# {repo.rpartition('/')[2]}",
                f"The tables of the step `{manifest.name}` of hasse.",
                _recipe(origin),
                f"## Tables\n\n{_table(tables)}",
                f'```python\nfrom datasets import load_dataset\n\nrows = load_dataset("{repo}", "{first}")\n```',
                _source(origin),
                f"## Lineage\n\n{lineage}\n\nThis is `{artifact.ref}` of {manifest.created}.",
                f"## Settings\n\n{_yaml(manifest.key['config'])}",
            ]
        )
        + "\n"
    )


def exported_card(contents: Contents, origin: Origin, *, licence: str | None) -> str:
    """The card that the export has written, with the licence and the recipe."""
    head, text = _parts(contents.card)
    return "\n\n".join([_front_matter(head, licence), text.strip(), _recipe(origin), _source(origin)]) + "\n"


def _front_matter(values: Mapping[str, Any], licence: str | None) -> str:
    named = {**values, **({"license": licence} if licence else {})}
    return f"---\n{yaml.safe_dump(named, sort_keys=False, allow_unicode=True).strip()}\n---"


def _parts(card: str) -> tuple[dict[str, Any], str]:
    """(front matter, text) of a card."""
    _, head, text = card.split("---\n", 2)
    return yaml.safe_load(head), text


def _base_in_words(model: ModelToPush, origin: Origin) -> str:
    if model.base:
        return f"[{model.base}](https://huggingface.co/{model.base})"
    if (origin.recipe.get("student") or {}).get("scratch"):
        return "a small student that the recipe makes from scratch"
    return f"a local model with weights `{model.checkpoint.base_weights_digest}`"


def _recipe(origin: Origin) -> str:
    description = str(origin.recipe.get("description") or "").strip()
    return f"Recipe `{origin.recipe['name']}`{f': {description}' if description else ''} (run `{origin.run_id}`)."


def _results(origin: Origin) -> str:
    if not origin.results:
        return "The run has no evaluation of this model."
    head = "Answers to held-out prompts. Accuracies in per cent and differences in points, with 95 % intervals:"
    return f"{head}\n\n{_table(origin.results)}\n\n{origin.read}".rstrip()


def _loading(model: ModelToPush, repo: str) -> str:
    auto = "AutoModelForSequenceClassification" if model.is_reward else "AutoModelForCausalLM"
    if model.adapter is None:
        code = [f"from transformers import {auto}, AutoTokenizer", "", f'model = {auto}.from_pretrained("{repo}")']
    else:
        code = [
            f"from peft import {auto.replace('AutoModel', 'AutoPeftModel')}",
            "from transformers import AutoTokenizer",
            "",
            f'model = {auto.replace("AutoModel", "AutoPeftModel")}.from_pretrained("{repo}")  # loads the base as well',
        ]
    blocks = [_code("python", [*code, f'tokenizer = AutoTokenizer.from_pretrained("{repo}")'])]
    if not model.is_reward:
        blocks += ["With vLLM:", _code("bash", [_vllm(model, repo)])]
    return "\n\n".join(blocks)


def _vllm(model: ModelToPush, repo: str) -> str:
    if model.adapter is None:
        return f"vllm serve {repo}"
    name, rank = repo.rpartition("/")[2], model.adapter.get("r", 16)
    return f"vllm serve {model.base} --enable-lora --max-lora-rank {rank} --lora-modules {name}={repo}"


def _source(origin: Origin) -> str:
    return f"## Data\n\nThe prompts come from this source:\n\n{_yaml(origin.recipe.get('source'))}"


def _from_training(contents: Contents) -> str:
    """Lineage, settings and metrics, from the card that training has written."""
    _, heading, text = contents.card.partition(LINEAGE) if CARD in contents.files else ("", "", "")
    return heading + text


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table in Markdown, without columns that are empty in all rows."""
    columns = [name for name in dict.fromkeys(key for row in rows for key in row) if any(_cell(r, name) for r in rows)]
    lines = [columns, ["--"] * len(columns), *([_cell(row, name) for name in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")


def _yaml(value: Any) -> str:
    return _code("yaml", [yaml.safe_dump(value, sort_keys=False, allow_unicode=True).strip()])


def _code(language: str, lines: Sequence[str]) -> str:
    return "\n".join([f"```{language}", *lines, "```"])
