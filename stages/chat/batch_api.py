"""The provider's batch endpoint: upload a file of requests, create a batch, look at it, read its results.

In a batch's file each line is one request; in its result files each line is one answer, in any order.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hasse.data.errors import InputError, WorkError
from hasse.stages.chat.http.endpoint import Endpoint
from hasse.stages.chat.http.outcome import Outcome, Response
from hasse.stages.chat.http.reading import Reader
from hasse.stages.chat.one_by_one import pause
from hasse.stages.chat.reply import Wanted
from hasse.stages.chat.request import Sending
from hasse.stages.chat.settings import BatchSettings

NOT_IN_KEYS = "it carries questions and replies; `request` and `reply` decide what is asked and what is read"

PATH = "/v1/chat/completions"

M = TypeVar("M", bound=BaseModel)
ClientCall = Callable[[Any], Awaitable[Any]]
"""A request by the openai client that is passed in."""


class Problem(BaseModel):
    code: str | None = None
    line: int | None = None
    message: str | None = None


class _Problems(BaseModel):
    data: list[Problem] | None = None


class State(BaseModel):
    """A batch as the provider describes it."""

    id: str
    status: str
    input_file_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: _Problems | None = None

    @property
    def ended(self) -> bool:
        return self.status in {"completed", "expired", "cancelled", "failed"}

    @property
    def problems(self) -> list[Problem]:
        return (self.errors and self.errors.data) or []


class _File(BaseModel):
    id: str


class _Page(BaseModel):
    data: list[State]
    has_more: bool = False


class _Response(BaseModel):
    status_code: int
    body: Any = None


class BatchResult(BaseModel):
    """A line of an output or error file; `custom_id` is the key of its request."""

    custom_id: str
    response: _Response | None = None
    error: Problem | None = None

    def outcome(self, read: Reader, wanted: Wanted) -> Outcome:
        """The outcome of the same response to a single request; a request that was not tried may be tried again."""
        if self.response is not None:
            body = json.dumps(self.response.body).encode()
            return read.outcome(Response(self.response.status_code, {}, body), wanted)
        error = self.error or Problem()
        return Outcome(error=read.quote(f"{error.code or 'no answer'}: {error.message or 'without a reason'}"))


def write_line(sending: Sending) -> bytes:
    line = {"custom_id": sending.key, "method": "POST", "url": PATH, "body": sending.body}
    return json.dumps(line).encode() + b"\n"


def read_line(line: bytes) -> BatchResult | None:
    """The result in a line; None for a line that is no result."""
    try:
        return BatchResult.model_validate_json(line)
    except ValidationError:
        return None


@dataclass(frozen=True, slots=True)
class BatchCalls:
    """Requests to the batch endpoint, each tried as often as a question.

    They raise InputError when the endpoint refuses the request, and WorkError when it never answers.
    """

    endpoint: Endpoint
    max_retries: int

    async def upload(self, content: bytes) -> str:
        """Upload a file and return its id. A second upload of the same file costs nothing."""
        file = ("requests.jsonl", content)
        made = await self._insist(
            lambda client: client.files.with_raw_response.create(file=file, purpose="batch"), _File, long=True
        )
        return made.id

    async def create(self, file_id: str, settings: BatchSettings) -> str:
        """Create the batch of a file and return its id.

        Only one batch is created: when the answer to a request was lost, the next try looks for the batch first.
        """
        window: Any = settings.completion_window  # the client's type allows only OpenAI's own value
        tried = 0
        while True:
            made = await self.find(file_id) if tried else None
            made = made or await self._once(
                lambda client: client.batches.with_raw_response.create(
                    input_file_id=file_id, endpoint=PATH, completion_window=window
                ),
                State,
            )
            if isinstance(made, State):
                return made.id
            tried += 1
            await self._bear(made, tried)

    async def find(self, file_id: str) -> State | None:
        """The batch that was created from a file, if there is one."""
        query: dict[str, object] = {"limit": 100}
        while True:
            page = await self._insist(lambda client: client.batches.with_raw_response.list(extra_query=query), _Page)
            state = next((batch for batch in page.data if batch.input_file_id == file_id), None)
            if state or not page.data or not page.has_more:
                return state
            query["after"] = page.data[-1].id

    async def look(self, batch_id: str) -> State | None:
        """The state of a batch; None when the endpoint does not tell now."""
        state = await self._once(lambda client: client.batches.with_raw_response.retrieve(batch_id), State)
        if isinstance(state, State):
            return state
        if not state.again:
            raise InputError(state.error)
        return None

    async def read(self, file_id: str, take: Callable[[bytes], None]) -> None:
        """Give `take` each line of a file, perhaps more than once; no line when the provider has deleted the file."""
        tried = 0
        while (problem := await self.endpoint.read_file(file_id, take)) is not None:
            if isinstance(problem, Response) and problem.status == 404:
                return
            tried += 1
            outcome = self.endpoint.read.problem(problem) if isinstance(problem, Response) else problem
            await self._bear(outcome, tried)

    async def _insist(self, request: ClientCall, model: type[M], *, long: bool = False) -> M:
        tried = 0
        while not isinstance(answer := await self._once(request, model, long=long), model):
            assert isinstance(answer, Outcome)
            tried += 1
            await self._bear(answer, tried)
        return answer

    async def _once(self, request: ClientCall, model: type[M], *, long: bool = False) -> M | Outcome:
        response = await self.endpoint.call(request, long=long)
        if isinstance(response, Outcome):
            return response
        if not response.ok:
            return self.endpoint.read.problem(response)
        try:
            return model.model_validate_json(response.body)
        except ValidationError:
            return Outcome(error="the response is not what the protocol says")

    async def _bear(self, outcome: Outcome, tried: int) -> None:
        """Wait before another try; raise InputError or WorkError when there is none."""
        if not outcome.again:
            raise InputError(f"{outcome.error}; leave `batch` out for an endpoint that has none")
        if tried > self.max_retries:
            problem = f"the batch endpoint does not answer ({outcome.error}; asked {tried} times)"
            raise WorkError(f"{problem}; the same command goes on from here")
        await asyncio.sleep(pause(tried, outcome))
