"""What the pages say is so: links lead somewhere, commands and settings exist, the reference is up to date."""

import re
from importlib.util import find_spec
from itertools import pairwise
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import click
import pytest
import yaml
from pydantic import BaseModel, create_model

from hasse.data.settings import Config
from hasse.flows.cli.main import cli
from hasse.flows.recipe.recipe import Recipe, shipped_recipes
from hasse.flows.recipe.reference import recipes_page
from hasse.stages.chat.settings import ChatSettings
from tests.pages import ALL, ROOT, Page

IDS = [str(page.path.relative_to(ROOT)) for page in ALL]
SETTING = re.compile(r"(?P<dotted>[a-z_]+(\.[a-z_0-9-]+)+)([:=].*)?")
FILE = re.compile(r"(data|pipeline|stages|flows|tests|docker|docs)/[\w./-]+")
MODULE = re.compile(r"hasse\.(data|pipeline|stages|flows)(\.\w+)*")
VARIABLE = re.compile(r"HASSE_[A-Z_]+")
INTERNAL = {"HASSE_UP"}
"""Variables that `hasse` sets for its own child processes."""
FILES = ("json", "jsonl", "yaml", "parquet", "md", "py", "txt")
TEXT = "\n".join(page.path.read_text() for page in ALL)


@pytest.fixture(params=ALL, ids=IDS)
def page(request) -> Page:
    return request.param


def test_the_reference_is_up_to_date():
    assert (ROOT / "docs/recipes.md").read_text() == recipes_page(), "a setting or its description changed: `make docs`"


def test_links_lead_somewhere(page):
    for link in page.links():
        name, _, anchor = link.partition("#")
        target = (page.path.parent / name).resolve() if name else page.path
        assert target.exists(), link
        assert not anchor or anchor in Page(target).anchors(), link


def test_commands_in_code_blocks_are_accepted(page):
    for arguments in page.commands():
        _parse(arguments)


def test_commands_in_sentences_exist(page):
    for words in page.words():
        name, *rest = words.split() if words.startswith("hasse ") else ("", "")
        if name:
            options = {option for parameter in _command(rest).params for option in parameter.opts}
            assert {word for word in rest if word.startswith("--")} <= options, words


def test_settings_named_in_sentences_exist(page):
    for words in page.words():
        match = SETTING.fullmatch(words)
        if (
            match
            and match["dotted"].split(".")[0] in Recipe.model_fields
            and match["dotted"].split(".")[-1] not in FILES
        ):
            assert _exists(match["dotted"]), words


def test_settings_that_commands_change_exist(page):
    for arguments in page.commands():
        for before, argument in pairwise(arguments):
            if before in ("--set", "--over"):
                assert _exists(argument.partition("=")[0]), argument


def test_pieces_of_recipes_are_accepted(page):
    if page.path.name == "extending.md":
        pytest.skip("its recipes have plugs of their own, and another test runs them")
    for block in page.code():
        values = _yaml(block)
        if isinstance(values, list) and all(isinstance(item, dict) and "sampler" in item for item in values):
            _accept({"generate": {"groups": values}})
        elif isinstance(values, dict) and set(values) == {"chat"}:
            ChatSettings.model_validate(values["chat"])
        elif isinstance(values, dict) and "name" in values and set(values) <= set(Recipe.model_fields):
            Recipe.model_validate(values)
        elif isinstance(values, dict) and set(values) <= set(Recipe.model_fields):
            _accept(values)


def test_files_and_modules_named_in_sentences_exist(page):
    for words in page.words():
        if FILE.fullmatch(words):
            assert (ROOT / words).exists(), words
        if MODULE.fullmatch(words):
            assert find_spec(words), words


def test_variables_of_the_environment_are_those_that_the_code_reads():
    sources = [path for folder in ("data", "pipeline", "stages", "flows") for path in (ROOT / folder).rglob("*.py")]
    read = {name for path in sources for name in VARIABLE.findall(path.read_text())}
    assert set(VARIABLE.findall(TEXT)) == read - INTERNAL


def test_every_recipe_is_mentioned():
    assert [name for name in shipped_recipes() if f"`{name}`" not in TEXT] == []


def test_every_command_is_shown():
    assert [name for name in cli.commands if f"hasse {name}" not in TEXT] == []


def _command(arguments: list[str]) -> click.Command:
    """The command that these arguments call."""
    found: click.Command = cli
    for name in arguments:
        if not isinstance(found, click.Group):
            break
        assert name in found.commands, f"there is no command `{name}`"
        found = found.commands[name]
    return found


def _parse(arguments: list[str]) -> None:
    """Raises UsageError for an unknown option, a missing argument or a value of the wrong type.

    `--plugin` would load files that are not there, so only its presence is checked.
    """
    command = _command(arguments)
    while "--plugin" in arguments and any("--plugin" in parameter.opts for parameter in command.params):
        at = arguments.index("--plugin")
        arguments = [*arguments[:at], *arguments[at + 2 :]]
    is_below = command.name != arguments[0]
    command.make_context(command.name, arguments[1 + is_below :])


def _exists(dotted: str) -> bool:
    """Whether some recipe has such a setting."""
    kinds: list[Any] = [Recipe]
    for part in dotted.split("."):
        kinds = [below for kind in kinds for below in _below(kind, part)]
    return bool(kinds)


def _below(kind: Any, part: str) -> list[Any]:
    """The types of what stands under that name in a value of this type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind.model_fields[part].annotation] if part in kind.model_fields else []
    if origin is Annotated:
        return _below(arguments[0], part)
    if origin in (Union, UnionType):
        return [found for argument in arguments for found in _below(argument, part)]
    if origin in (list, tuple):
        return [arguments[0]] if part.isdigit() else []
    return [arguments[1]] if origin is dict else []


def _yaml(block: str) -> Any:
    try:
        return yaml.safe_load(block)
    except yaml.YAMLError:
        return None


def _accept(values: dict[str, Any]) -> None:
    """Raises ValidationError for a section that no recipe can have."""
    fields = {name: (Recipe.model_fields[name].annotation, Recipe.model_fields[name]) for name in values}
    create_model("Part", __base__=Config, **fields).model_validate(values)  # type: ignore[call-overload]
