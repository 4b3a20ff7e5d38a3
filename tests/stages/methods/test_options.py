"""Every option of every method is part of the key of its training, so that another value trains anew."""

from typing import Any, Literal, get_args, get_origin

import pytest

from data import registry
from data.config import Config, key_of
from pipeline.fingerprint import canonical

METHODS = "stages.methods"


def options():
    for name in registry.names(METHODS):
        settings = registry.load(METHODS, name, kind="method").Settings
        for option, field in settings.model_fields.items():
            if option != "method":
                yield pytest.param(name, option, field, id=f"{name}.{option}")


def other(value: Any, annotation: Any) -> Any:
    """Another value that the option takes."""
    kinds = [annotation, *get_args(annotation)]
    choices = [c for kind in kinds if get_origin(kind) is Literal for c in get_args(kind)]
    different = [c for c in choices if c != value]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value * 2 or 1
    if isinstance(value, Config):
        return value.model_dump() | {"learning_rate": 0.123}
    if isinstance(value, list):
        return value[:1]
    if value is None:
        return 0.5
    return different[0] if different else value + "."


@pytest.mark.parametrize(("name", "option", "field"), list(options()))
def test_an_option_changes_the_key(name, option, field):
    settings = registry.load(METHODS, name, kind="method").Settings
    before = settings()
    value = other(getattr(before, option), field.annotation)
    if (name, option) == ("pit", "supervised"):
        pytest.skip("goes with an empty curriculum")
    if name == "gap_reward":
        pytest.skip("has no option")
    after = settings(**{option: value})
    assert canonical(key_of(before)) != canonical(key_of(after))


@pytest.mark.parametrize("name", registry.names(METHODS))
def test_an_option_that_does_not_exist_is_refused(name):
    with pytest.raises(ValueError, match="alhpa"):
        registry.load(METHODS, name, kind="method").Settings(alhpa=1)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("minor_sft", {"beta": -1.0}, "finite number from 0"),
        ("minor_sft", {"beta": 0.0, "form": "log_sigmoid"}, "divides by beta"),
        ("pit", {"supervised": False}, "leave curriculum empty"),
        ("pit", {"template": "{prompt}"}, "no {reference}"),
        ("pit", {"threshold": 0.0, "reward": "additive"}, "reward: gap"),
        ("tuna", {"rank_reduction": "mean"}, "mean_per_gap"),
    ],
)
def test_an_option_that_cannot_be_honoured_is_refused(name, settings, message):
    with pytest.raises(ValueError, match=message.replace("{", r"\{")):
        registry.load(METHODS, name, kind="method").Settings(**settings)
