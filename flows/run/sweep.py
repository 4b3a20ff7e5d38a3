"""Run a recipe once for each combination of some settings. What the runs share is computed once."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from itertools import product
from pathlib import Path
from typing import Any

from hasse.data.errors import InputError
from hasse.flows.recipe.recipe import Recipe, load_recipe
from hasse.flows.run.run import Run
from hasse.pipeline.files import write_atomically
from hasse.pipeline.settings_file import apply_settings, validate
from hasse.pipeline.store import Store
from hasse.stages.report.svg import IntervalMark, colours, interval_plot

SWEEPS = "sweeps"
MAX_SEEDS = 1000


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The results of a sweep: rows with the swept settings first, and the page with the table and the plot."""

    rows: list[dict[str, Any]]
    page: Path


def axes(over: tuple[str, ...]) -> dict[str, list[str]]:
    """`a.b=x,y` -> {"a.b": ["x", "y"]}; commas inside brackets belong to a value. Raises InputError."""
    found: dict[str, list[str]] = {}
    for item in over:
        name, equals, values = item.partition("=")
        if not equals or not name or not values:
            raise InputError(f"--over {item!r}: give a setting and its values, such as order.strategy=hp,lp")
        found[name] = _split(values)
    return found


def sweep(
    recipe: str | Recipe,
    store: Store,
    run_one: Callable[[Recipe], Run],
    *,
    over: tuple[str, ...],
    assignments: list[str],
    seeds: int | None,
    admit: Callable[[Recipe], object] = lambda one: None,
) -> Sweep:
    """Run every combination, one after the other, in one store. Raises RecipeError before the first run.

    Args:
        recipe: The name of a shipped recipe, a file, or a recipe.
        run_one: Runs one recipe.
        over: Settings and their values, such as `order.strategy=hp,lp`.
        assignments: Settings that all runs share, such as `train.steps=10`.
        seeds: How many training seeds each arm has; those of the recipe if None.
        admit: Called for each recipe before the first run. Raises InputError for a recipe that may not run.
    """
    if seeds is not None and not 1 <= seeds <= MAX_SEEDS:
        raise InputError(f"seeds: {seeds:.6g} training seeds were given; a sweep takes 1 to {MAX_SEEDS}")
    swept = axes(over)
    if not swept:
        raise InputError("a sweep needs at least one --over")
    shared = [*assignments, *([f"train.seeds={json.dumps(list(range(seeds)))}"] if seeds else [])]
    combinations = [dict(zip(swept, values, strict=True)) for values in product(*swept.values())]
    recipes = [_changed(recipe, [*shared, *(f"{k}={v}" for k, v in c.items())]) for c in combinations]
    for one in recipes:
        admit(one)
    rows: list[dict[str, Any]] = []
    runs: list[tuple[dict[str, str], Run]] = []
    for combination, one in zip(combinations, recipes, strict=True):
        run = run_one(one)
        runs.append((combination, run))
        results = run.artifacts["report"].manifest.metrics["results"]
        rows += [{**combination, **row} for row in results]
    page = store.root / SWEEPS / f"{recipes[0].name}-{datetime.now(UTC):%Y%m%d-%H%M%S}.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(page, _page(recipes[0].name, swept, rows))
    store.share(page)
    return Sweep(rows=rows, page=page)


def _changed(recipe: str | Recipe, assignments: list[str]) -> Recipe:
    if isinstance(recipe, str):
        return load_recipe(recipe, assignments)
    values = apply_settings(recipe.model_dump(mode="json"), assignments)
    return validate(Recipe, values, where=f"recipe {recipe.name}")


def _split(values: str) -> list[str]:
    parts, depth = [""], 0
    for character in values:
        depth += (character in "[{") - (character in "]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _page(name: str, swept: dict[str, list[str]], rows: list[dict[str, Any]]) -> str:
    colour = colours(row["arm"] for row in rows)
    plots = []
    for decoding in dict.fromkeys(row["decoding"] for row in rows):
        marks = [
            _mark(row, list(swept), colour) for row in rows if row["decoding"] == decoding and "95 % interval" in row
        ]
        plots.append(f"<h2>{escape(decoding)} answers</h2>{interval_plot(marks) if marks else ''}")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(row.get(column, '')))}</td>" for column in columns) + "</tr>" for row in rows
    )
    what = escape("; ".join(f"{setting} = {', '.join(values)}" for setting, values in swept.items()))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(name)} sweep · hasse</title>'
        "<style>body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#1d2329}"
        "table{border-collapse:collapse;font-size:.85rem}td,th{text-align:left;padding:.3rem .8rem .3rem 0;"
        "border-bottom:1px solid #dfe3e8}svg{max-width:100%;font:12px system-ui}.grid{stroke:#dfe3e8}"
        f".axis{{fill:#5d6771;font-size:11px}}</style><h1>{escape(name)}</h1>"
        f"<p>Over {what}; accuracy, or nearness to the experts' answers where none is gold, with 95 % intervals.</p>"
        f"{''.join(plots)}<h2>Table</h2><table><tr>{head}</tr>{body}</table></html>"
    )


def _mark(row: dict[str, Any], swept: list[str], colour: Any) -> IntervalMark:
    low, high = (float(value) / 100 for value in row["95 % interval"].split(" to "))
    label = f"{row['arm']} · {', '.join(str(row[k]) for k in swept)}"
    mean = row["accuracy %"] if "accuracy %" in row else row["nearness %"]
    return IntervalMark(label=label, mean=mean / 100, low=low, high=high, colour=colour[row["arm"]])
