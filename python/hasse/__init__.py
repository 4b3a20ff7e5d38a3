"""hasse takes prompts and a student model, and gives back a better student by way of partially ordered candidates.

    import hasse

    run = hasse.run("rescue-demo")                     # compute a recipe, or find its results in the store
    run.headline, run.results                          # the conclusion, and the table of results
    run.table("judge")                                 # a step's rows as a pyarrow.Table
    model, tokenizer = hasse.load_model(run.step("train/rescue/seed-0"))

    store = hasse.open_store("store")                  # a folder, or s3://bucket/prefix
    store.run("rescue-demo").sql("select correct, count(*) from judge group by 1")

Each name below is imported when it is first used, so that `import hasse` takes milliseconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hasse.data.errors import HasseError, InputError, RecipeError, WorkError
    from hasse.flows.library.compute import run
    from hasse.flows.library.models import load_model
    from hasse.flows.library.recorded import RecordedRun, RecordedStep
    from hasse.flows.library.store_reader import StoreReader, open_store
    from hasse.flows.recipe.recipe import Recipe, load_recipe

__all__ = [
    "HasseError",
    "InputError",
    "Recipe",
    "RecipeError",
    "RecordedRun",
    "RecordedStep",
    "StoreReader",
    "WorkError",
    "load_model",
    "load_recipe",
    "open_store",
    "run",
]

_MODULES = {
    "HasseError": "hasse.data.errors",
    "InputError": "hasse.data.errors",
    "Recipe": "hasse.flows.recipe.recipe",
    "RecipeError": "hasse.data.errors",
    "RecordedRun": "hasse.flows.library.recorded",
    "RecordedStep": "hasse.flows.library.recorded",
    "StoreReader": "hasse.flows.library.store_reader",
    "WorkError": "hasse.data.errors",
    "load_model": "hasse.flows.library.models",
    "load_recipe": "hasse.flows.recipe.recipe",
    "open_store": "hasse.flows.library.store_reader",
    "run": "hasse.flows.library.compute",
}
"""Name -> the module that defines it."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'hasse' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
