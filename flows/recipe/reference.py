"""The reference page of all settings, in Markdown, made from the settings models and their descriptions."""

import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hasse.data.field_mapping import TableSettings
from hasse.data.settings.form import MAX_SEED, tag_of
from hasse.flows.recipe.recipe import Recipe, shipped_recipes
from hasse.pipeline.settings_file import models_in, read_yaml
from hasse.stages.chat.settings import ChatSettings
from hasse.stages.generate.answers import AnswerSettings
from hasse.stages.judge.local_panel import LocalChatSettings
from hasse.stages.judge.panel_settings import PanelSettings
from hasse.stages.models.vllm_engine import EngineSettings
from hasse.stages.train.optimiser import OptimiserSettings

Model = type[BaseModel]

HEAD = """\
# Recipes: every section and setting

A recipe is one YAML file with the sections below. [Your own data](your-data.md) shows how to write a first one.
`--set train.learning_rate=1e-5` changes one setting. Entries of a list are counted from 0:
`--set generate.groups.1.num_samples=8`.

A setting marked \\* is not part of the cache key: changing it computes nothing anew. Files and models that such a
setting names count by their content. A setting whose default is empty may be left out.

`hasse recipes --reference` prints this page from the descriptions of the settings, and `make docs` writes it.
"""
SHARED: dict[str, Model] = {
    "Tables": TableSettings,
    "Answers of a model": AnswerSettings,
    "Chat endpoint": ChatSettings,
    "vLLM engine": EngineSettings,
    "Panel": PanelSettings,
    "Panel of a local model": LocalChatSettings,
}
"""Heading -> settings that several sections have in common."""
WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}
SIGNS = {Ge: ("ge", "≥"), Gt: ("gt", ">"), Le: ("le", "≤"), Lt: ("lt", "<")}
MOST_LETTERS = 60
"""Of a default value."""


def recipes_page() -> str:
    """The whole page."""
    return _Page().text()


class _Page:
    """headings: settings model -> the heading under which its table stands."""

    def __init__(self) -> None:
        self.headings: dict[Model, str] = {OptimiserSettings: "train"} | {m: name for name, m in SHARED.items()}
        self.chapters = {name: field for name, field in Recipe.model_fields.items() if models_in(field.annotation)}
        for name, field in self.chapters.items():
            for model in models_in(field.annotation):
                self.headings.setdefault(model, _plug_heading(model) or name)

    def text(self) -> str:
        plain = {name: field for name, field in Recipe.model_fields.items() if name not in self.chapters}
        contents = [*self.chapters, "Shared settings"]
        lines = [HEAD, f"Sections: {', '.join(f'[{name}](#{anchor(name)})' for name in contents)}.", ""]
        lines += ["## Recipes that come with hasse", "", *_shipped()]
        lines += ["## Settings of the recipe itself", "", *self._table(plain)]
        for name, field in self.chapters.items():
            lines += [f"## {name}", "", *self._chapter(name, field)]
        lines += ["## Shared settings", ""]
        for name, model in SHARED.items():
            lines += [f"### {name}", "", *self._section(model, name)]
        return "\n".join(lines).rstrip() + "\n"

    def _chapter(self, name: str, field: FieldInfo) -> Iterator[str]:
        models = models_in(field.annotation)
        if field.description:
            yield from (_safe(field.description), "")
        if len(models) > 1:
            yield from self._sections(models)
        elif self.headings[models[0]] != name:
            yield from (f"Settings as in {self._link(models[0])}.", "")
        else:
            yield from self._section(models[0], name)

    def _section(self, model: Model, name: str) -> Iterator[str]:
        """Write the section of a settings model: its text, its table, and models below it without a table so far."""
        bases = self._bases(model, name)
        own = {field: info for field, info in model.model_fields.items() if _is_own(field, info, model, bases)}
        below = self._claimed(own, name)
        if about := _about(model):
            yield from (about, "")
        if own:
            yield from self._table(own)
        if bases:
            yield from (f"{'And all' if own else 'All'} settings of {' and '.join(map(self._link, bases))}.", "")
        elif not own:
            yield from ("No settings.", "")
        yield from self._sections(below)

    def _bases(self, model: Model, name: str) -> list[Model]:
        """The nearest base classes that have a table of their own."""
        found = [base for base in self.headings if base in model.__mro__[1:] and self.headings[base] != name]
        return [base for base in found if not any(base in other.__mro__[1:] for other in found)]

    def _sections(self, models: list[Model]) -> Iterator[str]:
        for model in models:
            yield from (f"### {self.headings[model]}", "", *self._section(model, self.headings[model]))

    def _claimed(self, fields: dict[str, FieldInfo], name: str) -> list[Model]:
        """The models of these fields that had no heading and have one now."""
        found = []
        for field, info in fields.items():
            for model in map(_plain, models_in(info.annotation)):
                if model not in self.headings:
                    self.headings[model] = _plug_heading(model) or f"{name}.{field}"
                    found.append(model)
        return found

    def _table(self, fields: dict[str, FieldInfo]) -> Iterator[str]:
        yield from ("| setting | value | default | meaning |", "|--|--|--|--|")
        for name, field in fields.items():
            extra = field.json_schema_extra
            mark = " \\*" if isinstance(extra, dict) and extra.get("unkeyed") else ""
            cells = [f"`{name}`{mark}", self._value(field), _default(field), _safe(field.description or "")]
            yield f"| {' | '.join(cells)} |"
        yield ""

    def _value(self, field: FieldInfo) -> str:
        """Describe the values that a setting takes, with links to the tables of settings below it."""
        if models := dict.fromkeys(map(_plain, models_in(field.annotation))):
            return ", ".join(map(self._link, models))
        return f"{_words(field.annotation)}{_bounds(field.metadata)}"

    def _link(self, model: Model) -> str:
        heading = self.headings[model]
        return f"[{heading}](#{anchor(heading)})"


def _shipped() -> Iterator[str]:
    yield from ("| recipe | what it does |", "|--|--|")
    for name, path in shipped_recipes().items():
        yield f"| `{name}` | {_safe(read_yaml(path).get('description', ''))} |"
    yield ""


def anchor(heading: str) -> str:
    """The name that Markdown pages give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _plug_heading(model: Model) -> str | None:
    """`sampler: vllm`, as a recipe has it; None for settings that are no plug's."""
    tag = tag_of(model)
    return f"{tag[0]}: {tag[1]}" if tag else None


def _plain(model: Model) -> Model:
    """The plug's settings for a plug with a further field, such as a weight."""
    base = model.__base__
    is_plug = tag_of(model) is not None and isinstance(base, type) and issubclass(base, BaseModel)
    return base if is_plug and tag_of(base) == tag_of(model) else model  # type: ignore[return-value]


def _is_own(name: str, field: FieldInfo, model: Model, bases: list[Model]) -> bool:
    """Whether the field is neither the one that names the plug nor as one of the bases has it."""
    tag = tag_of(model)
    return name != (tag and tag[0]) and not any(
        name in base.model_fields and repr(base.model_fields[name]) == repr(field) for base in bases
    )


def _about(model: Model) -> str:
    """The first paragraph of the plug's module, or of the class."""
    text = sys.modules[model.__module__].__doc__ if tag_of(model) else model.__doc__
    return _safe(" ".join(inspect.cleandoc(text or "").split("\n\n")[0].split()))


def _words(annotation: Any) -> str:
    """The type in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(arguments[0]) + _bounds([b for a in arguments[1:] for b in getattr(a, "metadata", [a])])
    if origin is Literal:
        return " or ".join(f"`{argument}`" for argument in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_words(argument) for argument in arguments if argument is not NoneType)
    if origin is tuple and Ellipsis not in arguments:
        return f"list of {len(arguments)}: {', '.join(map(_words, arguments))}"
    if origin in (list, tuple):
        return f"list: {_words(arguments[0])}"
    if origin is dict:
        return f"mapping to {_words(arguments[1])}"
    return WORDS.get(annotation, "any value")


def _bounds(metadata: list[Any]) -> str:
    signs = {SIGNS[type(m)][1]: getattr(m, SIGNS[type(m)][0]) for m in metadata if type(m) in SIGNS}
    shown = [f"{sign} {bound:g}" for sign, bound in signs.items() if bound != MAX_SEED]
    return f" {', '.join(shown)}" if shown else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)  # type: ignore[call-arg]
    if value is None or isinstance(value, BaseModel) or value in ((), [], {}):
        return ""
    if isinstance(value, tuple):
        value = [getattr(item, "name", item) for item in value]
    text = value if isinstance(value, str) and value and value.isprintable() else json.dumps(value, ensure_ascii=False)
    return f"`{text if len(text) <= MOST_LETTERS else text[: MOST_LETTERS - 1] + '…'}`".replace("|", "\\|")


def _safe(text: str) -> str:
    """Text that neither breaks a table's cell nor is taken for HTML."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
