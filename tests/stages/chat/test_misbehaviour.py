"""Endpoints that do something else than they are asked for: every end has a status, a name and a known cost."""

import asyncio
import gzip
import json
import threading
import zlib
from contextlib import contextmanager, suppress

import pytest
from pydantic import ValidationError

from hasse.data.errors import InputError
from hasse.stages.chat import one_by_one as chat_questions
from hasse.stages.chat.ask import ask, converse
from hasse.stages.chat.http import byte_limit as chat_bytes
from hasse.stages.chat.money.budget import Account, Ledger
from hasse.stages.chat.reply import Reply
from hasse.stages.chat.request import Request
from hasse.stages.chat.settings import VARIABLE, ChatSettings, Price
from tests.stages.chat_server import Act, ChatServer, choices, completion, failed, good

PRICES = {"m": Price(input=1000, output=1000)}
KEY = "sk-live-0123456789abcdef"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setenv("CHAT_KEY", KEY)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(chat_questions, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(chat_questions, "LONGEST_PAUSE", 0.02)


def settings_for(server, **changes):
    asked = {"model": "m", "base_url": server.url, "api_key_variable": "CHAT_KEY", "max_retries": 1, **changes}
    return ChatSettings.model_validate(asked)


def asked(server, *texts, ledger=None, **changes):
    payer = Account(ledgers={"m": ledger or Ledger()})
    return list(ask([("", text) for text in texts or ("a",)], settings_for(server, **changes), payer=payer))


def several(server, num, *, ledger=None, per_request=None, text="a", **changes):
    """The answers to one request for so many."""
    payer = Account(ledgers={"m": ledger or Ledger()})
    messages, options = [{"role": "user", "content": text}], {"n": num, "seed": 7}

    def conversation():
        (replies,) = yield [Request(messages=messages, options=options, per_request=per_request)]
        return list(replies)

    (replies,) = converse([conversation()], settings_for(server, **changes), payer=payer)
    return replies


def message(**fields):
    body = completion("x")
    body["choices"][0]["message"] = {"role": "assistant", **fields}
    return body


def with_choice(**fields):
    body = completion("half")
    body["choices"][0] |= fields
    return body


def ending(reason):
    body = completion("half an answ", reason=reason)
    if reason == "left out":
        del body["choices"][0]["finish_reason"]
    return body


# Why an answer ended


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("error", "'error'"),
        ("abort", "'abort'"),
        ("insufficient_system_resource", "'insufficient_system_resource'"),
        ("something new", "'something new'"),
        ("", "''"),
        (None, "missing"),
        ("left out", "missing"),
    ],
)
def test_an_answer_that_may_not_be_whole_fails_by_name_and_is_asked_again(reason, shown, tmp_path):
    with ChatServer(lambda a: Act() if a.tried == 3 else Act(body=ending(reason))) as server:
        (first,) = asked(server, cache=tmp_path / "c")
        assert (first.text, first.status) == ("", "failed")
        assert str(first.error).startswith(f"finish_reason is {shown}, which does not say that the answer is whole")
        assert len(server.asked) == 2
        assert asked(server, cache=tmp_path / "c") == [Reply(text="Answer to a", status="ok")]


@pytest.mark.parametrize("reason", ["tool_calls", "function_call"])
def test_a_call_of_a_tool_is_no_answer_and_not_asked_for_twice_in_a_run(reason, tmp_path):
    with ChatServer(lambda _: Act(body=ending(reason))) as server:
        for _ in range(2):
            (reply,) = asked(server, cache=tmp_path / "c")
            assert (reply.status, reason in str(reply.error)) == ("failed", True)
    assert len(server.asked) == 2


@pytest.mark.parametrize("fields", [{"tool_calls": [{"id": "1"}] * 2}, {"function_call": {"name": "f"}}])
def test_a_call_of_a_tool_is_no_answer_whatever_the_end_is_called(fields):
    with ChatServer(lambda _: Act(body=message(content="I will look", **fields))) as server:
        (reply,) = asked(server)
    assert (reply.text, reply.status) == ("", "failed")
    assert "calls a tool" in reply.error


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "content_filter"), (400, "invalid_prompt"), (400, "data_inspection_failed"), (403, "flagged_input")],
)
def test_a_question_that_the_endpoint_withholds_is_refused_alone(status, code):
    held = Act(status=status, body={"error": {"message": "by policy", "code": code}})
    with ChatServer(lambda a: held if a.text == "a" else Act()) as server:
        first, second = asked(server, "a", "b")
        assert len(server.asked) == 2
    assert (first.status, first.error, second.status) == ("refused", "by policy", "ok")


@pytest.mark.parametrize("reason", ["stop", "eos", "end_turn", "stop_sequence", "STOP"])
def test_a_known_end_is_whole(reason):
    with ChatServer(lambda _: Act(body=ending(reason))) as server:
        assert asked(server) == [Reply(text="half an answ", status="ok")]


@pytest.mark.parametrize(
    ("reason", "status"), [("length", "truncated"), ("model_length", "truncated"), ("SAFETY", "refused")]
)
def test_other_known_ends_have_their_status(reason, status):
    with ChatServer(lambda _: Act(body=ending(reason))) as server:
        assert [reply.status for reply in asked(server)] == [status]


# What stands in a message


@pytest.mark.parametrize(
    ("fields", "text", "reasoning"),
    [
        ({"content": "41", "reasoning_content": "maybe 42"}, "41", "maybe 42"),
        ({"content": "41", "reasoning": "maybe 42"}, "41", "maybe 42"),
        ({"content": "41", "reasoning": {"text": "maybe 42"}, "reasoning_content": None}, "41", "maybe 42"),
        ({"content": "41", "reasoning": 5}, "41", ""),
        ({"content": [{"type": "text", "text": "4"}, {"type": "text", "text": "1"}]}, "41", ""),
        ({"content": ["41"]}, "41", ""),
        (
            {"content": [{"type": "thinking", "thinking": "maybe 42"}, {"type": "text", "text": "41"}]},
            "41",
            "maybe 42",
        ),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "maybe 42"}]},
                    {"type": "text", "text": "41"},
                ]
            },
            "41",
            "maybe 42",
        ),
        ({"content": [{"type": "reasoning", "text": "maybe 42"}, {"type": "text", "text": "41"}]}, "41", "maybe 42"),
    ],
)
def test_thinking_is_kept_apart_from_the_answer_and_outlives_a_rerun(fields, text, reasoning, tmp_path):
    with ChatServer(lambda _: Act(body=message(**fields))) as server:
        found = [asked(server, cache=tmp_path / "c") for _ in range(2)]
        assert len(server.asked) == 1
    assert found == [[Reply(text=text, status="ok", reasoning=reasoning)]] * 2


@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ({"content": None}, "refused", "an empty answer"),
        ({"content": []}, "refused", "an empty answer"),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, "refused", "No."),
        ({"content": [{"type": "image_url", "image_url": "x"}]}, "failed", "a part of type 'image_url'"),
        ({"content": 5}, "failed", "content"),
        ({"content": {"text": "x"}}, "failed", "content"),
    ],
)
def test_a_message_without_a_text_has_a_status(fields, status, error):
    with ChatServer(lambda _: Act(body=message(**fields))) as server:
        (reply,) = asked(server)
    assert (reply.text, reply.status) == ("", status)
    assert error in str(reply.error)


# Bodies


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "it is no JSON"),
        (b"null", "the whole"),
        (b"[]", "the whole"),
        (json.dumps(completion("x")).encode()[:-9], "it is no JSON"),
        (json.dumps(completion("x")).encode().replace(b'"x"', b'"\xff"'), "it is no JSON"),
        (b"[" * 100_000, "it is no JSON"),
        (b'{"choices": ' + b'{"a":' * 100_000, "it is no JSON"),
        (b'{"choices": null}', "choices"),
        (b'{"choices": []}', "choices: 0 instead of 1"),
        (b"<!DOCTYPE html><html><body>Welcome</body></html>", "an HTML page"),
        (b'{"error": {"message": "overloaded", "code": 502}}', "HTTP 502"),
        (b'{"error": {"message": "out of order"}}', "holds an error: out of order"),
        (b'{"error": "out of order"}', "holds an error: out of order"),
        (completion("half") | {"error": {"message": "out of order"}}, "holds an error: out of order"),
        (completion("half") | {"error": {"code": 502, "message": "x"}}, "HTTP 502"),
        (with_choice(error={"message": "out of order"}), "comes with an error"),
    ],
    ids=range(16),
)
def test_a_body_that_is_no_completion_ends_as_a_row_that_says_so(body, error):
    with ChatServer(lambda _: Act(body=body)) as server:
        (reply,) = asked(server)
        assert len(server.asked) == 2
    assert (reply.text, reply.status) == ("", "failed")
    assert error in str(reply.error)


def test_an_error_in_a_good_response_is_the_error_that_it_tells_of():
    body = b'{"error": {"message": "no such model", "code": 404}}'
    with ChatServer(lambda _: Act(body=body)) as server, pytest.raises(InputError, match=r"\(404\): check model"):
        asked(server)


def test_a_stream_that_was_not_asked_for_stops_all_and_names_the_server():
    with ChatServer(lambda _: Act(body=b'data: {"choices": []}\n\n')) as server:
        with pytest.raises(
            InputError, match=r"a stream of events, which was not asked for; the endpoint is http://127"
        ):
            asked(server, "a", "b", prices=PRICES)
        assert len(server.asked) == 1


def test_a_wrong_content_type_does_not_matter():
    with ChatServer(lambda a: Act(body=good(a), headers={"Content-Type": "text/html"})) as server:
        assert asked(server)[0].status == "ok"


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_a_packed_answer_is_unpacked(pack):
    def plan(a):
        return Act(body=pack(json.dumps(good(a)).encode()), headers={"Content-Encoding": "gzip"})

    with ChatServer(plan) as server:
        assert asked(server)[0].text == "Answer to a"
    assert server.asked[0].headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(b" " * (chat_bytes.MOST_BYTES + 1))),
        ("identity", b" " * (chat_bytes.MOST_BYTES + 1)),
        ("gzip", b"not packed"),
        ("gzip", gzip.compress(json.dumps(completion("x")).encode())[:-8]),
        ("br", b"x"),
        ("gzip, gzip", gzip.compress(gzip.compress(b"x"))),
    ],
    ids=["bomb", "long", "unpacked", "cut off", "other", "twice"],
)
def test_a_response_has_a_longest_length(encoding, body):
    with ChatServer(lambda _: Act(body=body, headers={"Content-Encoding": encoding})) as server:
        (reply,) = asked(server, max_retries=0)
    assert reply.status == "failed"
    assert "longer than any answer" in str(reply.error) or "packed" in str(reply.error)


# Connections


@contextmanager
def raw_server(talk):
    """Answers each connection by `talk(reader, writer)`; gives its address."""
    loop, started, urls = asyncio.new_event_loop(), threading.Event(), []

    async def serve():
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        urls.append(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        started.set()

    def run():
        loop.create_task(serve())
        loop.run_forever()

    threading.Thread(target=run, daemon=True).start()
    assert started.wait(10)
    yield urls[0]
    loop.call_soon_threadsafe(loop.stop)


def endless(head, drop, pause):
    async def talk(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        with suppress(ConnectionError):
            while True:
                writer.write(drop)
                await writer.drain()
                await asyncio.sleep(pause)

    return talk


@pytest.mark.parametrize(
    ("head", "drop", "pause"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n", b" ", 0.05),
        (b"HTTP/1.1 200 OK\r\n", b"x-more: and more\r\n", 0.0),
        (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n", 0.05),
        (b"", b"", 0.1),
    ],
    ids=["drips", "headers", "slow headers", "silence"],
)
def test_a_server_that_comes_to_no_end_is_given_up(head, drop, pause):
    class Server:
        pass

    with raw_server(endless(head, drop, pause)) as Server.url:
        (reply,) = asked(Server, timeout=0.5, max_retries=0)
    assert reply.status == "failed"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_nothing_is_sent_on_to_another_address(status):
    with ChatServer() as other, ChatServer() as server:
        away = Act(status=status, body={}, headers={"location": f"{other.url}/chat/completions"})
        server.plan = lambda _: away
        with pytest.raises(
            InputError, match=rf"\({status}\): it sends requests on to another address; write in base_url"
        ):
            asked(server)
        assert (len(server.asked), other.asked) == (1, [])


@pytest.mark.parametrize(
    "wait",
    ["1000000000", "1e9", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT", "300"],
    ids=["s", "e", "400", "date", "cap"],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_that_is_too_long_fails_the_question_or_is_not_understood(status, wait):
    with ChatServer(lambda a: failed(status, **{"retry-after": wait}) if a.text == "a" else Act()) as server:
        first, second = asked(server, "a", "b", max_retries=0)
    assert (first.status, second.status) == ("failed", "ok")


@pytest.mark.parametrize("wait", ["-5", "nan", "inf", "-1e9", "", "soon", "Fri, 31 Dec 1999 23:59:59 GMT"])
def test_a_wait_that_is_none_is_not_waited_for(wait):
    with ChatServer(lambda a: failed(429, **{"retry-after": wait}) if a.tried == 1 else Act()) as server:
        assert asked(server)[0].status == "ok"


def test_a_quota_that_is_never_refilled_holds_nothing_up_for_ever():
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1000000000s"}
    with ChatServer(lambda _: Act(headers=headers)) as server:
        assert [reply.status for reply in asked(server, "a", "b", concurrency=1, longest_wait=0.2)] == ["ok", "ok"]


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_what_passes_is_tried_again(status):
    with ChatServer(lambda a: failed(status) if a.tried == 1 else Act()) as server:
        assert asked(server)[0].status == "ok"


def test_a_refusal_that_is_nested_deep_stops_the_run_in_words():
    body = b'{"error": ' + b'{"a": ' * 100_000
    with ChatServer(lambda _: Act(status=400, body=body)) as server, pytest.raises(InputError, match=r"\(400\)"):
        asked(server)


def test_a_question_that_is_too_large_is_the_fault_of_its_row_alone():
    with ChatServer(lambda a: failed(413) if a.text == "a" else Act()) as server:
        assert [reply.status for reply in asked(server, "a", "b")] == ["filtered", "ok"]


# What is refused


@pytest.mark.parametrize(
    ("said", "advice", "changes"),
    [
        ("Unsupported value: 'temperature' does not support 0.", "set temperature: null", {}),
        ("Unsupported parameter: 'max_completion_tokens'. Use 'max_tokens'.", "set token_limit: max_tokens", {}),
        (
            "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.",
            "set token_limit: max_completion_tokens",
            {"token_limit": "max_tokens"},
        ),
        ("reasoning_effort: unknown", "leave out reasoning_effort", {"reasoning_effort": "low"}),
        ("unknown field top_k", "take top_k out of extra_body", {"extra_body": {"top_k": 5}}),
    ],
)
def test_a_refusal_names_the_setting(said, advice, changes):
    with ChatServer(lambda _: failed(400, said)) as server, pytest.raises(InputError) as caught:
        asked(server, **changes)
    assert f"(400): {advice}" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("said", "advice"),
    [("n must be 1", "set per_request: 1"), ("seed is not supported", "set seed: null")],
)
def test_a_refusal_of_what_several_answers_need_names_the_setting(said, advice):
    with ChatServer(lambda _: failed(422, said)) as server, pytest.raises(InputError, match=advice):
        several(server, 3)


# The number of answers


def test_a_server_that_gives_fewer_answers_is_asked_for_the_rest(tmp_path):
    """It heeds no `n`. Every answer is paid for once, and each has a seed of its own."""
    with ChatServer(lambda a: Act(body=choices(f"{a.body['seed']}"))) as server:
        ledger = Ledger()
        found = several(server, 3, ledger=ledger, cache=tmp_path / "c", prices=PRICES)
        assert [reply.text for reply in found] == ["7", "8", "9"]
        assert [(a.body.get("n"), a.body["seed"]) for a in server.asked] == [(3, 7), (2, 8), (None, 9)]
        assert (ledger.requests, ledger.retries, ledger.dollars) == (3, 0, pytest.approx(3 * 0.015))
        assert several(server, 3, cache=tmp_path / "c") == found
        assert len(server.asked) == 3


def test_answers_that_came_are_kept_where_the_rest_does_not_come(tmp_path):
    def plan(a):
        return Act(body=choices("first")) if a.body.get("n") == 3 else failed(500)

    with ChatServer(plan) as server:
        found = several(server, 3, cache=tmp_path / "c", max_retries=0)
        assert [(reply.text, reply.status) for reply in found] == [("first", "ok"), ("", "failed")]
        server.plan = lambda a: Act()
        again = several(server, 3, cache=tmp_path / "c")
    assert [reply.text for reply in again] == ["first", "Answer 0 to a", "Answer 1 to a"]
    assert server.asked[-1].body["n"] == 2


def test_more_answers_than_were_asked_for_are_left_out():
    with ChatServer(lambda _: Act(body=choices("x", "y", "z") | {"usage": None})) as server:
        assert [reply.text for reply in several(server, 2)] == ["x", "y"]
        assert len(server.asked) == 1


def test_the_same_choice_given_twice_is_one_answer_and_others_of_one_index_are_several():
    twice, alike = choices("x"), choices("x", "y", "z")
    twice["choices"] *= 3
    for choice in alike["choices"]:
        choice["index"] = 0
    with ChatServer(lambda a: Act(body=twice if a.tried == 1 else choices("b", "c"))) as server:
        assert [reply.text for reply in several(server, 3)] == ["x", "b", "c"]
    with ChatServer(lambda _: Act(body=alike)) as server:
        assert sorted(reply.text for reply in several(server, 3)) == ["x", "y", "z"]
        assert len(server.asked) == 1


def test_of_several_answers_only_what_is_not_whole_is_asked_again():
    body = choices("x", "y", "z")
    body["choices"][1]["finish_reason"] = "error"  # that of y
    with ChatServer(lambda a: Act(body=body if a.body.get("n") == 3 else choices("new"))) as server:
        assert [reply.text for reply in several(server, 3)] == ["x", "z", "new"]
        assert len(server.asked) == 2


def test_answers_are_asked_for_so_many_at_a_time():
    with ChatServer() as server:
        found = several(server, 5, per_request=2)
    assert [a.body.get("n") for a in server.asked] == [2, 2, None]
    assert len(found) == 5


def test_where_no_reply_at_all_can_be_used_the_asking_ends(monkeypatch):
    with ChatServer(lambda _: Act(body=ending("abort"))) as server:
        with pytest.raises(InputError, match=r"no usable reply to any of 10 questions.*'abort'"):
            asked(server, *map(str, range(500)), concurrency=2, max_retries=0)
        assert len(server.asked) < 20


# Tokens


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"prompt_tokens": -1, "completion_tokens": 5},
        {"prompt_tokens": 10, "completion_tokens": None},
        {"prompt_tokens": "ten", "completion_tokens": 5},
        {"prompt_tokens": 10, "completion_tokens": int("9" * 400)},
        {"prompt_tokens": 1e400, "completion_tokens": 5},
        {"prompt_tokens": {"all": None}, "completion_tokens": [None]},
        [None],
        "none",
    ],
    ids=range(10),
)
def test_a_count_that_cannot_be_counts_as_the_most_that_the_request_may_cost(usage):
    with ChatServer(lambda _: Act(body=completion("x") | {"usage": usage})) as server:
        ledger = Ledger()
        assert asked(server, ledger=ledger, prices=PRICES, max_tokens=20)[0].status == "ok"
    assert (ledger.dollars, ledger.dollars_unreported) == (0, pytest.approx(0.021))


def test_cached_and_reasoning_tokens_have_their_prices():
    usage = {
        "prompt_tokens": 100, "completion_tokens": 30, "total_tokens": 130,
        "prompt_tokens_details": {"cached_tokens": 80}, "completion_tokens_details": {"reasoning_tokens": 20},
    }  # fmt: skip
    price = Price(input=1000, cached_input=100, output=2000, reasoning=3000)
    with ChatServer(lambda _: Act(body=completion("x") | {"usage": usage})) as server:
        ledger = Ledger()
        asked(server, ledger=ledger, prices={"m": price})
        assert (ledger.cached_input_tokens, ledger.reasoning_tokens) == (80, 20)
        assert ledger.dollars == pytest.approx(0.02 + 0.008 + 0.02 + 0.06)
        plain = Ledger()
        asked(server, ledger=plain, prices=PRICES)
    assert plain.dollars == pytest.approx(0.13)


@pytest.mark.parametrize(
    "details",
    [None, 5, {}, {"cached_tokens": None}, {"cached_tokens": -5}, {"cached_tokens": "8"}, {"cached_tokens": 10**400}],
    ids=range(7),
)
def test_details_that_are_none_leave_the_full_price(details):
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": details}
    with ChatServer(lambda _: Act(body=completion("x") | {"usage": usage})) as server:
        ledger = Ledger()
        asked(server, ledger=ledger, prices={"m": Price(input=1000, cached_input=0, output=1000)})
    assert ledger.dollars == pytest.approx(0.015)


def test_tokens_that_only_the_total_holds_are_paid_as_written():
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115}
    with ChatServer(lambda _: Act(body=completion("x") | {"usage": usage})) as server:
        ledger = Ledger()
        asked(server, ledger=ledger, prices=PRICES)
    assert (ledger.output_tokens, ledger.dollars) == (105, pytest.approx(0.115))


@pytest.mark.parametrize(
    "body",
    [completion("x", tokens=(10, 8000)), completion("word " * 4000) | {"usage": None}],
    ids=["counted", "uncounted"],
)
def test_a_server_that_heeds_no_limit_of_tokens_stops_all_at_its_first_reply(body):
    with ChatServer(lambda _: Act(body=body)) as server:
        ledger = Ledger()
        with pytest.raises(InputError) as caught:
            asked(server, *map(str, range(50)), ledger=ledger, prices=PRICES, max_tokens=20, concurrency=16)
        assert len(server.asked) == 1
    assert f"the endpoint {server.url}/ wrote " in str(caught.value)
    assert "does not heed max_completion_tokens" in str(caught.value)
    assert "set token_limit: max_tokens" in str(caught.value)
    assert ledger.dollars + ledger.dollars_unreported > 0.02


def test_all_is_asked_within_a_cap_whatever_is_reserved():
    """The server bills nothing; what 16 requests may cost at most passes the cap many times."""
    body = completion("x", tokens=(0, 0))
    with ChatServer(lambda _: Act(body=body, delay=0.01)) as server:
        found = asked(server, *map(str, range(60)), budget_usd=0.05, prices=PRICES, max_tokens=20, concurrency=16)
    assert {reply.status for reply in found} == {"ok"}
    assert len(server.asked) == 60


def test_who_answered_is_told_where_it_is_another():
    with ChatServer(lambda a: Act(body=good(a) | {"model": "m-2024" if a.text == "a" else ["m"]})) as server:
        ledger = Ledger()
        asked(server, "a", "b", ledger=ledger)
    assert ledger.answered_by == {"m-2024"}


# What is sent


def test_what_reasoning_models_want_is_sent_and_what_they_refuse_is_not(tmp_path):
    extra = {"thinking": {"type": "enabled", "budget": 100}}
    with ChatServer() as server:
        base = {"temperature": None, "token_limit": "max_tokens", "max_tokens": 9, "cache": tmp_path / "c"}
        asked(server, **base)
        asked(server, reasoning_effort="low", extra_body=extra, **base)
    sent = [{name: value for name, value in a.body.items() if name != "messages"} for a in server.asked]
    assert sent == [
        {"model": "m", "max_tokens": 9},
        {"model": "m", "max_tokens": 9, "reasoning_effort": "low", **extra},
    ]


@pytest.mark.parametrize("name", ["model", "messages", "n", "stream", "max_tokens", "temperature", "response_format"])
def test_more_fields_take_the_place_of_none(name):
    with pytest.raises(ValidationError, match=f"extra_body may not give {name}"):
        ChatSettings.model_validate({"model": "m", "extra_body": {name: 1}})


def test_more_fields_are_json():
    for value in (float("nan"), {"a": float("inf")}, {1, 2}, b"x"):
        with pytest.raises(ValidationError):
            ChatSettings.model_validate({"model": "m", "extra_body": {"a": value}})


@pytest.mark.parametrize(
    "base_url",
    [
        "https://user:pw-secret@host/v1", "https://pw-secret@host/v1", "https://host/v1?api_key=pw-secret",
        "https://host/v1#pw-secret", "ftp://user:pw-secret@host/v1", "https://user:pw-secret@[host/v1",
    ],
)  # fmt: skip
def test_an_address_with_a_secret_is_refused_without_saying_it(base_url):
    with pytest.raises(ValidationError) as caught:
        ChatSettings(model="m", base_url=base_url)
    assert all("pw-secret" not in error["msg"] for error in caught.value.errors())
    assert all(error["type"] == "value_error" for error in caught.value.errors())


@pytest.mark.parametrize(
    "address",
    [
        "https://",
        "http:///v1",
        "http://h:99999/v1",
        "http://h:x/v1",
        "http://h/v1\nX: y",
        "http://h/v1/../..",
        "http://e x/",
        "http://h/" + "v" * 70_000,
        "http://" + "h" * 70_000,
    ],
)
def test_an_address_that_cannot_be_asked_is_refused_with_the_settings(address):
    with pytest.raises(ValidationError, match="base_url"):
        ChatSettings(model="m", base_url=address)


@pytest.mark.parametrize(
    "extra", [{"api_key": "sk-1"}, {"provider": {"Authorization": "Bearer x"}}, {"x-api-key": "k"}]
)
def test_a_key_among_the_fields_of_a_request_is_refused(extra):
    with pytest.raises(ValidationError, match="would be stored with every run"):
        ChatSettings(model="m", extra_body=extra)


def test_more_cached_tokens_than_the_question_has_leave_the_full_price():
    body = completion("x") | {
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 80}}
    }
    ledger, prices = Ledger(), {"m": Price(input=1000, output=1000, cached_input=100)}
    with ChatServer(lambda _: Act(body=body)) as server:
        asked(server, prices=prices, ledger=ledger)
    assert ledger.dollars == pytest.approx(0.015)
