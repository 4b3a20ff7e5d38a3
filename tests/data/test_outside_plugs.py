"""Plugs from outside: named by HASSE_PLUGINS, found without being executed, loaded once, in the keys."""

import importlib
import os
import sys

import pytest

from hasse.data.errors import RecipeError
from hasse.data.settings import registry
from hasse.data.settings.plugs.outside import VARIABLE, add, outside_plugs
from hasse.pipeline.code import code_digests, modules_behind

ORDERS = "hasse.stages.order.strategies"

STRATEGY = '''"""Longer answers first."""
from typing import Literal
from hasse.stages.order.judged import StrategySettings
from hasse.stages.order.partial_order import from_levels

class Settings(StrategySettings):
    strategy: Literal["{name}"] = "{name}"

def orders(items, settings):
    for prompt, judged in items:
        lengths = {{candidate.candidate_id: len(candidate.text) for candidate, _ in judged}}
        yield from_levels(prompt.prompt_id, lengths, humans=[], good=0.0, strategy="{name}")
'''


@pytest.fixture
def named(monkeypatch):
    """Sets HASSE_PLUGINS for one test, as in a process that has loaded no plugs yet."""

    def name(*plugs):
        monkeypatch.setenv(VARIABLE, os.pathsep.join(map(str, plugs)))
        outside_plugs.cache_clear()

    yield name
    outside_plugs.cache_clear()


def written(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_file_is_a_plug_of_the_kind_and_name_that_its_settings_state(tmp_path, named):
    named(written(tmp_path / "any file.py", STRATEGY.format(name="longest")))
    assert "longest" in registry.names(ORDERS)
    module = registry.load(ORDERS, "longest", kind="strategy")
    assert module.Settings().strategy == "longest"
    assert importlib.import_module(module.Settings.__module__) is module, "a child process unpickles its settings"
    assert "lp" in registry.names(ORDERS), "the built-in plugs stay"
    assert "longest" not in registry.names("hasse.stages.judge.teachers")


def test_a_module_is_a_plug_under_its_own_name(tmp_path, named, monkeypatch):
    written(tmp_path / "acme/__init__.py", "raise RuntimeError('nothing is executed to find out the kind')")
    written(tmp_path / "acme/orders.py", STRATEGY.format(name="acme_longest"))
    monkeypatch.syspath_prepend(tmp_path)
    named("acme.orders")
    assert registry.module_name(ORDERS, "acme_longest") == "acme.orders"


def test_nothing_is_executed_before_a_plug_is_used(tmp_path, named):
    named(written(tmp_path / "plug.py", STRATEGY.format(name="raises") + "\nraise KeyError('at import')\n"))
    assert "raises" in registry.names(ORDERS)
    with pytest.raises(RecipeError, match=r"strategy 'raises' \(.*plug.py\) cannot be imported: KeyError: 'at import'"):
        registry.load(ORDERS, "raises", kind="strategy")


def test_the_name_of_a_built_in_plug_is_refused_naming_both(tmp_path, named):
    named(written(tmp_path / "mine.py", STRATEGY.format(name="lp")))
    with pytest.raises(RecipeError, match=r"strategy 'lp' \(.*mine.py\) has the name of the built-in .*strategies.lp"):
        registry.names(ORDERS)


def test_a_name_that_two_files_have_is_refused_naming_both(tmp_path, named):
    named(*(written(tmp_path / f"{name}.py", STRATEGY.format(name="twin")) for name in ("first", "second")))
    with pytest.raises(RecipeError, match=r"two plugs have the same name: .*first.py\) and .*second.py"):
        registry.names(ORDERS)


def test_the_same_file_named_twice_is_one_plug(tmp_path, named):
    path = written(tmp_path / "once.py", STRATEGY.format(name="once"))
    named(path, path)
    assert registry.names(ORDERS).count("once") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1", "no field to say of which kind it is"),
        ("class Settings:\n    method: str = 'a'", "no field to say"),
        (
            "class Settings:\n    method: Literal['a']\n    teacher: Literal['a']",
            "the fields method, teacher",
        ),
        ("class Settings:\n    method: Literal['A b'] = 'A b'", "the name 'A b' is not lower-case"),
        ("class Settings(:", "is not a Python file that can be read"),
        ("import beside\nclass Settings:\n    method: Literal['a'] = 'a'", "imports beside from beside it"),
    ],
)
def test_a_file_that_is_no_plug_says_what_is_missing(tmp_path, named, text, said):
    written(tmp_path / "beside.py", "")
    named(written(tmp_path / "plug.py", text))
    with pytest.raises(RecipeError, match=said):
        registry.names(ORDERS)


@pytest.mark.parametrize("name", ["/nowhere/plug.py", "no_such_module_at_all", "json"])
def test_a_plug_that_is_not_there_is_refused(named, name):
    named(name)
    with pytest.raises(RecipeError, match=f"plug {name}: "):
        registry.names(ORDERS)


def test_plugs_are_added_before_they_are_loaded_and_not_after(tmp_path, named, monkeypatch):
    named()
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "late.py", STRATEGY.format(name="late"))
    add(["late.py"])
    assert os.environ[VARIABLE] == str(tmp_path / "late.py"), "a child may have another working directory"
    assert "late" in registry.names(ORDERS)
    with pytest.raises(RecipeError, match="plugs were loaded before other"):
        add(["other.py"])


def test_the_keys_hold_a_plug_its_package_and_what_it_uses_of_hasse(tmp_path, named, monkeypatch):
    written(tmp_path / "apex/__init__.py", "")
    written(tmp_path / "apex/sub/__init__.py", "")
    text = "from .sub import lengths\nfrom . import spare\nimport numpy\n" + STRATEGY.format(name="apex")
    written(tmp_path / "apex/plug.py", text)
    written(tmp_path / "apex/sub/lengths.py", "from ..more import A")
    for name in ("spare", "more", "unused"):
        written(tmp_path / f"apex/{name}.py", "A = 1")
    monkeypatch.syspath_prepend(tmp_path)
    named("apex.plug")
    found = modules_behind(registry.modules(ORDERS, "apex"))
    assert {"apex.plug", "apex.sub.lengths", "apex.spare", "apex.more", "hasse.stages.order.partial_order"} <= found
    assert not {name for name in found if name.startswith("numpy")} | {"apex.unused"} & found
    assert set(code_digests(found)) == found


def test_the_key_of_a_file_changes_with_its_code_and_not_with_its_place(tmp_path, named):
    digests = []
    for folder, more in (("a", ""), ("b", ""), ("c", "\nCHANGED = 1")):
        named(written(tmp_path / folder / f"{folder}.py", STRATEGY.format(name="moving") + more))
        registry._imported.cache_clear()
        sys.modules.pop("hasse.data.settings.plugs.outside.strategy_moving", None)
        from hasse.pipeline import code

        code._path.cache_clear()
        digests.append(code_digests(registry.modules(ORDERS, "moving")))
    assert digests[0] == digests[1] != digests[2]
