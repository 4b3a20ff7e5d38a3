"""A plug is checked when it is loaded: what is misspelt, missing or takes other arguments is named."""

from types import ModuleType

import pytest

from hasse.data.errors import RecipeError
from hasse.data.settings import registry
from hasse.data.settings.plugs.check import checked
from hasse.data.settings.plugs.kinds import KINDS

KIND = {kind.word: kind for kind in KINDS}
HEAD = """
from typing import Literal
from pydantic import Field
from hasse.data.settings import Config
"""
SETTINGS = """
class Settings(Config):
    method: Literal["mine"] = "mine"
    power: float = Field(default=2.0, description="Power.")
"""
PREPARE = """
def prepare(example, settings):
    return example
"""
LOSS = """
def loss(policy, batch, settings):
    return 0.0, {}
"""
WHOLE = SETTINGS + PREPARE + LOSS


def loaded(text, word="method"):
    module = ModuleType("mine")
    module.__file__ = "/folder/mine.py"
    exec(HEAD + text, vars(module))
    return checked(module, KIND[word], "mine")


def test_a_plug_gets_what_it_leaves_out():
    method = loaded(WHOLE)
    assert (method.MIN_CANDIDATES, method.EXAMPLES, method.HEAD) == (1, "order", None)
    assert method.needs_reference(method.Settings()) is False
    assert method.resolve("settings", []) == "settings"
    assert method.step_sums(None) == {}


def test_what_a_plug_defines_stays():
    method = loaded(WHOLE + "MIN_CANDIDATES = 3\ndef step_sums(example):\n    return {'a': 1}\n")
    assert (method.MIN_CANDIDATES, method.step_sums(None)) == (3, {"a": 1})


def test_a_default_may_depend_on_what_the_plug_defines():
    text = """
class Settings(Config):
    sampler: Literal["mine"] = "mine"
    name: str = Field(default="mine", description="Name.")
NEEDS_MODEL = True
def num_candidates(settings):
    return 1
def sample(prompts, settings, model):
    yield from ()
"""
    sampler = loaded(text, "sampler")
    assert sampler.needs_model(None)
    assert sampler.questions is None, "who defines no questions asks no endpoint"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (WHOLE + "def step_sum(example):\n    return {}\n", "defines step_sum; did you mean step_sums?"),
        (WHOLE + "MIN_CANDIDATE = 2\n", "defines MIN_CANDIDATE; did you mean MIN_CANDIDATES?"),
        (SETTINGS + PREPARE + LOSS.replace("loss", "losss"), "defines losss; did you mean loss?"),
        (SETTINGS + LOSS, "does not define prepare(example, settings); MethodPlug in hasse.stages.train.methods says"),
        (
            SETTINGS + PREPARE + LOSS.replace("policy, batch", "batch, policy"),
            "loss(batch, policy, settings) should be loss(policy, batch, settings)",
        ),
        (
            SETTINGS + PREPARE + "def loss(policy, batch):\n    pass\n",
            "loss(policy, batch) should be loss(",
        ),
        (WHOLE.replace("batch, settings", "batch, settings, *, more"), "loss(policy, batch, settings) should be"),
        (SETTINGS + PREPARE + "loss = 3\n", "loss is no function; it should be loss(policy, batch, settings)"),
        (PREPARE + LOSS, "has no class Settings(Config)"),
        (WHOLE.replace('"mine"', '"other"'), 'Settings needs the field `method: Literal["mine"] = "mine"`'),
        (WHOLE.replace(', description="Power."', ""), "the setting 'power' has no description"),
    ],
)
def test_what_is_wrong_with_a_plug_is_named(text, said):
    with pytest.raises(RecipeError) as error:
        loaded(text)
    assert str(error.value).startswith("method 'mine' (file /folder/mine.py)")
    assert said in str(error.value)


TEACHER = """
class Settings(Config):
    teacher: Literal["mine"] = "mine"
    chunk_size: int = Field(default=1, description="Size.")
def judge(items, settings, task, model):
    yield from ()
"""


def test_who_asks_an_endpoint_or_repeats_takes_what_the_stage_passes():
    asks = TEACHER + "def questions(items, settings):\n    yield from ()\n"
    with pytest.raises(RecipeError, match="has questions, so judge needs the keyword argument 'payer'"):
        loaded(asks, "teacher")
    loaded(asks.replace("task, model", "task, model, *, payer"), "teacher")
    with pytest.raises(RecipeError, match="has REPEATS, so judge needs the keyword argument 'repeat'"):
        loaded(TEACHER + "REPEATS = True\n", "teacher")


def test_settings_have_the_fields_that_the_stage_reads():
    with pytest.raises(RecipeError, match="Settings needs the field 'chunk_size', as every teacher has it"):
        loaded(TEACHER.replace("chunk_size", "size"), "teacher")


@pytest.mark.parametrize("word", KIND)
def test_every_built_in_plug_passes(word):
    package = KIND[word].package
    assert registry.built_in_names(package)
    for name in registry.built_in_names(package):
        assert registry.load(package, name, kind=word).Settings is registry.settings_of(package, name)
