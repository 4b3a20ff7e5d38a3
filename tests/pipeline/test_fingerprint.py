import json

import pytest

from hasse.pipeline.fingerprint import canonical, differences, digest, model_digests, text_digest


def test_canonical_json_does_not_depend_on_the_order_of_keys():
    assert canonical({"b": 1, "a": [1.5, None]}) == canonical({"a": [1.5, None], "b": 1}) == b'{"a":[1.5,null],"b":1}'


def test_nan_has_no_canonical_form():
    with pytest.raises(ValueError, match="JSON"):
        digest({"a": float("nan")})


def test_text_digest_tells_where_a_part_ends():
    assert text_digest("ab", "c") != text_digest("a", "bc")
    assert text_digest("ab") != text_digest("ab", "")


@pytest.fixture
def model(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>", "chat_template": "one"}))
    return tmp_path


def _changed(model, change):
    before = model_digests(model)
    change()
    after = model_digests(model)
    return {part for part in before if before[part] != after[part]}


def test_a_model_has_three_identities_that_change_alone(model):
    assert _changed(model, lambda: (model / "model.safetensors").write_bytes(b"other")) == {"weights"}
    assert _changed(model, lambda: (model / "tokenizer.json").write_text('{"a": 1}')) == {"tokenizer"}
    inline = json.dumps({"eos_token": "</s>", "chat_template": "two"})
    assert _changed(model, lambda: (model / "tokenizer_config.json").write_text(inline)) == {"template"}
    assert _changed(model, lambda: (model / "chat_template.jinja").write_text("three")) == {"template"}


def test_differences_name_the_leaf():
    left = {"config": {"alpha": 0.1, "margin": 0}, "stage": "train"}
    right = {"config": {"alpha": 0.2, "margin": 0}, "stage": "train", "code": "x"}
    assert differences(left, right) == [("code", None, "x"), ("config.alpha", 0.1, 0.2)]
