"""Ask many questions by batches: reserve their cost, upload them, wait, read the results, and retry the rest.

A batch is noted in the cache's file as soon as it is submitted. A run that was killed finds its batches there and waits
for them, instead of paying again.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from hasse.data.errors import InputError, WorkError
from hasse.stages.chat.batch_api import BatchCalls, State, read_line, write_line
from hasse.stages.chat.cache.replies import Submitted
from hasse.stages.chat.call import Call
from hasse.stages.chat.http.outcome import CANCELLED, Outcome
from hasse.stages.chat.money.budget import Estimate
from hasse.stages.chat.reply import STOPPED, Replies, Reply, failed
from hasse.stages.chat.request import Sending
from hasse.stages.chat.settings import BatchSettings

NOT_IN_KEYS = "it carries questions and replies; `request` and `reply` decide what is asked and what is read"

NOTHING = Estimate(0, 0)
NO_ROOM = "token_limit_exceeded"
"""The code of a batch that failed because the account has too many tokens in other batches."""


@dataclass(slots=True)
class _Question:
    sending: Sending
    answered: asyncio.Future[Replies]
    got: list[Reply]
    tried: int = 0
    turned_away: int = 0  # how many of these tries were in a batch that the endpoint had no room for

    @property
    def part(self) -> Sending:
        """The request for the answers that are still missing."""
        return self.sending.after(len(self.got))

    def end(self, *last: Reply) -> None:
        if not self.answered.done():
            self.answered.set_result((*self.got, *last))


@dataclass(slots=True)
class _Batch:
    """`questions`: this call's questions in the batch, by key. `outcomes`: what was read for any request, by key."""

    submitted: Submitted
    questions: dict[str, _Question]
    outcomes: dict[str, Outcome] = field(default_factory=dict)


@dataclass(slots=True)
class Batches:
    """The questions of one call, which are asked in rounds; a round takes as long as its slowest batch."""

    call: Call
    how: BatchSettings = field(init=False)
    calls: BatchCalls = field(init=False)
    waiting: dict[str, _Question] = field(default_factory=dict)
    open: list[_Batch] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings = self.call.settings
        assert settings.batch is not None
        self.how = settings.batch
        self.calls = BatchCalls(self.call.endpoint, settings.max_retries)

    async def answer(self, sending: Sending) -> Replies:
        """The replies to a question, which `round` asks."""
        async with self.call.claimed(sending) as got:
            if len(got) < sending.wanted.num:
                question = _Question(sending, asyncio.get_running_loop().create_future(), got)
                self.waiting[sending.key] = question
                return await question.answered
        return tuple(got)

    async def round(self) -> None:
        """Submit the questions that wait, and read the answers once all batches have ended.

        Questions that a batch left without an answer wait for the next round.
        """
        try:
            await self._resume()
            await self._submit()
            await self._follow_all()
        finally:
            for batch in list(self.open):
                self._close(batch, CANCELLED)

    async def _resume(self) -> None:
        """Take over batches of an earlier run that hold questions of this call."""
        for submitted in self.call.cache.submitted():
            keys = [key for key in submitted.requests if key in self.waiting]
            if keys and (found := await self._found(submitted)) is not None:
                questions = {key: self.waiting.pop(key) for key in keys}
                for question in questions.values():
                    self.call.budget.owe(question.part.estimate)
                    question.tried = 1
                self.call.ledger.add(resumed=len(questions))
                self.open.append(_Batch(found, questions))

    async def _found(self, submitted: Submitted) -> Submitted | None:
        """The submitted file with the id of its batch; None for a file that never became a batch."""
        if submitted.batch_id is not None:
            return submitted
        made = await self.calls.find(submitted.file_id)
        if made is None:
            self.call.cache.forget(submitted)
            return None
        found = replace(submitted, batch_id=made.id)
        self.call.cache.note(found)
        return found

    async def _submit(self) -> None:
        """Submit the waiting questions that can be paid for. When no batch is open then, the others end unanswered."""
        for questions, content in self._parts():
            await self._submit_batch(questions, content)
        if not self.open:
            for question in self.waiting.values():
                question.end(STOPPED)
            self.waiting.clear()

    def _parts(self) -> Iterator[tuple[dict[str, _Question], bytes]]:
        """(questions, file) of each batch; the cost of its questions is reserved."""
        questions: dict[str, _Question] = {}
        content = bytearray()
        for key, question in list(self.waiting.items()):
            if not self.call.budget.reserve_now(question.part.estimate, again=question.tried > 0):
                break
            line = write_line(question.part)
            full = len(questions) == self.how.max_requests or len(content) + len(line) > 1e6 * self.how.max_megabytes
            if questions and full:
                yield questions, bytes(content)
                questions, content = {}, bytearray()
            questions[key] = self.waiting.pop(key)
            content += line
        if questions:
            yield questions, bytes(content)

    async def _submit_batch(self, questions: dict[str, _Question], content: bytes) -> None:
        file_id = await self.calls.upload(content)
        requests = {key: question.part.wanted for key, question in questions.items()}
        batch = _Batch(Submitted(file_id=file_id, requests=requests), questions)
        self.call.cache.note(batch.submitted)  # without an id: after a kill the next run looks for the batch
        self.open.append(batch)
        try:
            batch_id = await self.calls.create(file_id, self.how)
        except InputError:
            self._end(batch, Outcome(error="refused"))
            raise
        batch.submitted = replace(batch.submitted, batch_id=batch_id)
        self.call.cache.note(batch.submitted)
        for question in questions.values():
            question.tried += 1

    async def _follow_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            followed = [group.create_task(self._follow(batch)) for batch in self.open]
        no_room = [task.result() for task in followed]
        if no_room and all(no_room):
            raise InputError(f"the endpoint has no room for a batch: {no_room[0]}; set a lower batch.max_requests")

    async def _follow(self, batch: _Batch) -> str:
        """Wait for the end of a batch and read it. Returns the server's words if there was no room for the batch."""
        state = await self._ended(batch.submitted)
        if state.status == "failed":
            return self._fail(batch, state)
        for file_id in filter(None, (state.output_file_id, state.error_file_id)):
            await self.calls.read(file_id, partial(self._take, batch))
        missing = Outcome(error=f"the {state.status} batch left it out", may_cost=state.status == "completed")
        self._end(batch, missing)
        for key, question in batch.questions.items():
            self._conclude(question, batch.outcomes.get(key, missing))
        return ""

    async def _ended(self, submitted: Submitted) -> State:
        batch_id, clock = submitted.batch_id, asyncio.get_running_loop().time
        assert batch_id is not None
        until = clock() + self.how.max_wait
        while (state := await self._look(batch_id)) is None or not state.ended:
            if clock() > until:
                status = self.call.endpoint.read.quote(state.status) if state else "not to be reached"
                waited = f"batch {batch_id} is {status} after {self.how.max_wait:g} s"
                raise WorkError(f"{waited}; the same command waits on, and pays for nothing twice")
            await asyncio.sleep(self.how.poll_seconds)
        return state

    async def _look(self, batch_id: str) -> State | None:
        try:
            return await self.calls.look(batch_id)
        except InputError as error:
            raise InputError(
                f"batch {batch_id}, which was submitted: {error}; use the key that submitted it, or, where it is lost "
                f"for good, delete its row from the table `batch` of {self.call.settings.cache_path}"
            ) from None

    def _fail(self, batch: _Batch, state: State) -> str:
        """Handle a batch that was not processed. Raises InputError unless there may be room when others have ended."""
        self._end(batch, Outcome())
        places = (f"line {p.line}: {p.message}" if p.line else p.message or p.code or "" for p in state.problems[:3])
        words = self.call.endpoint.read.quote("; ".join(places) or "no reason given")
        if not any(problem.code == NO_ROOM for problem in state.problems):
            raise InputError(f"the endpoint refuses the batch {batch.submitted.batch_id}; it says: {words}")
        for question in batch.questions.values():
            question.turned_away += 1
        self.waiting |= batch.questions
        return words

    def _take(self, batch: _Batch, line: bytes) -> None:
        """Keep the result in a line, in the cache first. Of two results for a request the first with replies counts."""
        result = read_line(line)
        wanted = batch.submitted.requests.get(result.custom_id) if result else None
        if result is None or wanted is None or batch.outcomes.get(result.custom_id, Outcome()).replies:
            return
        outcome = result.outcome(self.call.endpoint.read, wanted)
        batch.outcomes[result.custom_id] = outcome
        if outcome.replies:
            self.call.cache.put(result.custom_id, outcome.replies, outcome.usage, first=wanted.first)

    def _end(self, batch: _Batch, otherwise: Outcome) -> None:
        """Forget a batch from which nothing more can be read."""
        self.call.cache.forget(batch.submitted)
        self._close(batch, otherwise)

    def _close(self, batch: _Batch, otherwise: Outcome) -> None:
        """Replace reservations by costs. Requests that only an earlier run asked for are counted too."""
        self.open.remove(batch)
        for key in batch.submitted.requests:
            question = batch.questions.get(key)
            self.call.budget.settle(question.part.estimate if question else NOTHING, batch.outcomes.get(key, otherwise))

    def _conclude(self, question: _Question, outcome: Outcome) -> None:
        """End a question or put it back to the waiting ones. Raises InputError for what a retry cannot mend."""
        question.got += outcome.replies
        if outcome.final or len(question.got) >= question.sending.wanted.num:
            question.end()
        elif outcome.replies:
            self.waiting[question.sending.key] = question
        elif not outcome.again:
            raise InputError(outcome.error)
        elif question.tried - question.turned_away < self.how.max_attempts:
            self.waiting[question.sending.key] = question
        else:
            question.end(failed(f"{outcome.error}; asked in {question.tried} batches"))
