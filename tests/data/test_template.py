"""Names in braces stand for texts; nothing else in braces does anything."""

import pytest

from hasse.data.template import check_placeholders, fill
from hasse.stages.evaluate.settings import EvaluateSection
from hasse.stages.examples.from_feedback import FeedbackExamplesSettings
from hasse.stages.train.methods import pit


def test_names_are_replaced_and_the_texts_are_not_read_again():
    assert fill("{a} and {b}: {{a}}", {"a": "{b}", "b": "1"}) == "{b} and 1: {a}"
    assert fill("{a.b}{a b}", {"a.b": "x", "a b": "y"}) == "xy"


@pytest.mark.parametrize(
    "template",
    ["{prompt.__class__}", "{prompt[0]}", "{prompt!r}", "{prompt:>999999999}", "{}", "{0}", "{prompt", "}", "{other}"],
)
def test_what_is_no_name_is_refused(template):
    with pytest.raises(ValueError, match="the template"):
        fill(template, {"prompt": "a"})
    with pytest.raises(ValueError, match="the template"):
        check_placeholders("{prompt}" + template, ("prompt",))


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        (EvaluateSection, "revise_template"),
        (FeedbackExamplesSettings, "template"),
        (pit.Settings, "template"),
    ],
)
def test_settings_refuse_such_templates(settings, field):
    text = settings.model_fields[field].default
    assert getattr(settings(**{field: text + "!"}), field) == text + "!"
    for attack in ("{prompt.__init__}", "{prompt!r}", "{nothing}", "{"):
        with pytest.raises(ValueError, match="the template"):
            settings(**{field: text + attack})
