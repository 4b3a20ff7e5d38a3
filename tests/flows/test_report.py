"""The page that a run leaves, from data that wants to be markup, through a source with a field mapping."""

import json
import re

import pytest
import yaml

from hasse.pipeline.store import Store

NASTY = "<script>alert('x')</script> \"quoted\" & {{ 7 * 7 }}"


@pytest.fixture
def page(hasse):
    rows = [
        {
            "q": f"{NASTY} question {i} on item {i * 7}",
            "why": f"{NASTY} because {i}",
            "gold": "<b>yes</b>" if i % 2 else "no",
            "part": "pretrain" if i < 16 else "train" if i < 28 else "test",
        }
        for i in range(36)
    ]
    path = hasse.folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = yaml.safe_load(hasse.recipe.read_text())
    recipe["description"] = NASTY
    fields = {"text": "q", "reference": "{why}\nlabel: {gold}", "label": "gold", "split": "part"}
    recipe["source"] = {"kind": "jsonl", "path": str(path), "fields": fields}
    recipe["task"] = {"labels": ["<b>yes</b>", "no"]}
    recipe["student"]["scratch"]["vocab_size"] = 261
    recipe["student"]["scratch"]["context_length"] = 512
    recipe["examples"]["max_length"] = 512
    hasse.write(recipe)
    steps = hasse.run()
    return (Store(hasse.store).resolve(steps["report"]["ref"]).path / "report.html").read_text()


def test_everything_from_the_data_is_escaped_and_nothing_is_fetched(page):
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page
    assert "<script" not in page
    assert "<b>yes" not in page
    assert "{{ 7 * 7 }}" in page
    assert not re.search(r"""(src|href)\s*=|url\(|@import""", page)
    for heading in (
        "Results",
        "Training",
        "Candidates and their order",
        "Rows by step and status",
        "Settings and provenance",
    ):
        assert f"<h2>{heading}</h2>" in page
    assert page.count("<svg") >= 4
    assert "Hasse diagram" in page
