"""Candidates from an endpoint, against a server on loopback."""

import pytest
from pydantic import ValidationError

from hasse.data.errors import InputError
from hasse.data.records import Message, Prompt
from hasse.stages.chat import one_by_one as chat_questions
from hasse.stages.chat.money.budget import Account
from hasse.stages.chat.settings import VARIABLE
from hasse.stages.generate.answers import row_seed
from hasse.stages.generate.samplers.openai import Settings, num_candidates, sample
from hasse.stages.generate.stage import GenerateSettings, sampling_units
from tests.stages.chat_server import Act, ChatServer, choices, failed


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setenv("CHAT_KEY", "sk-live-0123456789abcdef")
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(chat_questions, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(chat_questions, "LONGEST_PAUSE", 0.1)


def prompt_of(text, **fields):
    return Prompt(prompt_id=f"p-{text}", text=text, source="s", cluster_id=text, split="train", **fields)


def settings_for(server, **changes):
    return Settings(**{"model": "m", "base_url": server.url, "api_key_variable": "CHAT_KEY", **changes})


def sampled(server, *prompts, **changes):
    found = list(sample(prompts, settings_for(server, **changes), None, payer=Account()))
    assert [{c.prompt_id for c in row} for row in found] == [{prompt.prompt_id} for prompt in prompts]
    return found


def test_all_answers_to_a_prompt_are_one_seeded_request():
    with ChatServer() as server:
        rows = sampled(
            server, prompt_of("a"), prompt_of("b"), num_samples=3, max_tokens=9, top_p=0.5, stop=["\n"], seed=7
        )
    assert [[c.candidate_id for c in row] for row in rows] == [["endpoint-0", "endpoint-1", "endpoint-2"]] * 2
    assert [c.text for c in rows[1]] == [f"Answer {i} to b" for i in range(3)]
    bodies = {a.text: a.body for a in server.asked}
    seed = row_seed(7, "p-a", "endpoint/0")
    assert bodies["a"] == {
        "model": "m",
        "messages": [{"role": "user", "content": "a"}],
        "temperature": 0.8,
        "max_completion_tokens": 9,
        "n": 3,
        "top_p": 0.5,
        "stop": ["\n"],
        "seed": seed,
    }
    assert bodies["b"]["seed"] != seed
    made = rows[0][1]
    assert (made.status, made.finish_reason, made.source, made.seed) == ("ok", "stop", "m", seed)
    assert (made.temperature, made.top_p, made.max_tokens) == (0.8, 0.5, 9)
    assert (made.token_ids, made.logprobs, made.logprob_sum, made.logprob_mode) == ((), (), None, None)


def test_what_stands_at_the_default_is_not_sent():
    with ChatServer() as server:
        sampled(server, prompt_of("a"), num_samples=1, seed=None)
    assert set(server.asked[0].body) == {"model", "messages", "temperature", "max_completion_tokens"}


def test_log_probs_are_kept_as_reported_and_outlive_a_rerun(tmp_path):
    with ChatServer() as server:
        rows = [
            sampled(server, prompt_of("a"), num_samples=2, logprobs=True, cache=tmp_path / "c")[0] for _ in range(2)
        ]
    assert len(server.asked) == 1
    assert server.asked[0].body["logprobs"] is True
    first = rows[0][0]
    assert first.logprobs == (-1.5, -0.25, -0.5, -0.25)  # Answer 0 to a
    assert (first.logprob_sum, first.logprob_mode, first.token_ids) == (-2.5, "reported", ())
    assert rows[0] == rows[1]


def test_log_probs_that_the_endpoint_leaves_out_stop_the_run():
    with ChatServer(lambda a: Act(body=choices("x"))) as server, pytest.raises(InputError, match="without log-probs"):
        sampled(server, prompt_of("a"), num_samples=1, logprobs=True)
    assert len(server.asked) == 1


def test_what_the_endpoint_refuses_stops_the_run_with_its_words():
    with ChatServer(lambda a: failed(400, "n must be 1")) as server, pytest.raises(InputError, match="n must be 1"):
        sampled(server, prompt_of("a"))


def test_an_endpoint_that_gives_one_answer_at_a_time_is_asked_for_the_others():
    with ChatServer(lambda a: Act(body=choices(f"{a.text}{a.tried}"))) as server:
        rows = sampled(server, prompt_of("a"), prompt_of("b"), concurrency=1)
    assert [[(c.status, c.text) for c in row] for row in rows] == [[("ok", f"{p}{i}") for i in (1, 2, 3)] for p in "ab"]
    assert len(server.asked) == 6


def test_where_no_more_answers_come_the_last_row_says_so():
    def plan(a):
        return Act(body=choices("x", "y")) if a.tried == 1 else Act(body={"choices": []})

    with ChatServer(plan) as server:
        ((first, second, third),) = sampled(server, prompt_of("a"), max_retries=1)
    assert [(c.status, c.text) for c in (first, second)] == [("ok", "x"), ("ok", "y")]
    assert (third.status, third.text, third.finish_reason) == ("failed", "", None)
    assert "choices: 0 instead of 1" in third.error


def test_every_end_has_its_status():
    body = choices("yes", "ye", "", "no", "", "")
    by_index = {choice["index"]: choice for choice in body["choices"]}
    by_index[1]["finish_reason"] = "length"
    by_index[3]["finish_reason"] = "content_filter"
    by_index[4]["message"]["refusal"] = "I will not."
    by_index[5]["finish_reason"] = "length"
    with ChatServer(lambda a: Act(body=body)) as server:
        ((*row,),) = sampled(server, prompt_of("a"), num_samples=6)
    assert [c.status for c in row] == ["ok", "truncated", "refused", "refused", "refused", "filtered"]
    assert [c.finish_reason for c in row] == ["stop", "length", None, None, None, None]
    assert [c.text for c in row] == ["yes", "ye", "", "", "", ""]
    assert all((c.error is None) == (c.status in ("ok", "truncated")) for c in row)


def test_the_budget_counts_all_answers_and_every_prompt_ends_with_a_row():
    """At 1000 dollars a million, 4 answers of 10 tokens and a letter of question may cost 0.041."""
    money = {"prices": {"m": {"input": 1000, "output": 1000}}, "budget_usd": 0.05, "max_tokens": 10}
    with ChatServer() as server:
        rows = sampled(server, *map(prompt_of, "abc"), num_samples=4, concurrency=1, **money)
        assert len(server.asked) == 1
    assert [[c.status for c in row] for row in rows] == [["ok"] * 4, ["budget_stopped"], ["budget_stopped"]]


def test_variants_are_asked_one_by_one_and_are_documents():
    with ChatServer() as server:
        (row,) = sampled(server, prompt_of("a b", variants=("a", "b")), num_samples=2, prompt="variants")
    assert [(c.candidate_id, c.text) for c in row] == [
        *[(f"endpoint-{i}", f"Answer {i} to a") for i in range(2)],
        *[(f"endpoint-{2 + i}", f"Answer {i} to b") for i in range(2)],
    ]
    assert {c.source for c in row} == {"document"}
    assert len({a.body["seed"] for a in server.asked}) == 2


def test_messages_and_a_system_prompt():
    turns = (Message(role="user", content="a"), Message(role="assistant", content="b"))
    system = (Message(role="system", content="s"), *turns)
    with ChatServer() as server:
        _, (refused,) = sampled(
            server, prompt_of("c", messages=turns), prompt_of("d", messages=system), system="Be brief."
        )
        sampled(server, prompt_of("d", messages=system))
    assert [[m["role"] for m in a.body["messages"]] for a in server.asked] == [["system", "user", "assistant"]] * 2
    assert [a.body["messages"][0]["content"] for a in server.asked] == ["Be brief.", "s"]
    assert refused.status == "filtered"
    assert "system message of its own" in refused.error


def test_settings_that_would_pay_for_the_same_answer_are_refused():
    with pytest.raises(ValidationError, match="at temperature 0 all answers are the same"):
        Settings(model="m", temperature=0, num_samples=2)
    assert num_candidates(Settings(model="m", temperature=0, num_samples=1)) == 1


def test_a_row_is_keyed_by_what_is_asked_alone():
    """Another price or address keeps the answers; another model, system prompt or number of them does not."""

    def key(**changes):
        group = {"sampler": "openai", "model": "m", **changes}
        settings = GenerateSettings.model_validate({"groups": [group]})
        assert settings.models() == set()
        (unit,) = sampling_units(settings, [prompt_of("a", reference=changes.get("base_url"))], {})
        return unit.key

    same = [key(), key(base_url="http://other/v1"), key(budget_usd=1), key(concurrency=2)]
    other = [key(model="n"), key(system="s"), key(num_samples=2), key(seed=1), key(logprobs=True), key(stop=["x"])]
    assert len(set(same)) == 1
    assert len({*same, *other}) == 7


@pytest.mark.parametrize(
    ("said", "text", "reasoning", "status"),
    [
        ("<think>maybe 42</think> 41", "41", "maybe 42", "ok"),
        ("<think>\n\n</think>\n\n41", "41", None, "ok"),
        ("<think>maybe 42", "", "maybe 42", "filtered"),
    ],
)
def test_thinking_in_a_reply_is_kept_apart_from_the_answer(said, text, reasoning, status):
    with ChatServer(lambda asked: Act(body=choices(said))) as server:
        ((found,),) = sampled(server, prompt_of("a"), num_samples=1)
    assert (found.text, found.reasoning, found.status) == (text, reasoning, status)
    assert bool(found.error) == (status == "filtered")


def test_two_groups_without_a_seed_get_answers_of_their_own(tmp_path):
    """Although they ask the same; and a group finds its own again."""
    with ChatServer(lambda a: Act(body=choices(f"{a.text} {a.tried}"))) as server:
        asked = {"seed": None, "num_samples": 1, "cache": tmp_path / "c"}
        found = [sampled(server, prompt_of("a"), name=name, **asked)[0][0].text for name in ("x", "y", "x", "y")]
        assert found == ["a 1", "a 2", "a 1", "a 2"]
        greedy = {**asked, "temperature": 0}
        assert len({sampled(server, prompt_of("b"), name=name, **greedy)[0][0].text for name in "xy"}) == 1


def test_thinking_that_an_endpoint_tells_apart_is_the_candidates_reasoning():
    body = choices("41")
    body["choices"][0]["message"]["reasoning_content"] = "maybe 42"
    with ChatServer(lambda _: Act(body=body)) as server:
        ((found,),) = sampled(server, prompt_of("a"), num_samples=1)
    assert (found.text, found.reasoning) == ("41", "maybe 42")


def test_a_model_that_takes_no_temperature_gets_none():
    with ChatServer() as server:
        ((found,),) = sampled(server, prompt_of("a"), num_samples=1, temperature=None)
    assert ("temperature" in server.asked[0].body, found.temperature) == (False, None)


def test_the_room_for_thinking_is_sent_beside_that_for_the_answer():
    with ChatServer() as server:
        ((found,),) = sampled(server, prompt_of("a"), num_samples=1, max_tokens=40, max_thinking_tokens=60)
    assert (server.asked[0].body["max_completion_tokens"], found.max_tokens) == (100, 40)
