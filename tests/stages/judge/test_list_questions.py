"""Questions on a list: their orders, and schemas that take what is read and nothing else."""

import json

import pytest
from jsonschema import ValidationError, validate

from hasse.data.records import Candidate
from hasse.stages.judge.list_questions import Aspect, presentation_orders, read_scores, scores_schema, tag
from hasse.stages.judge.list_ranks import ranking_schema, read_ranking
from hasse.stages.judge.pair_questions import SCHEMA


def test_orders_are_functions_of_the_ids_and_the_seed_alone():
    candidates = [Candidate(prompt_id="p", candidate_id=f"s-{t}", text=t, source="student") for t in "abcde"]
    first, second = presentation_orders("p", candidates, num_orders=2, seed=0)
    assert sorted(c.text for c in first) == sorted(c.text for c in second) == list("abcde")
    assert first != second
    assert presentation_orders("p", candidates[::-1], num_orders=2, seed=0) == [first, second]
    assert presentation_orders("p", candidates, num_orders=1, seed=0) == [first]
    assert (
        len({tuple(c.text for c in presentation_orders("p", candidates, num_orders=1, seed=s)[0]) for s in range(9)})
        > 5
    )
    for seed in range(20):
        a, b = presentation_orders("p", candidates[:2], num_orders=2, seed=seed)
        assert a == b[::-1]
    assert [tag(i) for i in (0, 25, 26, 52)] == ["A", "Z", "AA", "BA"]


def test_every_schema_takes_the_reply_that_is_read():
    aspects = [Aspect(name="quality", description="x")]
    given = {"rationale": "So.", "scores": {"quality": 3}}
    both = {"candidates": {"A": given, "B": {**given, "scores": None}}}
    validate(both, scores_schema(2, aspects, (1, 10)))
    marks = read_scores(json.dumps(both), num_candidates=2, aspects=aspects, scale=(1, 10))
    assert [mark.total for mark in marks] == [3, None]
    order = {"rationale": "So.", "ranking": [["B"], ["A"]], "abstained": []}
    validate(order, ranking_schema(2))
    assert [mark.total for mark in read_ranking(json.dumps(order), num_candidates=2, scale=(1, 10))] == [1, 10]
    for said in ("A", "B", "tie", "abstain"):
        validate({"rationale": "So.", "verdict": said}, SCHEMA)
    for wrong in ({"candidates": {"A": given}}, {"candidates": {"A": given, "B": {"scores": {"quality": 11}}}}):
        with pytest.raises(ValidationError):
            validate(wrong, scores_schema(2, aspects, (1, 10)))


@pytest.mark.parametrize(
    "schema", [scores_schema(3, [Aspect(name="x", description="x")], (1, 10)), ranking_schema(3), SCHEMA]
)
def test_schemas_are_strict_as_endpoints_want_them(schema):
    check_strict(schema)


def check_strict(schema):
    """What endpoints ask of a schema: every object names all its properties as required, and allows no other."""
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            assert schema["required"] == list(schema["properties"])
            assert schema["additionalProperties"] is False
        for part in schema.values():
            check_strict(part)
    elif isinstance(schema, list):
        for part in schema:
            check_strict(part)
