"""No row is lost between stages: what comes out is counted against all that went in, and a difference is an error."""

import json
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from hasse.data.errors import InputError, WorkError
from hasse.data.records import (
    STATUSES,
    Candidate,
    Evaluation,
    Feedback,
    Judgement,
    PartialOrder,
    Prompt,
    TrainingExample,
)
from hasse.pipeline.row_chunks import Unit
from hasse.pipeline.rows import map_rows
from hasse.pipeline.stage import Job
from hasse.pipeline.store import Store
from hasse.stages.evaluate import benchmark
from hasse.stages.evaluate import stage as evaluate
from hasse.stages.evaluate.benchmarks import BenchmarkItem, Score
from hasse.stages.evaluate.settings import EvaluateSettings
from hasse.stages.examples import from_feedback as feedback_examples
from hasse.stages.examples import from_orders as examples
from hasse.stages.examples import reference
from hasse.stages.generate import stage as generate
from hasse.stages.grading import TaskSettings
from hasse.stages.judge import stage as judge
from hasse.stages.judge.judge_rows import JUDGED, NOT_JUDGED
from hasse.stages.judge.teachers import rule
from hasse.stages.order import stage as order
from hasse.stages.order.strategies import lp
from hasse.stages.prompts import stage as prompts

OF_ORDERS = {"unjudged", "single", "unordered"}
TASK = TaskSettings(labels=("yes", "no"))
PROMPTS = [
    Prompt(prompt_id=p, text="b c", label="yes", reference="d", source="s", cluster_id=p, split="train") for p in "pq"
]
ANSWERS = ("ok", "truncated", "refused", "failed", "duplicate", "ok")
CANDIDATES = [
    Candidate(prompt_id=p, candidate_id=f"c-{k}", text="label: yes", source="student", status=status)
    for p in "pq"
    for k, status in enumerate(ANSWERS)
]
JUDGEMENTS = [
    Judgement(prompt_id=c.prompt_id, candidate_id=c.candidate_id, teacher="rule", correct=True)
    for c in CANDIDATES
    if c.status == "ok"
]
ORDERS = [
    PartialOrder(prompt_id=p, strategy="lp", candidate_ids=("c-0",), levels=(2.0,), pairs=(), target="c-0")
    for p in "pq"
]
FEEDBACK = [
    Feedback(prompt_id=p, candidate_id="c-0", text="e f", annotator="rule", annotator_id="r", status=status)  # type: ignore[arg-type]
    for p, status in (("p", "ok"), ("p", "filtered"), ("p", "failed"), ("q", "ok"))
]


class Given:
    """An input of a job, held in memory."""

    manifest = SimpleNamespace(identity={"tokenizer": "t", "content": "c"})

    def __init__(self, rows):
        self.rows = rows

    def records(self, record, columns=None):
        return (row for row in self.rows if isinstance(row, record))


@pytest.fixture
def job(tmp_path):
    """(settings, inputs) -> a job that reads rows from memory and writes below a folder."""

    def make(settings, **inputs):
        path = tmp_path / "stage" / "work"
        path.mkdir(parents=True, exist_ok=True)
        given = {name: [Given(rows)] for name, rows in inputs.items()}
        store = Store(tmp_path)
        return Job("step", settings, given, path, store, progress=lambda done, total: None, code="0" * 24)  # type: ignore[arg-type]

    return make


@pytest.fixture
def with_tokenizer(monkeypatch, tiny_tokenizer):
    for stage in (examples, feedback_examples, evaluate, benchmark):
        monkeypatch.setattr(stage, "load_tokenizer_of", lambda artifact: tiny_tokenizer)
    for stage in (evaluate, benchmark):
        monkeypatch.setattr(stage, "model_folder", lambda artifact: None)


# judge


def judging(job, candidates=CANDIDATES):
    return job(judge.JudgeSettings(teacher=rule.Settings(), task=TASK), prompts=PROMPTS, candidates=candidates)


def test_candidates_that_were_cut_off_are_judged_and_all_others_are_counted(job):
    work = judging(job)
    judge.run(work)
    assert work.counts == {"judgement": {"ok": 6}}  # of each prompt two that are ok, and one that was cut off
    assert work.metrics["candidates_not_judged"] == 6


def test_a_status_that_is_neither_judged_nor_left_out_by_name_is_an_error(job, monkeypatch):
    monkeypatch.setattr("hasse.stages.judge.judge_rows.JUDGED", {"ok"})
    with pytest.raises(WorkError, match="12 candidates went in but 10 came out; nothing is published"):
        judge.run(judging(job))


def test_candidates_whose_prompt_is_not_found_are_an_error(job):
    with pytest.raises(WorkError, match="13 candidates went in but 12 came out"):
        judge.run(judging(job, [*CANDIDATES, replace(CANDIDATES[0], prompt_id="z")]))


def test_every_status_of_a_candidate_is_judged_or_is_not():
    assert set(STATUSES) - OF_ORDERS == JUDGED | NOT_JUDGED
    assert not JUDGED & NOT_JUDGED
    assert set(STATUSES) - OF_ORDERS - {"ok"} == feedback_examples.UNUSABLE


# order


def ordering(job, judgements):
    settings = order.OrderSettings(strategy=lp.Settings())
    return job(settings, prompts=PROMPTS, candidates=CANDIDATES, judgements=judgements)


def test_every_judgement_is_of_a_candidate_that_is_ordered(job):
    work = ordering(job, JUDGEMENTS)
    order.run(work)
    assert sum(work.counts["partial_order"].values()) == 2


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ([replace(JUDGEMENTS[-1], candidate_id="nobody's")], "5 judgements went in but 4 came out"),
        ([JUDGEMENTS[-1]], "5 judgements went in but 4 came out"),
        ([replace(JUDGEMENTS[-1], prompt_id="z")], "3 units went in but 2 came out"),
    ],
)
def test_a_judgement_without_its_candidate_is_an_error(job, more, problem):
    with pytest.raises(WorkError, match=problem):
        order.run(ordering(job, [*JUDGEMENTS, *more]))


# examples, feedback_examples


def making_examples(job, orders, **settings):
    inputs = {"prompts": PROMPTS, "candidates": CANDIDATES, "orders": orders, "student": []}
    return job(examples.ExamplesSettings(**settings), **inputs)


def test_every_order_becomes_an_example_or_belongs_to_another_split(job, with_tokenizer):
    work = making_examples(job, ORDERS)
    examples.run(work)
    assert work.counts == {"training_example": {"ok": 2}}
    work = making_examples(job, ORDERS, splits=["test"])
    examples.run(work)
    assert work.counts == {"training_example": {}}


@pytest.mark.parametrize("orders", [ORDERS[::-1], [*ORDERS, replace(ORDERS[1], prompt_id="z")]])
def test_an_order_that_finds_no_prompt_is_an_error(job, with_tokenizer, orders):
    with pytest.raises(WorkError, match=rf"{len(orders)} orders went in but {len(orders) - 1} came out"):
        examples.run(making_examples(job, orders))


def making_feedback_examples(job, feedback):
    inputs = {"prompts": PROMPTS, "candidates": CANDIDATES, "feedback": feedback, "student": []}
    return job(feedback_examples.FeedbackExamplesSettings(max_length=200), **inputs)


def test_every_feedback_becomes_an_example_or_is_of_no_use(job, with_tokenizer):
    work = making_feedback_examples(job, FEEDBACK)
    feedback_examples.run(work)
    assert work.metrics["feedback"] == 2
    assert sum(work.counts["training_example"].values()) == 4  # and of each prompt the expert's answer


def test_feedback_that_finds_no_prompt_is_an_error(job, with_tokenizer):
    with pytest.raises(WorkError, match="4 feedback went in but 3 came out"):
        feedback_examples.run(making_feedback_examples(job, FEEDBACK[::-1]))


# reference


def test_an_example_that_is_lost_while_it_is_scored_is_an_error(job, monkeypatch):
    lost = [TrainingExample(prompt_id=p, cluster_id=p, prompt_token_ids=(1,), completions=()) for p in "pq"]
    monkeypatch.setattr(reference, "map_rows", lambda *_, **__: SimpleNamespace(counts={"ok": 1}, metrics={}))
    with pytest.raises(WorkError, match="2 examples went in but 1 came out"):
        reference.run(job(reference.ReferenceSettings(), examples=lost, student=[]))


# prompts


def making_prompts(job, tmp_path):
    source = tmp_path / "rows.jsonl"
    texts = ("why is the sky blue", "how do birds fly", "what do whales eat")
    source.write_text("".join(json.dumps({"text": text, "label": "yes"}) + "\n" for text in texts))
    given = {"kind": "jsonl", "path": str(source), "fields": {"text": "{text}", "label": "label"}}
    return job(prompts.PromptsSettings(source=given, prompts=prompts.PromptsSection(), labels=("yes",)))  # type: ignore[arg-type]


def test_a_row_that_is_lost_is_an_error(job, tmp_path, monkeypatch):
    sort = prompts.sorted_prompts
    monkeypatch.setattr(prompts, "sorted_prompts", lambda *given: list(sort(*given))[1:])
    with pytest.raises(WorkError, match="3 rows went in but 2 came out"):
        prompts.run(making_prompts(job, tmp_path))


def test_prompts_end_with_the_proof_that_splits_share_nothing(job, tmp_path, monkeypatch):
    def leaking(rows, placement):
        for number, prompt in enumerate(sort(rows, placement)):
            yield replace(prompt, cluster_id="one", split="test" if number else "train")

    sort = prompts.sorted_prompts
    monkeypatch.setattr(prompts, "sorted_prompts", leaking)
    with pytest.raises(InputError, match="shares its near-duplicate cluster with training prompt"):
        prompts.run(making_prompts(job, tmp_path))


# evaluate


@pytest.mark.parametrize("change", ["none", "lost prompt", "lost sample", "twice"])
def test_every_prompt_has_every_answer(job, with_tokenizer, monkeypatch, change):
    def answered(*_):
        rows = [
            Evaluation(prompt_id=p, cluster_id=p, split="test", decoding=d, sample=k, text="", num_tokens=0,
                       correct_strict=None, correct_loose=None)
            for p in "pq" for d, k in settings.decodings
        ]  # fmt: skip
        return {"none": rows, "lost prompt": rows[3:], "lost sample": rows[1:], "twice": [rows[1], *rows[1:]]}[change]

    settings = EvaluateSettings(task=TASK, split="test", num_samples=2, feedback_template="{prompt}{answer}")
    monkeypatch.setattr("hasse.stages.models.load.load_model", lambda folder: None)
    monkeypatch.setattr("hasse.stages.models.load.context_length", lambda model: 500)
    monkeypatch.setattr(evaluate, "graded_answers", answered)
    monkeypatch.setattr(evaluate, "with_references", lambda rows, *_: rows)
    monkeypatch.setattr(evaluate, "with_pairs", lambda rows, *_: rows)
    work = job(settings, prompts=[replace(prompt, split="test") for prompt in PROMPTS], checkpoint=[])
    if change == "none":
        evaluate.run(work)
        assert sum(work.counts["evaluation"].values()) == 6
        return
    with pytest.raises(WorkError, match=r"6 answers went in but \d came out"):
        evaluate.run(work)


# rows


def test_a_stage_with_fewer_units_than_it_announced_publishes_nothing(job):
    units = [Unit("a", "a"), Unit("b", "b")]
    rows = [[CANDIDATES[0]], [CANDIDATES[1]]]
    with pytest.raises(WorkError, match="3 units went in but 2 came out"):
        map_rows(job(None), units, lambda part: rows, Candidate, total=3, chunk_size=2)


# what else a stage checks


def test_a_benchmark_is_compared_with_what_was_trained_on(job, with_tokenizer, monkeypatch):
    words = " ".join(f"word{i}" for i in range(20))
    asked = [
        BenchmarkItem(item_id="seen", task="t", text=words),
        BenchmarkItem(item_id="other", task="t", text="another text"),
    ]
    module = SimpleNamespace(items=lambda s: asked, score=lambda i, t: Score(value=0), summary=lambda scored: {})
    monkeypatch.setattr(benchmark.registry, "load", lambda *_, **__: module)
    monkeypatch.setattr("hasse.stages.models.load.load_model", lambda folder: None)
    monkeypatch.setattr("hasse.stages.models.sample.greedy", lambda model, tokenizer, texts, **_: [None] * len(texts))
    settings = SimpleNamespace(
        benchmark=SimpleNamespace(benchmark="b", max_tokens=5), batch_size=1, contamination_words=13
    )
    trained = [replace(PROMPTS[0], text=f"It says: {words}."), replace(PROMPTS[1], text="another text", split="test")]
    work = job(settings, prompts=trained, checkpoint=[])
    benchmark.run(work)
    assert work.metrics["contaminated"] == 1
    assert work.metrics["overlaps"][0].startswith("seen in p: ")


def test_what_an_engine_says_of_its_answers_is_compared_with_the_training_stack(job, monkeypatch):
    def answer(asked, settings, model):
        return [[Candidate(prompt_id=p.prompt_id, candidate_id="g-0", text="a", source="student")] for p in asked]

    def compare(job, groups, models):
        compared.append([(group.name, max_gap) for group, max_gap in groups])
        raise WorkError("log-probs are off")

    compared: list[Any] = []
    settings = generate.GenerateSettings(groups=[{"sampler": "vllm", "name": "g", "max_gap": 0.25}])
    monkeypatch.setattr("hasse.stages.generate.samplers.vllm.sample", answer)
    monkeypatch.setattr(generate.engine_parity, "check", compare)
    work = job(settings, prompts=PROMPTS, student=[])
    with pytest.raises(WorkError, match="log-probs are off"):
        generate.run(work)
    assert compared == [[("g", 0.25)]]
    generate.run(replace(work, metrics={}))  # all rows are known: they were compared when they were made
    assert len(compared) == 1


def test_the_rows_of_this_file_hold_what_they_are_meant_to():
    assert Counter(c.status for c in CANDIDATES) == {"ok": 4, "truncated": 2, "refused": 2, "failed": 2, "duplicate": 2}
