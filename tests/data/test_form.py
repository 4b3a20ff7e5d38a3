"""The forms: every recipe fits its own, a wrong value is named by its field, and no two choices look alike."""

import copy
import json

import pytest
from jsonschema.exceptions import best_match
from jsonschema.validators import Draft202012Validator

from hasse.data.errors import RecipeError
from hasse.data.settings import registry
from hasse.flows.recipe.recipe import Recipe, load_recipe, shipped_recipes
from hasse.flows.recipe.train_section import ARMS

SCHEMA = Recipe.model_json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_recipe_fits_the_form_and_comes_back_the_same(name):
    recipe = load_recipe(name, [])
    values = json.loads(json.dumps(recipe.form_values()))
    assert best_match(VALIDATOR.iter_errors(values)) is None
    assert Recipe.model_validate(values) == recipe


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        ("train.steps", "many", "$.train.steps"),
        ("train.arms.2.method.alpha", -1, "$.train.arms[2].method.alpha"),
        ("generate.groups.1.temperature", -1, "$.generate.groups[1].temperature"),
        ("source.noise", 3, "$.source.noise"),
        ("student.scratch.hidden_size", -3, "$.student.scratch.hidden_size"),
        ("order.strategy", "lpp", "$.order"),
        ("train.steps", 2**70, "$.train.steps"),
        ("train.seeds.0", 2**53, "$.train.seeds[0]"),
        ("generate.groups.1.seed", -(2**70), "$.generate.groups[1].seed"),
        ("judge.chunk_size", 2**64, "$.judge.chunk_size"),
    ],
)
def test_a_wrong_value_is_named_by_its_field(place, value, named):
    values = copy.deepcopy(load_recipe("rescue-demo", []).form_values())
    *path, last = place.split(".")
    section = values
    for key in path:
        section = section[int(key) if isinstance(section, list) else key]
    section[int(last) if isinstance(section, list) else last] = value
    found = best_match(VALIDATOR.iter_errors(values))
    assert found is not None
    assert found.json_path == named


def integers(schema):
    """Every place for an integer that decides; what is only shown beside it does not."""
    if isinstance(schema, dict):
        if schema.get("type") == "integer" and "enum" not in schema:
            yield schema
        for key, value in schema.items():
            if key != "anyOf" or "allOf" not in schema:
                yield from integers(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from integers(value)


def unions(schema):
    """Every place with sections to choose from."""
    if isinstance(schema, dict):
        if "allOf" in schema and "anyOf" in schema:
            yield schema["anyOf"]
        for value in schema.values():
            yield from unions(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from unions(value)


def test_a_choice_is_known_by_the_keys_of_its_values():
    """No section that stands before a value's own has all of its keys."""
    found = list(unions(SCHEMA))
    assert len(found) >= 6
    for sections in found:
        keys = [set(section["properties"]) for section in sections]
        for i, own in enumerate(keys):
            assert all(len(own & other) < len(own) for other in keys[:i]), sections[i]["title"]


def test_sections_and_fields_have_titles_to_read():
    definitions = SCHEMA["$defs"]
    assert definitions["TrainSection"]["title"] == "Train"
    assert SCHEMA["properties"]["lm_eval"]["title"] == "Lm eval"
    assert "Settings" not in {definition.get("title") for definition in definitions.values()}
    missing = [f"{n}.{k}" for n, d in definitions.items() for k, f in d.get("properties", {}).items() if not f["title"]]
    assert missing == []


def test_arms_may_be_a_list_but_no_name_twice():
    arm = {"name": "a", "method": {"method": "sft"}}
    values = load_recipe("rescue-demo", ["report.baselines=[student]", "train.overrides={}"]).form_values()
    values["train"]["arms"] = [arm, {**arm, "name": "b"}]
    assert list(Recipe.model_validate(values).train.arms) == ["a", "b"]
    values["train"]["arms"] = [arm, arm]
    with pytest.raises(ValueError, match="the name 'a' is given twice"):
        Recipe.model_validate(values)
    assert ARMS.values({"a": 1}) == [{"name": "a", "method": 1}]


def test_every_method_can_be_chosen():
    named = {
        n for sections in unions(SCHEMA) for s in sections for n in s["properties"].get("method", {}).get("enum", [])
    }
    assert named == set(registry.names("hasse.stages.train.methods"))


def test_every_integer_of_every_form_has_bounds():
    """A number that JSON cannot keep makes Prefect's server fail to list any run."""
    from hasse.flows.server.deployments import FLOWS

    for flow in FLOWS:
        found = list(integers(flow.parameters.model_dump()))
        assert found, flow.name
        for field in found:
            assert {"minimum", "exclusiveMinimum"} & set(field), (flow.name, field)
            assert {"maximum", "exclusiveMaximum"} & set(field), (flow.name, field)


def test_an_integer_that_json_cannot_keep_is_refused_wherever_it_stands():
    with pytest.raises(RecipeError, match=r"train\.seeds\.0: Input should be less than or equal to 4294967295"):
        load_recipe("rescue-demo", [f"train.seeds=[{2**70}]"])
