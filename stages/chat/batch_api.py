"""What is said to a provider's batch endpoint: upload, create, look, read."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hasse.data.errors import InputError, WorkError
from hasse.stages.chat.batch_files import PATH
from hasse.stages.chat.http.endpoint import Endpoint, Outcome, Response
from hasse.stages.chat.one_by_one import pause
from hasse.stages.chat.settings import BatchSettings

NOT_IN_KEYS = "it carries questions and replies; `request` and `reply` decide what is asked and what is read"

M = TypeVar("M", bound=BaseModel)
ClientCall = Callable[[Any], Awaitable[Any]]
"""A request by the openai client that it is given."""


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


@dataclass(frozen=True, slots=True)
class BatchCalls:
    """Each is tried as often as a question. They raise InputError when refused, WorkError when never answered."""

    endpoint: Endpoint
    max_retries: int

    async def upload(self, content: bytes) -> str:
        """The id of the file. To upload it twice costs nothing."""
        file = ("requests.jsonl", content)
        made = await self._insist(
            lambda client: client.files.with_raw_response.create(file=file, purpose="batch"), _File, long=True
        )
        return made.id

    async def create(self, file_id: str, settings: BatchSettings) -> str:
        """The id of the file's batch. There will be one: when an answer was lost, the batch is looked for first."""
        window: Any = settings.completion_window  # the client's type knows OpenAI's own alone
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
        """The batch that was made of a file, if there is one."""
        query: dict[str, object] = {"limit": 100}
        while True:
            page = await self._insist(lambda client: client.batches.with_raw_response.list(extra_query=query), _Page)
            found = next((batch for batch in page.data if batch.input_file_id == file_id), None)
            if found or not page.data or not page.has_more:
                return found
            query["after"] = page.data[-1].id

    async def look(self, batch_id: str) -> State | None:
        """How a batch is doing; None where that cannot be learned now."""
        found = await self._once(lambda client: client.batches.with_raw_response.retrieve(batch_id), State)
        if isinstance(found, State):
            return found
        if not found.again:
            raise InputError(found.error)
        return None

    async def read(self, file_id: str, take: Callable[[bytes], None]) -> None:
        """Gives `take` each line of a file, perhaps more than once; none of a file that the provider has deleted."""
        tried = 0
        while (found := await self.endpoint.read_file(file_id, take)) is not None:
            if isinstance(found, Response) and found.status == 404:
                return
            tried += 1
            await self._bear(self.endpoint.problem(found) if isinstance(found, Response) else found, tried)

    async def _insist(self, request: ClientCall, model: type[M], *, long: bool = False) -> M:
        tried = 0
        while not isinstance(found := await self._once(request, model, long=long), model):
            assert isinstance(found, Outcome)
            tried += 1
            await self._bear(found, tried)
        return found

    async def _once(self, request: ClientCall, model: type[M], *, long: bool = False) -> M | Outcome:
        found = await self.endpoint.call(request, long=long)
        if isinstance(found, Outcome):
            return found
        if not found.ok:
            return self.endpoint.problem(found)
        try:
            return model.model_validate_json(found.body)
        except ValidationError:
            return Outcome(error="the response is not what the protocol says")

    async def _bear(self, outcome: Outcome, tried: int) -> None:
        """Waits before another try, if there may be one."""
        if not outcome.again:
            raise InputError(f"{outcome.error}; leave `batch` out for an endpoint that has none")
        if tried > self.max_retries:
            problem = f"the batch endpoint does not answer ({outcome.error}; asked {tried} times)"
            raise WorkError(f"{problem}; the same command goes on from here")
        await asyncio.sleep(pause(tried, outcome))
