"""Which modules of the project a stage imports, and which of these need not be in its key."""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
LAYERS = ("data", "pipeline", "stages", "flows")

KEPT = "it reads, keeps and passes on what a stage computes; a mend that changes results raises the stage's version"
SAID = "its settings are in the key by their values"
SENT = "it carries questions and replies; `chat_request` and `chat_reply` decide what is asked and what is read"
MONEY = "it counts and limits what is paid; an answer does not depend on it"
WHERE = "it decides in which processes and in how much memory work is done; results agree up to rounding"

EXEMPT = {
    "data.settings": SAID,
    "data.settings.form": SAID,
    "data.settings.registry": "it finds a plug by its name; the plug's own module is in the key",
    "data.errors": "it names errors",
    "data.parquet": KEPT,
    "data.records": "another field is another version of the record, with a migration",
    "data.schema": KEPT,
    "stages.chat.ask": SENT,
    "stages.chat.batch_api": SENT,
    "stages.chat.batch_files": SENT,
    "stages.chat.batches": SENT,
    "stages.chat.cache.replies": SENT,
    "stages.chat.conversations": SENT,
    "stages.chat.http.endpoint": SENT,
    "stages.chat.http.headers": SENT,
    "stages.chat.http.limits": SENT,
    "stages.chat.event_loop": SENT,
    "stages.chat.one_by_one": SENT,
    "stages.chat.settings": SAID,
    "stages.chat.money.budget": MONEY,
    "stages.chat.money.estimate": MONEY,
    "stages.chat.money.prices": MONEY,
    "stages.chat.money.spending": MONEY,
    "stages.train.distributed.accelerate_config": WHERE,
    "stages.train.distributed.machines": WHERE,
    "stages.train.distributed.launcher": WHERE,
    "stages.models.this_process": WHERE,
    "stages.train.memory": WHERE,
    "stages.train.passes": WHERE,
    "stages.train.throughput": "it measures how fast training is",
    "stages.generate.stage > stages.models.vllm_engine": "it ends the engines; samplers that ask them name the module",
    "stages.generate.answers > stages.models.vllm_engine": "its settings are in the key by their values",
}
"""Module, or `importer > module` where that import alone is exempt -> the reason."""

PASSED_ON = {"stages.chat.ask"}
"""Exempt modules through which others import names of modules that decide: these count as imported."""


def missing(modules: Iterable[str], *, beside: Iterable[str] = ()) -> dict[str, str]:
    """Module that decides a result of these modules but is not among them -> the module that imports it.

    beside: modules that are not looked for, since they decide something else (no row, but what is made of all rows).
    """
    named, beside = set(modules), set(beside)
    seen: set[str] = set()
    found: dict[str, str] = {}
    todo = sorted(named)
    while todo:
        importer = todo.pop()
        seen.add(importer)
        for module in sorted(_imported(importer) - seen - (beside - named)):
            if not _is_exempt(importer, module):
                found |= {} if module in named else {module: importer}
                todo.append(module)
            elif module in PASSED_ON:
                todo.append(module)
    return found


def _is_exempt(importer: str, module: str) -> bool:
    """Everything of `pipeline` keeps what a stage computes."""
    is_empty_package = _path(module).name == "__init__.py" and not _imported(module)
    return module.startswith("pipeline.") or module in EXEMPT or f"{importer} > {module}" in EXEMPT or is_empty_package


@cache
def _imported(module: str) -> frozenset[str]:
    """The modules of the project that it imports, at its top or in a function, but not for annotations alone."""
    return frozenset(_imports(ast.parse(_path(module).read_text(encoding="utf-8"))))


def _imports(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if is_module(alias.name))
    elif isinstance(node, ast.ImportFrom) and is_module(node.module or ""):
        parts = (f"{node.module}.{alias.name}" for alias in node.names)
        yield from (part if is_module(part) else str(node.module) for part in parts)
    for child in ast.iter_child_nodes(node):
        yield from _imports(child)


def is_module(name: str) -> bool:
    """Whether the project has a module of that name."""
    return name.partition(".")[0] in LAYERS and _path(name).exists()


def _path(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
