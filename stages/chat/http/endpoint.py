"""Send one request to an OpenAI-compatible endpoint.

The key goes no further than this folder: `reading` removes it from all that the server says, and no exception of the
client, which would carry the headers of the request, is raised or chained.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import ssl
from collections.abc import Awaitable, Callable
from functools import cache
from itertools import cycle
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from hasse.data.errors import InputError
from hasse.stages.chat.http.outcome import Outcome, Response
from hasse.stages.chat.http.reading import Reader
from hasse.stages.chat.money.prices import is_on_this_machine
from hasse.stages.chat.reply import Wanted
from hasse.stages.chat.settings import ChatSettings

if TYPE_CHECKING:
    from openai import AsyncOpenAI

CONNECTIONS = 8
"""Connections of a pool. A pool looks at all its connections before every request, so several pools share the work."""
NO_KEY = "no-key-needed"


class Endpoint:
    """The client of one endpoint. `read` turns its responses into outcomes. Raises InputError when there is no key."""

    def __init__(self, settings: ChatSettings):
        import openai

        from hasse.stages.chat.http.byte_limit import ACCEPTED, limited

        self._settings = settings
        key = _read_key(settings)
        pools = [
            openai.DefaultAsyncHttpxClient(
                verify=_trusted(), timeout=settings.timeout, follow_redirects=False, event_hooks=limited()
            )
            for _ in range(math.ceil(settings.concurrency / CONNECTIONS))
        ]
        self._client = openai.AsyncOpenAI(
            base_url=settings.base_url,
            api_key=key.get_secret_value(),
            timeout=settings.timeout,
            max_retries=0,
            http_client=pools[0],
            default_headers={"Accept-Encoding": ACCEPTED},
        )
        headers = {**self._client.default_headers, **self._client.auth_headers}
        self._headers = {name: value for name, value in headers.items() if isinstance(value, str)}
        self._pools, self._next_pool = pools, cycle(pools)
        self.url = str(self._client.base_url)
        self.read = Reader(settings, key, self.url)

    async def send(self, body: dict[str, Any], wanted: Wanted) -> Outcome:
        """Ask one question. Raises no exception of the client: every end is an outcome.

        The request equals the client's own. The client's method copies and checks its arguments, which takes a quarter
        of a request's processor time, so this method posts the body itself.
        """
        import httpx2

        content = json.dumps(body, ensure_ascii=False).encode()
        try:
            # The time-out of a pool holds for each single read and write of a socket.
            async with asyncio.timeout(self._settings.timeout):
                address = f"{self.url}chat/completions"
                response = await next(self._next_pool).post(address, content=content, headers=self._headers)
        except (httpx2.TimeoutException, TimeoutError):
            return self._too_late()
        except httpx2.HTTPError as error:
            return _lost(error)
        return self.read.outcome(_response(response), wanted)

    async def call(self, request: Callable[[AsyncOpenAI], Awaitable[Any]], *, long: bool = False) -> Response | Outcome:
        """The response to a request by the openai client, whatever its status; an outcome when there is no response.

        long: the request may take any time, as long as data is moving.
        """
        import openai

        try:
            async with asyncio.timeout(None if long else self._settings.timeout):
                response = (await request(self._client)).http_response
        except openai.APIStatusError as error:
            response = error.response
        except (openai.APITimeoutError, TimeoutError):
            return self._too_late()
        except openai.APIConnectionError as error:
            return _lost(error.__cause__ or error)
        return _response(response)

    async def read_file(self, file_id: str, take: Callable[[bytes], None]) -> Response | Outcome | None:
        """Give `take` each line of a file as it arrives; returns what went wrong, or None when all lines were read."""
        import httpx2
        import openai

        from hasse.stages.chat.http.byte_limit import MOST_BYTES, TooLong

        rest = b""
        try:
            async with self._client.files.with_streaming_response.content(file_id) as response:
                async for part in response.iter_bytes():
                    *lines, rest = (rest + part).split(b"\n")
                    for line in lines:
                        take(line)
                    if len(rest) > MOST_BYTES:
                        raise TooLong("a line of the file is longer than any answer")
        except openai.APIStatusError as error:
            return Response(error.response.status_code, dict(error.response.headers), error.response.content)
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            return _lost(error.__cause__ or error)
        take(rest)
        return None

    async def close(self) -> None:
        for pool in self._pools:
            await pool.aclose()

    def _too_late(self) -> Outcome:
        return Outcome(error=f"no answer within {self._settings.timeout:g} s", may_cost=True)


@cache
def _trusted() -> ssl.SSLContext:
    """The trusted certificate authorities, cached because reading them takes longer than a question."""
    import httpx2

    return httpx2.create_ssl_context()


def _read_key(settings: ChatSettings) -> SecretStr:
    """The key from the environment. A server on this machine needs none, and then gets a placeholder."""
    variable = settings.api_key_variable
    key = SecretStr(os.environ.get(variable, "").strip() or (NO_KEY if is_on_this_machine(settings.base_url) else ""))
    if not key:
        raise InputError(f"the environment variable {variable} with the key of the endpoint is not set")
    if not all("!" <= c <= "~" for c in key.get_secret_value()):
        raise InputError(f"the key in {variable} holds white space or letters that no HTTP header takes; set it again")
    return key


def _response(response: Any) -> Response:
    return Response(response.status_code, dict(response.headers), response.content)


def _lost(error: BaseException) -> Outcome:
    kind = type(error).__name__
    if kind == "TooLong":
        return Outcome(error=str(error), may_cost=True, unusable=True)
    return Outcome(error=f"no connection or a lost one ({kind})", may_cost=not kind.startswith("Connect"))
