"""One call's requests: what is asked once only, what the cache knows, and what goes one by one or by batches."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from stages.chat_batches import Batches
from stages.chat_budget import Budget, Ledger
from stages.chat_cache import Cache
from stages.chat_endpoint import Endpoint
from stages.chat_questions import Questions, known
from stages.chat_reply import Replies
from stages.chat_request import Request, Sending
from stages.chat_settings import ChatSettings

Put = Callable[[tuple[int, Replies]], None]
Answered = asyncio.Future[Replies]


@dataclass(frozen=True, slots=True)
class Call:
    """Everything that needs the event loop is made in `answer`."""

    settings: ChatSettings
    ledger: Ledger

    async def answer(self, requests: Iterable[Request], put: Put) -> None:
        """Puts (index, replies) of each request as soon as they are known. Raises InputError, perhaps in a group."""
        budget = Budget(self.settings, self.ledger)
        endpoint = Endpoint(self.settings)
        try:
            with closing(Cache(self.settings.cache_path)) as cache:
                async with asyncio.TaskGroup() as group:
                    means = (self.settings, self.ledger, budget, endpoint, cache)
                    way = Batches(*means) if self.settings.batch else Questions(*means, group)
                    await self._start_all(way, cache, endpoint.url, requests, put)
                    await way.finish()
        finally:
            await endpoint.close()

    async def _start_all(
        self, way: Questions | Batches, cache: Cache, url: str, requests: Iterable[Request], put: Put
    ) -> None:
        answered: dict[str, Answered] = {}
        for index, request in enumerate(requests):
            sending = Sending.of(request, self.settings, url)
            if sending.key in answered:
                self.ledger.add(repeated=1)
            elif (replies := cache.get(sending.key, sending.wanted.num)) is not None:
                self.ledger.add(cached=1)
                answered[sending.key] = known(replies)
            else:
                answered[sending.key] = await way.start(sending)
            answered[sending.key].add_done_callback(partial(self._deliver, index, put))
            await asyncio.sleep(0)  # a long row of cached questions must not hold up those under way

    def _deliver(self, index: int, put: Put, answered: Answered) -> None:
        if not answered.cancelled() and answered.exception() is None:
            self.ledger.by_status.update(reply.status for reply in answered.result())
            put((index, answered.result()))
