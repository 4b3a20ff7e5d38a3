"""When a request may start, in numbers."""

import asyncio
import email.utils
import time

import pytest

from hasse.stages.chat.http.headers import remaining, retry_after, seconds
from hasse.stages.chat.http.limits import Gate, Pace, Quota
from hasse.stages.chat.http.outcome import Outcome
from hasse.stages.chat.reply import Reply
from hasse.stages.chat.settings import ChatSettings

GOOD = Outcome(replies=(Reply(text="x", status="ok"),))
REFUSED = Outcome(error="HTTP 429", overloaded=True)


def at_a_time(gate, outcomes):
    """`allowed` after each outcome of requests that start one after the other."""

    async def run():
        found = []
        for outcome in outcomes:
            gate.leave(await gate.enter(1), outcome)
            found.append(gate.allowed)
        return found

    return asyncio.run(run())


def test_halved_when_refused_and_one_more_after_as_many_replies_as_are_allowed():
    gate = Gate(ChatSettings(model="m", concurrency=8))
    assert at_a_time(gate, [REFUSED, REFUSED]) == [4, 2]
    assert at_a_time(gate, [GOOD] * 6) == [2, 3, 3, 3, 4, 4]
    assert at_a_time(gate, [GOOD] * 50)[-1] == 8
    assert at_a_time(gate, [REFUSED] * 5) == [4, 2, 1, 1, 1]
    assert at_a_time(gate, [Outcome(error="HTTP 500")]) == [1]


def test_a_burst_that_is_refused_halves_once():
    async def run():
        gate = Gate(ChatSettings(model="m", concurrency=8))
        tickets = [await gate.enter(1) for _ in range(8)]
        for ticket in tickets:
            gate.leave(ticket, REFUSED)
        return gate.allowed, gate.running

    assert asyncio.run(run()) == (4, 0)


def test_no_more_start_than_are_allowed_and_waiting_can_be_given_up():
    async def run():
        gate = Gate(ChatSettings(model="m", concurrency=2))
        first, _ = await gate.enter(1), await gate.enter(1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await gate.enter(1)
        waiting = asyncio.create_task(gate.enter(1))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        gate.leave(first, GOOD)
        await asyncio.wait_for(waiting, 5)
        return gate.running

    assert asyncio.run(run()) == 2


def test_a_pace_spaces_evenly_and_is_corrected():
    pace = Pace(60)
    assert pace.wait(100.0) <= 0
    pace.take(1, 100.0)
    assert pace.wait(100.0) == pytest.approx(1 - Pace.LATE, abs=Pace.LATE)
    pace.take(3, 101.0)
    assert pace.wait(101.0) == pytest.approx(3 - Pace.LATE, abs=Pace.LATE)
    pace.correct(-2)
    assert pace.wait(101.0) == pytest.approx(1 - Pace.LATE, abs=Pace.LATE)
    unlimited = Pace(None)
    unlimited.take(1e9, 100.0)
    assert unlimited.wait(100.0) <= 0


def test_a_quota_counts_what_started_after_the_request_it_was_told_with():
    quota = Quota()
    quota.taken = 5.0
    quota.report(3, 10.0, as_of=4.0, now=100.0)  # of the 3, the fifth has taken one
    assert quota.wait(2, 101.0) == 0
    assert quota.wait(3, 101.0) == 9.0
    quota.report(9, 10.0, as_of=2.0, now=101.0)  # older news
    assert quota.wait(3, 101.0) == 9.0
    assert quota.wait(3, 111.0) < 0  # past the reset nothing is known


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *[("6m0s", 360), ("1.5s", 1.5), ("20ms", 0.02), ("7", 7), ("1h2m3s", 3723), ("2m59.56s", 179.56)],
        *[(text, None) for text in ("", "soon", "-1", "1x", "nan")],
    ],
)
def test_spans_of_time(text, expected):
    assert seconds(text) == (None if expected is None else pytest.approx(expected))


def test_what_headers_say():
    assert retry_after({}) == 0
    assert retry_after({"retry-after": "2", "retry-after-ms": "1500"}) == 1.5
    assert retry_after({"retry-after": "2"}) == 2
    assert retry_after({"retry-after": "tomorrow"}) == 0
    assert 8 < retry_after({"retry-after": email.utils.formatdate(time.time() + 10, usegmt=True)}) <= 10
    said = {"x-ratelimit-remaining-tokens": "149984", "x-ratelimit-reset-tokens": "6m0s"}
    assert remaining(said, "tokens") == (149984, 360)
    assert remaining(said, "requests") is None
    assert remaining(said | {"x-ratelimit-remaining-tokens": "nan"}, "tokens") is None
