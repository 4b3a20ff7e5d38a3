"""The recipe, and how it is loaded."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import model_validator

from hasse.data.errors import RecipeError
from hasse.data.settings import registry
from hasse.data.settings.addresses import check_addresses
from hasse.flows.recipe.checks import check
from hasse.flows.recipe.sections import RecipeSections
from hasse.pipeline.settings_file import apply_settings, read_yaml, validate


class Recipe(RecipeSections):
    """Prompts and a student in, a better student and a report out."""

    @model_validator(mode="before")
    @classmethod
    def _holds_no_secrets(cls, values: Any) -> Any:
        """Refuse passwords in addresses, since the recipe is stored with every run."""
        check_addresses(values)
        return values

    @model_validator(mode="after")
    def _sections_agree(self) -> "Recipe":
        check(self)
        return self


def load_recipe(
    recipe: "str | Path | Mapping[str, Any] | Recipe", changes: Sequence[str] | Mapping[str, Any] = ()
) -> Recipe:
    """Load a recipe and change some of its settings. Raises RecipeError.

    recipe: the name of a shipped recipe, the path of a YAML file, its content, or a Recipe.
    changes: each as "a.b=c", where c is read as YAML; or dotted name -> value.
    """
    if isinstance(recipe, Recipe):
        values, where = recipe.model_dump(mode="json"), f"recipe {recipe.name}"
    elif isinstance(recipe, Mapping):
        values, where = dict(recipe), f"recipe {recipe.get('name', 'without a name')}"
    else:
        values, where = read_yaml(recipe_path(str(recipe))), f"recipe {recipe}"
    return validate(Recipe, apply_settings(values, changes), where=where)


def recipe_path(name: str) -> Path:
    """The file of a shipped recipe, or the path itself. Raises RecipeError if the name is neither."""
    path = shipped_recipes().get(name) or Path(name)
    if path.suffix not in (".yaml", ".yml"):
        raise RecipeError(registry.unknown(name, sorted(shipped_recipes()), kind="recipe"))
    return path


def shipped_recipes() -> dict[str, Path]:
    """Name -> file of every shipped recipe."""
    folder = Path(str(files("hasse.flows"))) / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
