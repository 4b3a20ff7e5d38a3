"""A recipe whose source grows from night to night."""

import json

import yaml

from hasse.flows.nightly.night import night
from hasse.flows.recipe.recipe import Recipe
from hasse.flows.run.run import walk
from hasse.pipeline.settings_file import apply_settings, validate
from hasse.pipeline.store import Store

WARM, COLD = ("red", "orange", "yellow", "pink"), ("blue", "green", "teal", "violet")
ABSURD = "train.learning_rate=30.0"

RECIPE = {
    "name": "colours",
    "task": {"labels": ["warm", "cold"]},
    "prompts": {"near_duplicate_threshold": 1.0, "fractions": {"train": 0.7, "validation": 0.0, "test": 0.3}},
    "student": {
        "scratch": {
            "vocab_size": 300,
            "hidden_size": 32,
            "num_layers": 1,
            "num_heads": 2,
            "context_length": 64,
            "optimiser": {"steps": 90, "prompts_per_step": 16, "learning_rate": 5e-3},
        }
    },
    "generate": {"groups": [{"sampler": "dataset"}, {"sampler": "transformers", "num_samples": 2, "max_tokens": 12}]},
    "judge": {"teacher": "rule"},
    "order": {"strategy": "lp"},
    "examples": {"max_length": 64},
    "train": {"steps": 60, "prompts_per_step": 16, "learning_rate": 5e-3, "arms": {"sft": {"method": "sft"}}},
    "evaluate": {"max_tokens": 12, "num_samples": 0},
    "report": {"num_resamples": 500, "num_examples": 1},
    "nightly": {"start": "latest"},
}
"""Says whether a colour is warm or cold; the student has only ever been told `warm`."""


class Silent:
    def started(self, step):
        return lambda done, total: None

    def finished(self, step, done):
        pass


def row(i, **fields):
    label, colours = ("warm", WARM) if i % 2 == 0 else ("cold", COLD)
    return {
        "text": f"thing {i} is {colours[i // 2 % 4]}",
        "label": label,
        "why": f"label: {label}",
        "split": None,
    } | fields


def append(path, rows):
    with path.open("a") as file:
        file.writelines(json.dumps(values) + "\n" for values in rows)


class Place:
    """A folder that grows, a recipe over it with these changes, and a store."""

    def __init__(self, folder, *changes):
        self.folder, self.store = folder, Store(folder / "store")
        self.rows = folder / "rows"
        self.rows.mkdir(exist_ok=True)
        fields = {"text": "text", "label": "label", "reference": "why", "split": "split"}
        source = {"kind": "jsonl", "path": str(self.rows), "fields": fields}
        self.values = apply_settings({**RECIPE, "source": source}, changes)
        (folder / "colours.yaml").write_text(yaml.safe_dump(self.values))

    def recipe(self, *changes) -> Recipe:
        return validate(Recipe, apply_settings(self.values, changes), where="colours")

    def night(self, *changes, listener=None, name=None):
        return night(self.recipe(*changes), self.store, lambda r: walk(r, self.store, listener or Silent()), name=name)
