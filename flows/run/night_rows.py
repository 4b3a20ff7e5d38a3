"""Rows that commands show of nights, and of the models that nights have promoted."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from hasse.data.errors import InputError
from hasse.data.settings import registry
from hasse.flows.run.history import read_histories, read_history
from hasse.pipeline.store import Store
from hasse.stages.models.checkpoints import model_folder

Row = dict[str, Any]


def latest_models(store: Store) -> list[Row]:
    """One row for each recipe with nights."""
    histories, problems = read_histories(store)
    found: list[Row] = [{"recipe": "broken", "nights": 0, "model": problem} for problem in problems]
    for history in histories:
        now = history.latest
        model = str(_model(store, now.checkpoint)) if now else "no model has been promoted yet"
        since = {"since": now.when, "gain": str(now.comparison)} if now else {}
        found.append({"recipe": history.recipe, "nights": len(history.nights), "model": model, **since})
    return found


def latest_model(store: Store, recipe: str, *, with_model: bool) -> Row:
    """The latest model of a recipe, with its folder, and all nights of the recipe.

    Raises InputError for a recipe without nights, and, if `with_model`, for a recipe without a promoted model.
    """
    history = read_history(store, recipe)
    if not history.nights:
        known = [h.recipe for h in read_histories(store)[0]]
        raise InputError(registry.unknown(recipe, known, kind="recipe with nights"))
    now = history.latest
    if now is None and with_model:
        raise InputError(f"no model of {recipe} has been promoted yet; last night: {history.nights[-1].reason}")
    return {
        "recipe": recipe,
        "model": str(_model(store, now.checkpoint)) if now else None,
        "latest": asdict(now) if now else None,
        "nights": [asdict(night) for night in history.nights],
    }


def night_row(night: Row) -> Row:
    """One night as a row for the terminal."""
    comparison = night["comparison"]
    return {
        "night": night["when"],
        "promoted": "yes" if night["promoted"] else "",
        "against": night["rival"],
        "gain": f"{comparison['gain']:+.1f} ({comparison['low']:+.1f} to {comparison['high']:+.1f})",
        "prompts": comparison["num_prompts"],
        "run": night["run"],
    }


def _model(store: Store, ref: str) -> Path:
    return model_folder(store.artifact(ref)).absolute()
