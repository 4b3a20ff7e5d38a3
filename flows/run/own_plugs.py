"""The plugs from outside that a run uses: they are recorded with the run, and looked for before it is resumed."""

from collections.abc import Iterator
from typing import Any

from hasse.data.errors import RecipeError
from hasse.data.settings.plugs.outside import VARIABLE, outside_plugs
from hasse.flows.recipe.recipe import Recipe

PLUGS = "plugs"
"""The field of a run's record."""


def plugs_of(recipe: Recipe) -> list[dict[str, str]]:
    """[{kind, name, from}] of the plugs from outside that the recipe's settings name."""
    sections = list(_sections(recipe.model_dump(mode="json")))
    return [
        {"kind": plug.kind.word, "name": plug.name, "from": plug.named}
        for plug in outside_plugs()
        if any(section.get(plug.kind.tag) == plug.name for section in sections)
    ]


def check_plugs(run: dict[str, Any]) -> None:
    """Raises RecipeError where a plug that a recorded run used is not loaded now."""
    here = {(plug.kind.word, plug.name) for plug in outside_plugs()}
    missing = [plug for plug in run.get(PLUGS, []) if (plug["kind"], plug["name"]) not in here]
    if missing:
        named = ", ".join(f"the {plug['kind']} {plug['name']!r} from {plug['from']}" for plug in missing)
        raise RecipeError(
            f"run {run['run_id']} used {named}, not loaded now; name it by --plugin or {VARIABLE}, or install the "
            "distribution with its entry point"
        )


def _sections(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _sections(part)
