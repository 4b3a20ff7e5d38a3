"""Every ordering strategy on answers that are known: right, wrong, cut off, refused and thinking."""

import json

import pytest

from hasse.data.records import Candidate, Judgement, PartialOrder, Prompt
from hasse.pipeline.store import Store
from tests.stages.chat_server import Act, ChatServer, choices

SAYS = {
    "endpoint-0": "entailment",
    "endpoint-1": "neutral",
    "endpoint-2": "contradiction",
    "endpoint-3": None,  # cut off before its label
    "endpoint-5": "neutral",  # after thinking aloud of another label
}
"""Candidate -> the label that its answer states. `endpoint-4` refuses, so nobody judges it."""
TEXTS = [
    "So it is.\nlabel: entailment",
    "It may be or not.\nlabel: neutral",
    "It cannot be.\nlabel: contradiction",
    "Both of them are said to be",
    "",
    "<think>Perhaps it follows.\nlabel: entailment</think>It may be or not be.\nlabel: neutral",
]


def body():
    """The six answers in one reply, the fourth cut off and the fifth a refusal."""
    made = choices(*TEXTS)
    by_index = {choice["index"]: choice for choice in made["choices"]}
    by_index[3]["finish_reason"] = "length"
    by_index[4]["message"] |= {"content": None, "refusal": "I cannot help with that."}
    return made


@pytest.fixture(scope="module")
def scripted(tmp_path_factory, make_hasse):
    """A run up to its orders, whose candidates are the expert's answers and the scripted ones."""
    command = make_hasse(tmp_path_factory.mktemp("scripted"))
    with ChatServer(lambda asked: Act(body=body())) as server:
        group = {"sampler": "openai", "model": "m", "num_samples": len(TEXTS), "max_tokens": 32}
        groups = [{"sampler": "dataset"}, group | {"base_url": server.url}]
        command.write(command.tiny | {"generate": {"groups": groups}, "max_failed": 0.2})
        stages = ("prompts", "student", "generate", "judge", "order")
        command.steps = [command.run("--only", stage) for stage in stages][-1]
    return command


def rows(command, step, record):
    return list(Store(command.store).resolve(command.steps[step]["ref"]).records(record))


def golds(command):
    return {p.prompt_id: p.label for p in rows(command, "prompts", Prompt) if p.split == "train"}


def ordered(command, strategy, **settings):
    """prompt_id -> (its pairs, its target) by a strategy, of a run that computes the order alone."""
    changes = {"strategy": strategy, **settings}
    steps = command.json("run", str(command.recipe), "--only", "order", "--set", f"order={json.dumps(changes)}")[
        "steps"
    ]
    ref = next(step["ref"] for step in steps if step["step"] == "order")
    found = list(Store(command.store).resolve(ref).records(PartialOrder))
    return {o.prompt_id: ({(p.above, p.below) for p in o.pairs}, o.target) for o in found if o.status == "ok"}


def right_and_wrong(gold):
    right = {i for i, label in SAYS.items() if label == gold}
    return right, SAYS.keys() - right


def above(better, worse):
    return {(a, b) for a in better for b in worse}


def test_the_statuses_are_those_of_the_answers(scripted):
    by_id = {c.candidate_id: c.status for c in rows(scripted, "generate", Candidate)}
    assert by_id == {"human-0": "ok", **dict.fromkeys(SAYS, "ok"), "endpoint-3": "truncated", "endpoint-4": "refused"}


def test_the_rule_reads_the_label_and_not_the_thinking(scripted):
    gold = golds(scripted)
    judged = rows(scripted, "judge", Judgement)
    assert {j.candidate_id for j in judged} == {"human-0", *SAYS}
    for j in judged:
        if j.candidate_id in SAYS:
            assert (j.label, j.correct) == (SAYS[j.candidate_id], SAYS[j.candidate_id] == gold[j.prompt_id])


def test_lp_puts_the_expert_and_right_answers_above_wrong_ones(scripted):
    found = ordered(scripted, "lp")
    for prompt_id, gold in golds(scripted).items():
        right, wrong = right_and_wrong(gold)
        assert found[prompt_id] == (above(right | {"human-0"}, wrong), "human-0")


def test_hp_puts_the_expert_above_all(scripted):
    found = ordered(scripted, "hp")
    assert set(found) == set(golds(scripted))
    assert all(order == (above({"human-0"}, SAYS), "human-0") for order in found.values())


def test_lp_hp_is_the_union(scripted):
    found = ordered(scripted, "lp_hp")
    for prompt_id, gold in golds(scripted).items():
        right, wrong = right_and_wrong(gold)
        assert found[prompt_id] == (above({"human-0"}, SAYS) | above(right, wrong), "human-0")


def test_qa_lp_knows_no_expert(scripted):
    """The expert's answer is right as others are, and is the target among them."""
    found = ordered(scripted, "qa_lp")
    for prompt_id, gold in golds(scripted).items():
        right, wrong = right_and_wrong(gold)
        assert found[prompt_id][0] == above(right | {"human-0"}, wrong)


def test_scores_rank_by_the_judges_totals_without_the_expert(scripted):
    found = ordered(scripted, "scores")
    for prompt_id, gold in golds(scripted).items():
        right, wrong = right_and_wrong(gold)
        assert found[prompt_id] == (above(right, wrong), "human-0")
    with_expert = ordered(scripted, "scores", rank_human=True)
    assert any(("human-0", "endpoint-3") in pairs for pairs, _ in with_expert.values())


def test_similarity_orders_all_candidates(scripted):
    """A full order: every pair but ties, the expert on top, and answers with equal words tied."""
    for pairs, target in ordered(scripted, "fo_similarity").values():
        assert target == "human-0"
        assert above({"human-0"}, SAYS) <= pairs
        assert not any((b, a) in pairs for a, b in pairs)
        assert len(pairs) >= len(SAYS) + 6


def test_pairs_from_a_file_are_taken_with_what_follows_from_them(scripted, tmp_path):
    first, second, *_ = sorted(golds(scripted))
    given = [
        {"prompt_id": first, "above": "endpoint-5", "below": "endpoint-0"},
        {"prompt_id": first, "above": "endpoint-0", "below": "endpoint-3"},
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in given))
    found = ordered(scripted, "pairs", path=str(path))
    chain = {("endpoint-5", "endpoint-0"), ("endpoint-0", "endpoint-3"), ("endpoint-5", "endpoint-3")}
    assert found[first][0] == chain
    assert second not in found or found[second][0] == set()


def test_verdicts_from_a_file_order_what_was_compared(scripted, tmp_path):
    first, *_ = sorted(golds(scripted))
    path = tmp_path / "verdicts.jsonl"
    given = [
        {"prompt_id": first, "a": "endpoint-0", "b": "endpoint-1", "verdict": "b", "judge": "ann"},
        {"prompt_id": first, "ranking": ["endpoint-2", ["endpoint-3", "endpoint-5"]], "judge": "bob"},
        {"prompt_id": first, "a": "endpoint-2", "b": "endpoint-5", "verdict": "abstain", "judge": "ann"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in given))
    wanted = {("endpoint-1", "endpoint-0"), ("endpoint-2", "endpoint-3"), ("endpoint-2", "endpoint-5")}
    assert ordered(scripted, "verdicts", path=str(path))[first][0] == wanted
