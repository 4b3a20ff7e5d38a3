"""Ask questions one by one: each is let through, paid for, sent, and sent again where a retry may help."""

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from hasse.data.errors import InputError
from hasse.stages.chat.call import Call, PendingReplies, opened
from hasse.stages.chat.event_loop import Put
from hasse.stages.chat.http.limits import Gate, Ticket
from hasse.stages.chat.http.outcome import CANCELLED, Outcome
from hasse.stages.chat.money.budget import Payer
from hasse.stages.chat.reply import STOPPED, Replies, Reply, failed
from hasse.stages.chat.request import Conversation, Sending
from hasse.stages.chat.settings import ChatSettings

NOT_IN_KEYS = "it carries questions and replies; `request` and `reply` decide what is asked and what is read"

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before a retry, at most
jitter = random.Random()
"""A generator of its own: asking must not advance the generator that others draw their samples from."""

NEVER_USABLE = 10
"""After so many questions without one usable reply all are stopped: further questions would be paid for in vain."""


async def hold(conversations: Iterable[Conversation[T]], settings: ChatSettings, payer: Payer, put: Put[T]) -> None:
    """Hold the conversations side by side; put the result of each as soon as the conversation has ended.

    Raises InputError, perhaps in an exception group.
    """
    async with opened(settings, payer) as call, asyncio.TaskGroup() as group:
        questions = _Questions(call, group)
        for index, conversation in enumerate(conversations):
            begun = asyncio.Event()
            group.create_task(questions.talk(conversation, lambda result, index=index: put((index, result)), begun))
            await begun.wait()


@dataclass(slots=True)
class _Try:
    """One request for a question. `num_failed`: how many tries before this gave no reply, in a row."""

    part: Sending
    ticket: Ticket
    num_failed: int
    outcome: Outcome = CANCELLED


@dataclass(slots=True)
class _Questions:
    """The questions of one call. A question takes several requests where the server gives fewer answers than asked for.

    Where the model costs money the first question is asked alone, so that a server that ignores a parameter, such as
    the limit of tokens, is found out by one reply.
    """

    call: Call
    group: asyncio.TaskGroup
    gate: Gate = field(init=False)
    is_first: bool = field(init=False)
    num_usable: int = 0
    num_unusable: int = 0

    def __post_init__(self) -> None:
        self.gate = Gate(self.call.settings)
        self.is_first = not self.call.budget.is_free

    async def talk(self, conversation: Conversation[T], end: Callable[[T], None], begun: asyncio.Event) -> None:
        """Hold one conversation and pass its result to `end`.

        Sets `begun` when the first requests have been sent, or at the end of a conversation that asks nothing.
        """
        replies = None
        while True:
            try:
                requests = conversation.send(replies)  # type: ignore[arg-type]  None starts a generator
            except StopIteration as stopped:
                end(stopped.value)
                break
            answers: list[PendingReplies] = []
            for request in requests:
                sending = self.call.sending(request)
                if (answer := self.call.known(sending)) is None:
                    asked = asyncio.Event()
                    answer = self.call.remember(sending, self.group.create_task(self.answer(sending, asked)))
                    await asked.wait()
                answers.append(answer)
            begun.set()
            replies = [await answer for answer in answers]
        begun.set()

    async def answer(self, sending: Sending, asked: asyncio.Event) -> Replies:
        """The replies to a question. Sets `asked` when the next question may be started.

        Questions are started in order, and the next waits until this question was let through: so few are under way.
        """
        async with self.call.claimed(sending, asked) as got:
            trial = await self._let_through(sending, got) if len(got) < sending.wanted.num else None
            if not self._is_asked_alone(trial):
                asked.set()
            try:
                async with asyncio.timeout(self.call.settings.deadline):
                    while trial is not None:
                        with self._under_way(trial):
                            trial.outcome = await self.call.endpoint.send(trial.part.body, trial.part.wanted)
                            self._keep(trial)
                        got += trial.outcome.replies
                        trial = await self._next(sending, got, trial)
            except TimeoutError:
                got.append(failed(f"no answer by the deadline of {self.call.settings.deadline:g} s"))
        asked.set()
        return tuple(got)

    def _is_asked_alone(self, trial: _Try | None) -> bool:
        alone = self.is_first and trial is not None
        self.is_first = self.is_first and not alone
        return alone

    async def _let_through(self, sending: Sending, got: list[Reply], *, num_failed: int = 0) -> _Try | None:
        """The next try for the replies that are missing; where there is no money for it, None, and STOPPED in `got`."""
        part = sending.after(len(got))
        ticket = await self.gate.enter(part.estimate.tokens)
        admitted = False
        try:
            admitted = await self.call.budget.reserve(part.estimate, again=num_failed > 0)
        finally:
            if not admitted:
                self.gate.leave(ticket, Outcome())
        if admitted:
            return _Try(part, ticket, num_failed)
        got.append(STOPPED)
        return None

    @contextmanager
    def _under_way(self, trial: _Try) -> Iterator[None]:
        """Afterwards give back the ticket and settle the cost, also when the try was cancelled."""
        try:
            yield
        finally:
            self.gate.leave(trial.ticket, trial.outcome)
            self.call.budget.settle(trial.part.estimate, trial.outcome)

    def _keep(self, trial: _Try) -> None:
        """Put the replies into the cache, before anything can stop them from being used."""
        outcome = trial.outcome
        self.num_usable += bool(outcome.replies)
        if outcome.replies:
            self.call.cache.put(trial.part.key, outcome.replies, outcome.usage, first=trial.part.wanted.first)

    async def _next(self, sending: Sending, got: list[Reply], last: _Try) -> _Try | None:
        """The try after `last`, once it is let through; None when all replies are there, or one that says why not."""
        outcome = last.outcome
        if outcome.final or len(got) >= sending.wanted.num:
            return None
        num_failed = 0 if outcome.replies else last.num_failed + 1
        if num_failed:
            self._check(outcome, num_failed)
            if num_failed > self.call.settings.max_retries:
                got.append(failed(f"{outcome.error}; asked {num_failed} times"))
                return None
            await asyncio.sleep(pause(num_failed, outcome))
        return await self._let_through(sending, got, num_failed=num_failed)

    def _check(self, outcome: Outcome, num_failed: int) -> None:
        """Raises InputError for what another try would not mend."""
        if not outcome.again:
            raise InputError(outcome.error)
        self.num_unusable += outcome.unusable and num_failed > self.call.settings.max_retries
        if self.num_unusable >= NEVER_USABLE and not self.num_usable:
            raise InputError(
                f"the endpoint {self.call.endpoint.url} gave no usable reply to any of {self.num_unusable} questions, "
                f"and may have charged for all: {outcome.error}"
            )


def pause(num_failed: int, outcome: Outcome) -> float:
    """Seconds before the next try, with full jitter: up to a limit that doubles; no less than the server asks for."""
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (num_failed - 1))
    return max(outcome.retry_after, jitter.uniform(0.0, longest))
