"""Everything that decides a row is in its key: a change of any part of it gives another key, and no other change does.

What a key leaves out is served in silence, so each part is changed by itself.
"""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from hasse.data.records import (
    Candidate,
    Completion,
    Feedback,
    Judgement,
    Message,
    PairIndex,
    Prompt,
    TrainingExample,
)
from hasse.data.settings import key_of
from hasse.pipeline.fingerprint import canonical
from hasse.stages.examples import reference
from hasse.stages.feedback import stage as feedback
from hasse.stages.feedback.items import AnnotationItem
from hasse.stages.generate import stage as generate
from hasse.stages.grading import TaskSettings
from hasse.stages.order import stage as order

TURNS = (Message(role="system", content="a"), Message(role="user", content="b"))
PROMPT = Prompt(
    prompt_id="p", text="b", messages=TURNS, variants=("v", "w"), reference="r", drafts=("d",), label="yes",
    answers=("x", "y"), source="s", cluster_id="p", split="train",
)  # fmt: skip
OTHER_ROLE = (replace(TURNS[0], role="user"), TURNS[1])
OTHER_TURN = (replace(TURNS[0], content="other"), TURNS[1])
CANDIDATE = Candidate(prompt_id="p", candidate_id="c-0", text="label: yes", source="student")
JUDGEMENT = Judgement(prompt_id="p", candidate_id="c-0", teacher="rule", total=1.0, label="yes", correct=True)


# generate


def sampling(asked=PROMPT, *, digest="m", model="student", **settings):
    """The key of the rows of the only group. digest: of the model."""
    given = {"sampler": "transformers", "name": "g", "num_samples": 4, "seed": 1, "model": model, **settings}
    whole = generate.GenerateSettings(groups=[given])
    models: Any = {name: SimpleNamespace(identity={"weights": digest}) for name in ("student", "teacher")}
    return [unit.key for unit in generate.sampling_units(whole, [asked], models)]


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt_id": "q"},
        {"text": "other"},
        {"messages": None},
        {"messages": OTHER_ROLE},
        {"messages": OTHER_TURN},
        {"messages": TURNS[::-1]},
    ],
)
def test_what_is_asked_decides_the_answers(changes):
    assert sampling(replace(PROMPT, **changes)) != sampling()


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "h"},
        {"num_samples": 5},
        {"seed": 2},
        {"temperature": 0.5},
        {"top_p": 0.5},
        {"max_tokens": 7},
        {"digest": "n"},
        {"prompt": "variants"},
    ],
)
def test_a_group_and_its_model_decide_the_answers(changes):
    assert sampling(**changes) != sampling()


def test_variants_decide_only_where_they_are_asked():
    other = replace(PROMPT, variants=("v", "z"))
    assert sampling(other) == sampling()
    assert sampling(other, prompt="variants") != sampling(prompt="variants")


@pytest.mark.parametrize(("field", "value"), [("reference", "other"), ("drafts", ("other",)), ("answers", ("other",))])
def test_answers_that_came_with_the_prompt_decide_only_what_is_taken_from_them(field, value):
    def given(prompt, field):
        settings = generate.GenerateSettings(groups=[{"sampler": "dataset", "field": field}])
        return [unit.key for unit in generate.sampling_units(settings, [prompt], {})]

    other = replace(PROMPT, **{field: value})
    assert given(other, field) != given(PROMPT, field)
    for another in {"reference", "drafts", "answers"} - {field}:
        assert given(other, another) == given(PROMPT, another)
    assert sampling(other) == sampling()


def test_a_model_that_is_not_there_yet_has_a_key_that_was_never_used():
    settings = generate.GenerateSettings(groups=[{"sampler": "transformers"}])
    first, second = ([unit.key for unit in generate.sampling_units(settings, [PROMPT], {})] for _ in range(2))
    assert first != second


# feedback

FEEDBACK = {"annotator": {"annotator": "rule"}}
TASK = {"labels": ("yes", "no")}
HUMAN = Feedback(prompt_id="p", candidate_id="c-0", text="It is.", annotator="human", annotator_id="ann")
RIGHT = AnnotationItem(prompt=PROMPT, candidate=CANDIDATE, judgement=JUDGEMENT)


def annotating(item=RIGHT, human=None, *, task=TASK, **section):
    inputs = feedback.FeedbackInputs(
        feedback=feedback.FeedbackSettings(**{**FEEDBACK, **section}), task=TaskSettings(**task)
    )
    (unit,) = feedback.annotation_units(inputs, [item], {item.ids: human} if human else {})
    return unit.key


@pytest.mark.parametrize(
    "changes",
    [
        {"text": "other", "messages": None},
        {"messages": OTHER_TURN},
        {"label": "no"},
        {"answers": ("x",)},
        {"reference": "other"},
    ],
)
def test_what_an_annotator_sees_of_a_prompt_decides(changes):
    assert annotating(replace(RIGHT, prompt=replace(PROMPT, **changes))) != annotating()


@pytest.mark.parametrize("changes", [{"prompt_id": "q"}, {"candidate_id": "c-1"}])
def test_whose_feedback_it_is_decides(changes):
    other = AnnotationItem(
        prompt=replace(PROMPT, prompt_id=changes.get("prompt_id", "p")),
        candidate=replace(CANDIDATE, **changes),
        judgement=replace(JUDGEMENT, **changes),
    )
    assert annotating(other) != annotating()


def test_the_answer_and_what_was_said_of_it_decide():
    assert annotating(replace(RIGHT, candidate=replace(CANDIDATE, text="label: no"))) != annotating()
    for changes in ({"correct": False}, {"label": "no"}):
        assert annotating(replace(RIGHT, judgement=replace(JUDGEMENT, **changes))) != annotating()


def test_what_a_person_said_decides():
    assert annotating(human=HUMAN) != annotating()
    for changes in ({"text": "It is not."}, {"verdict": "right"}, {"annotator_id": "bob"}):
        assert annotating(human=replace(HUMAN, **changes)) != annotating(human=HUMAN)


def test_the_annotator_the_task_and_the_gates_decide():
    chat = {"chat": {"model": "m", "base_url": "http://localhost:1", "prices": {"m": {"input": 0, "output": 0}}}}
    others = [
        annotating(),
        annotating(annotator={"annotator": "chat", **chat}),
        annotating(task={"labels": ("yes", "no", "perhaps")}),
        annotating(gates={"min_chars": 11}),
        annotating(gates={"max_chars": 11}),
        annotating(gates={"verdict": False}),
        annotating(gates={"names_answer": False}),
    ]
    assert len(set(others)) == len(others)


def test_a_share_of_people_does_not_decide_what_the_others_say():
    assert annotating(seed=3, num_items=7, per_prompt=2, balance=False) == annotating()


# order


def ordering(candidate=CANDIDATE, judgement: Any = JUDGEMENT, *, prompt=PROMPT, second=None):
    return order._row_key("start", (prompt, [(candidate, judgement), *([second] if second else [])]))


@pytest.mark.parametrize("changes", [{"candidate_id": "c-1"}, {"source": "human"}, {"text": "other"}])
def test_each_candidate_decides_the_order(changes):
    assert ordering(replace(CANDIDATE, **changes)) != ordering()


@pytest.mark.parametrize(
    "changes", [{"total": 2.0}, {"total": None}, {"label": "no"}, {"correct": None}, {"status": "failed"}]
)
def test_what_was_said_of_a_candidate_decides_the_order(changes):
    assert ordering(judgement=replace(JUDGEMENT, **changes)) != ordering()


def test_the_prompt_and_how_many_candidates_it_has_decide_the_order():
    assert ordering(prompt=replace(PROMPT, prompt_id="q")) != ordering()
    assert ordering(second=(CANDIDATE, JUDGEMENT)) != ordering()
    assert ordering(judgement=None) != ordering()


class Inputs(dict):
    """Inputs of a job, by name, held in memory."""

    def __call__(self, name):
        rows, identity = self[name], SimpleNamespace(identity=self.get("identity"))
        return SimpleNamespace(records=lambda record, columns=None: iter(rows), manifest=identity)


def keys_of(module, monkeypatch, settings, **inputs):
    """The keys under which the stage asks for its rows."""
    seen: list[str] = []

    def look(job, units, *_, **__):
        seen.extend(unit.key for unit in units)
        raise StopIteration

    monkeypatch.setattr(module, "map_rows", look)
    with pytest.raises(StopIteration):
        module.run(SimpleNamespace(name="step", settings=settings, input=Inputs(inputs)))
    return seen


def test_the_strategy_and_its_files_decide_the_order(monkeypatch, tmp_path):
    def keys(strategy):
        given = {"prompts": [PROMPT], "candidates": [CANDIDATE], "judgements": [JUDGEMENT]}
        return keys_of(order, monkeypatch, order.OrderSettings(strategy=strategy), **given)  # type: ignore[arg-type]

    path = tmp_path / "pairs.jsonl"
    path.write_text("")
    pairs = {"strategy": "pairs", "path": str(path)}
    found = [keys({"strategy": "lp"}), keys({"strategy": "hp"}), keys({"strategy": "scores"})]
    found += [keys({"strategy": "scores", "band": 0.5}), keys(pairs)]
    path.write_text('{"prompt_id": "p", "above": "c-0", "below": "c-1"}\n')
    found += [keys(pairs)]
    assert len(set(map(tuple, found))) == len(found)


# reference

EXAMPLE = TrainingExample(
    prompt_id="p",
    cluster_id="p",
    prompt_token_ids=(1, 2),
    completions=(
        Completion(candidate_id="c-0", token_ids=(3, 4), source="human", level=2.0),
        Completion(candidate_id="c-1", token_ids=(3, 5), source="student", level=1.0),
    ),
    pairs=(PairIndex(above=0, below=1),),
    target=0,
)


def scoring(monkeypatch, example=EXAMPLE, identity="m"):
    settings = reference.ReferenceSettings()
    return keys_of(reference, monkeypatch, settings, examples=[example], student=[], identity=identity)


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt_id": "q"},
        {"prompt_token_ids": (1, 3)},
        {"completions": EXAMPLE.completions[::-1]},
        {"completions": (replace(EXAMPLE.completions[0], token_ids=(3, 6)), EXAMPLE.completions[1])},
        {"pairs": (PairIndex(above=0, below=1, margin=0.5),)},
        {"target": None},
        {"status": "filtered"},
    ],
)
def test_the_whole_example_and_the_model_decide_its_log_probs(monkeypatch, changes):
    assert scoring(monkeypatch, replace(EXAMPLE, **changes)) != scoring(monkeypatch)
    assert scoring(monkeypatch, identity="n") != scoring(monkeypatch)


def test_what_only_moves_work_about_is_in_no_key():
    section = order.OrderSettings(strategy={"strategy": "lp", "chunk_size": 3})  # type: ignore[arg-type]
    assert canonical(key_of(section.strategy)) == canonical(
        key_of(order.OrderSettings(strategy={"strategy": "lp"}).strategy)
    )  # type: ignore[arg-type]
