"""How teachers are run: of several judges, what any of them needs."""

import inspect

import pytest
from pydantic import TypeAdapter

from hasse.data.settings import registry
from hasse.stages.judge import traits
from hasse.stages.judge.stage import Teacher

CHAT = {"teacher": "openai", "chat": {"model": "judge"}}
REWARD = {"teacher": "reward_model", "model": "somewhere"}


def settings(**values):
    return TypeAdapter(Teacher).validate_python(values)


def several(**judges):
    return settings(teacher="several", judges=judges)


@pytest.mark.parametrize(
    ("given", "model", "child", "repeats"),
    [
        (settings(teacher="rule"), False, False, False),
        (settings(**REWARD), False, True, False),
        (settings(**CHAT), False, False, True),
        (settings(teacher="logprob"), True, True, False),
        (settings(teacher="transformers"), True, True, True),
        (several(a={"teacher": "rule"}, b=REWARD), False, True, False),
        (several(a=CHAT, b={"teacher": "logprob"}), True, True, True),
        (several(a=CHAT, b={"teacher": "rule"}), False, False, True),
    ],
)
def test_several_need_what_any_of_them_needs(given, model, child, repeats):
    assert (traits.needs_model(given), traits.in_child(given), traits.repeats(given)) == (model, child, repeats)


def test_the_code_and_the_files_of_each_judge_enter_the_key():
    both = several(a=CHAT, b={**CHAT, "mode": "ranking"})
    alone, ranking = settings(**CHAT), settings(**CHAT, mode="ranking")
    assert set(traits.plugs(alone)) | {"hasse.stages.judge.teachers.several"} <= set(traits.plugs(both))
    found = traits.external(both)
    assert found == {
        "a/template": traits.external(alone)["template"],
        "b/template": traits.external(ranking)["template"],
    }
    assert found["a/template"] != found["b/template"]


def test_a_teacher_that_may_be_asked_again_is_told_how_often():
    for name in registry.names(traits.TEACHERS):
        module = registry.load(traits.TEACHERS, name, kind="teacher")
        if name != "several":
            assert ("repeat" in inspect.signature(module.judge).parameters) == getattr(module, "REPEATS", False), name
