"""Rows that commands show of the shipped recipes and of the training methods."""

from typing import Any

from hasse.data.settings import registry
from hasse.flows.recipe.recipe import shipped_recipes
from hasse.pipeline.settings_file import read_yaml
from hasse.stages.train.settings import METHODS

Row = dict[str, Any]


def recipe_rows() -> list[Row]:
    """One row for each shipped recipe."""
    described = {name: read_yaml(path) for name, path in shipped_recipes().items()}
    return [{"recipe": name, "description": values.get("description", "")} for name, values in described.items()]


def method_rows() -> list[Row]:
    """Give one row for each method, followed by one row for each of its settings."""
    found = []
    for name in registry.names(METHODS):
        module = registry.load(METHODS, name, kind="method")
        summary = (module.__doc__ or "").strip().splitlines()[0]
        fields = module.Settings.model_fields.items()
        found.append({"method": name, "setting": "", "default": "", "description": summary})
        found += [
            {"method": name, "setting": key, "default": str(field.default), "description": field.description}
            for key, field in fields
            if key != "method"
        ]
    return found
