from typing import Annotated, Literal

import pytest
from pydantic import Field

from hasse.data.errors import RecipeError
from hasse.data.settings import Config
from hasse.pipeline.settings_file import apply_settings, read_yaml, validate


class Cat(Config):
    kind: Literal["cat"] = "cat"
    whiskers: int = 12


class Dog(Config):
    kind: Literal["dog"] = "dog"
    collar: str = "red"


class Inner(Config):
    learning_rate: float = Field(default=1e-3, gt=0)


class Model(Config):
    inner: Inner = Inner()
    pets: list[Annotated[Cat | Dog, Field(discriminator="kind")]] = Field(default=[])
    arms: dict[str, Annotated[Cat | Dog, Field(discriminator="kind")]] = Field(default={})


def message(values) -> str:
    with pytest.raises(RecipeError) as caught:
        validate(Model, values, where="recipe x")
    return str(caught.value)


def test_set_reaches_into_sections_and_lists():
    values = {"inner": {"learning_rate": 1.0}, "pets": [{"kind": "cat"}]}
    changed = apply_settings(values, ["inner.learning_rate=2e-5", "pets.0.whiskers=3", "arms.a.kind=dog"])
    assert changed == {
        "inner": {"learning_rate": 2e-5},
        "pets": [{"kind": "cat", "whiskers": 3}],
        "arms": {"a": {"kind": "dog"}},
    }
    assert values == {"inner": {"learning_rate": 1.0}, "pets": [{"kind": "cat"}]}
    assert validate(Model, changed, where="x").inner.learning_rate == 2e-5


def test_an_unknown_key_is_answered_with_the_nearest():
    text = message({"inner": {"learning_rat": 1}})
    assert "inner.learning_rat" in text
    assert "did you mean 'learning_rate'?" in text


def test_an_unknown_key_of_one_kind_is_answered_with_that_kinds_keys():
    assert "did you mean 'collar'?" in message({"arms": {"a": {"kind": "dog", "colar": "x"}}})
    assert "did you mean 'whiskers'?" in message({"pets": [{"kind": "cat", "wiskers": 1}]})


def test_a_wrong_type_names_the_key_and_quotes_the_value():
    text = message({"inner": {"learning_rate": "fast"}})
    assert "inner.learning_rate" in text
    assert "'fast'" in text


def test_an_unknown_kind_names_the_known_ones_and_the_nearest():
    text = message({"pets": [{"kind": "dgo"}]})
    assert "did you mean 'dog'?" in text
    assert "Known: cat, dog" in text


@pytest.mark.parametrize("assignment", ["a", "=1", "a.b=[1"])
def test_a_malformed_set_is_refused(assignment):
    with pytest.raises(RecipeError, match="--set"):
        apply_settings({}, [assignment])


def test_set_below_a_value_is_refused():
    with pytest.raises(RecipeError, match="which has no keys"):
        apply_settings({"a": 1}, ["a.b=2"])


@pytest.mark.parametrize(("text", "problem"), [("a: [", "not YAML"), ("- 1", "must be a mapping")])
def test_a_recipe_file_that_is_no_mapping_is_refused(tmp_path, text, problem):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(RecipeError, match=problem):
        read_yaml(tmp_path / "r.yaml")


def test_a_missing_recipe_file_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"r\.yaml cannot be read: No such file"):
        read_yaml(tmp_path / "r.yaml")
