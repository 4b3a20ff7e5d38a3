"""What recipes may hold, by the core schema of YAML 1.2, and what is refused at once."""

import math

import pytest
import yaml

from hasse.data.errors import RecipeError
from hasse.flows.recipe.recipe import shipped_recipes
from hasse.pipeline.settings_file import apply_settings, read_yaml
from hasse.pipeline.yaml_text import YamlError, parse_yaml

WORDS = [
    "yes", "no", "on", "off", "y", "n", "Yes", "NO", "On", "OFF", "1:30", "190:20:30", "1_000", "0b101", "2024-05-01",
    "2024-05-01T10:00:00Z", "1e", "e5", "0o8", "1.2.3", "+", "-", ".", "True!", "nul", "=",
]  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_a_text(word):
    assert parse_yaml(f"labels: [a, {word}]") == {"labels": ["a", word]}
    assert parse_yaml(f"{word}: 1") == {word: 1}


VALUES = [
    ("012", 12), ("0o12", 10), ("0x1F", 31), ("-7", -7), ("+7", 7), ("0", 0), ("1e-5", 1e-5), ("1E5", 1e5),
    ("1.", 1.0), (".5", 0.5), ("-1.5e+3", -1500.0), ("5e-05", 5e-5), (".inf", math.inf), ("-.INF", -math.inf),
    ("true", True), ("TRUE", True), ("False", False), ("null", None), ("~", None), ("", None), ("'yes'", "yes"),
    ('"1e-5"', "1e-5"), ("!!str 1", "1"), ("!!float 1", 1.0),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_a_value_has_the_type_of_the_core_schema(text, value):
    found = parse_yaml(f"a: {text}")["a"]
    assert found == value
    assert type(found) is type(value)
    assert apply_settings({}, [f"a={text}"])["a"] == value


def test_what_yaml_1_1_and_1_2_share_stays():
    text = "base: &b {x: 1, y: [a, b]}\nc: {<<: *b, x: 2}\nd: *b\ne: |\n  two\n  lines\n"
    assert parse_yaml(text) == yaml.safe_load(text)
    for path in shipped_recipes().values():
        assert read_yaml(path) == yaml.safe_load(path.read_text()), path


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
REFUSED = {
    "laughs": (LAUGHS, "its aliases stand for"),
    "merged laughs": ("a: &a {k: 1}\n" + f"b: {{<<: [{', '.join(['*a'] * 50_000)}]}}\n", "its aliases stand for"),
    "itself": ("a: &a [*a]", "contains it"),
    "deep flow": ("[" * 100_000, "nested more than"),
    "deep block": ("\n".join(" " * i + "a:" for i in range(300)), "nested more than"),
    "binary": (b"\x00\x01\xff\xfe", "UTF-8"),
    "utf-16": ("a: 1".encode("utf-16"), "UTF-8"),
    "control": ("a: \x01", "special characters are not allowed"),
    "python": ("a: !!python/object/apply:os.system [id]", "the tag 'tag:yaml.org,2002:python"),
    "own tag": ("a: !mine 1", "the tag '!mine'"),
    "bytes": ("a: !!binary aGk=", "binary"),
    "date": ("a: !!timestamp 2024-05-01", "timestamp"),
    "twice": ("a: 1\nb: 2\na: 3", "the key 'a' stands twice, in line 1 and in line 3"),
    "twice below": ("s: {k: 1, k: 2}", "the key 'k' stands twice"),
    "list as key": ("[a]: 1", "a key must be a text"),
    "huge": ("a: " + "x" * 3_000_000, "3,000,003 characters"),
    "digits": ("a: " + "9" * 5000, "is not a number"),
    "not a number": ("a: !!int yes", "is not a number"),
    "two documents": ("a: 1\n---\nb: 2", "another document"),
    "tab": ("a:\n\t- 1", "cannot start any token"),
    "unclosed": ("a: [1, 2", "expected ',' or ']'"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.timeout(60)
def test_what_no_recipe_needs_is_refused_in_words(tmp_path, name):
    text, said = REFUSED[name]
    with pytest.raises(YamlError) as refused:
        parse_yaml(text)
    assert said in str(refused.value)
    (tmp_path / "recipe.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RecipeError, match=r"recipe\.yaml is not YAML that can be read: "):
        read_yaml(tmp_path / "recipe.yaml")
    if isinstance(text, str):
        with pytest.raises(RecipeError, match=r"--set 's=.*is not YAML that can be read: "):
            apply_settings({}, [f"s={text}"])
