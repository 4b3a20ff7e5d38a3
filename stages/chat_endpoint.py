"""One request to an OpenAI-compatible endpoint, and what came of it.

The key goes no further than here: whatever the server says is stripped of it, and no exception of the client, which
would carry the request's headers, is raised on or chained.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from data.errors import InputError
from stages.chat_headers import retry_after
from stages.chat_reply import Reply, Unsupported, Usage, Wanted, read_replies, read_usage
from stages.chat_settings import ChatSettings

if TYPE_CHECKING:
    from openai import AsyncOpenAI

CONNECTIONS = 8
RETRIED = {408, 409, 429}
OVERLOADED = {429, 503}

ADVICE = {
    400: "see the model's limits of temperature, max_tokens, schema and the length of a question",
    401: "check the key in the environment variable {variable}",
    402: "the account of the key in {variable} has no credit left",
    403: "the key in {variable} may not use this model or endpoint",
    404: "check model and base_url",
    429: "the account of the key in {variable} has no quota left, which waiting does not mend",
}
MALFORMED = {400, 422}
TOO_LONG = ("context_length_exceeded", "maximum context length")
"""In what a server says of a question that does not fit into its model beside max_tokens: the code, or the words."""
# Of these the server's words are not quoted: they are about the key.
ABOUT_THE_KEY = {401, 403}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Replies, as many as were wanted; or none, an error, and whether another try may mend it (`again`)."""

    replies: tuple[Reply, ...] = ()
    usage: Usage | None = None
    error: str = ""
    again: bool = True
    overloaded: bool = False
    may_cost: bool = False  # the server may have answered, and charged, without our seeing it
    retry_after: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


class Endpoint:
    """Raises InputError when there is no key."""

    def __init__(self, settings: ChatSettings):
        import httpx2
        import openai

        self._settings = settings
        self._key = _read_key(settings.api_key_variable)
        # A pool looks at all of its connections before every request, so many share the work among several pools.
        trusted = httpx2.create_ssl_context()
        pools = [
            openai.DefaultAsyncHttpxClient(verify=trusted, timeout=settings.timeout)
            for _ in range(math.ceil(settings.concurrency / CONNECTIONS))
        ]
        self._client = openai.AsyncOpenAI(
            base_url=settings.base_url,
            api_key=self._key.get_secret_value(),
            timeout=settings.timeout,
            max_retries=0,
            http_client=pools[0],
        )
        headers = {**self._client.default_headers, **self._client.auth_headers}
        self._headers = {name: value for name, value in headers.items() if isinstance(value, str)}
        self._pools, self._next_pool = pools, cycle(pools)
        self.url = str(self._client.base_url)

    async def send(self, body: dict[str, Any], wanted: Wanted) -> Outcome:
        """Raises nothing of the client's: every end is an outcome.

        Sent as the client would; on its own way it copies and checks what it is given, a quarter of a request's
        processor time.
        """
        import httpx2

        content = json.dumps(body, ensure_ascii=False).encode()
        try:
            # A pool's own time-out is for each read and write of a socket.
            async with asyncio.timeout(self._settings.timeout):
                address = f"{self.url}chat/completions"
                found = await next(self._next_pool).post(address, content=content, headers=self._headers)
        except (httpx2.TimeoutException, TimeoutError):
            return self._too_late()
        except httpx2.HTTPError as error:
            return _lost(error)
        return self.outcome(_response(found), wanted)

    def outcome(self, found: Response, wanted: Wanted) -> Outcome:
        """Of a response that should hold an answer."""
        return self._answered(found, wanted) if found.ok else self.problem(found, structured=wanted.structured)

    def problem(self, found: Response, *, structured: bool = False) -> Outcome:
        """Of a response that is none. A question that is too long is the fault of its row alone."""
        if found.status in MALFORMED and any(said.encode() in found.body for said in TOO_LONG):
            said = self.quote(_message(found.body)) or "the question is too long"
            return Outcome(replies=(Reply(text="", status="filtered", error=said),), headers=found.headers)
        retried = (found.status in RETRIED or found.status >= 500) and not _out_of_quota(found)
        return Outcome(
            error=f"HTTP {found.status}" if retried else self._refusal(found, structured=structured),
            again=retried,
            overloaded=found.status in OVERLOADED,
            retry_after=retry_after(found.headers),
            headers=found.headers,
        )

    async def call(self, request: Callable[[AsyncOpenAI], Awaitable[Any]], *, long: bool = False) -> Response | Outcome:
        """What the server answers, whatever its status; or the outcome of a request that got no answer.

        A long one may take any time, as long as something moves.
        """
        import openai

        try:
            async with asyncio.timeout(None if long else self._settings.timeout):
                found = (await request(self._client)).http_response
        except openai.APIStatusError as error:
            found = error.response
        except (openai.APITimeoutError, TimeoutError):
            return self._too_late()
        except openai.APIConnectionError as error:
            return _lost(error.__cause__ or error)
        return _response(found)

    async def read_file(self, file_id: str, take: Callable[[bytes], None]) -> Response | Outcome | None:
        """Gives `take` each line of a file as it comes; what is wrong, unless all were read."""
        import httpx2
        import openai

        rest = b""
        try:
            async with self._client.files.with_streaming_response.content(file_id) as found:
                async for part in found.iter_bytes():
                    *lines, rest = (rest + part).split(b"\n")
                    for line in lines:
                        take(line)
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

    def quote(self, text: str) -> str:
        """The server's words without the key, and not too many."""
        return self._strip(text)[:300]

    def _answered(self, found: Response, wanted: Wanted) -> Outcome:
        usage = read_usage(found.body)
        try:
            replies = tuple(self._without_key(reply) for reply in read_replies(found.body, wanted))
        except ValueError as error:
            again = not isinstance(error, Unsupported)
            return Outcome(error=str(error), again=again, usage=usage, may_cost=True, headers=found.headers)
        return Outcome(replies=replies, usage=usage, may_cost=True, headers=found.headers)

    def _refusal(self, found: Response, *, structured: bool) -> str:
        advice = ADVICE.get(found.status, "check base_url").format(variable=self._settings.api_key_variable)
        if structured and found.status in MALFORMED:
            advice = f"if it does not know response_format json_schema, set structured: text; else {advice}"
        said = "" if found.status in ABOUT_THE_KEY else _message(found.body)
        quoted = f"; it says: {self.quote(said)}" if said else ""
        return f"the endpoint refuses requests to {self._settings.model!r} ({found.status}): {advice}{quoted}"

    def _without_key(self, reply: Reply) -> Reply:
        error = reply.error and self._strip(reply.error)
        # A shorter key is a placeholder for a server that wants none, and may be a word of an answer.
        text = self._strip(reply.text) if len(self._key) >= 8 else reply.text
        return replace(reply, text=text, error=error)

    def _strip(self, text: str) -> str:
        return text.replace(self._key.get_secret_value(), "[key]")


def _read_key(variable: str) -> SecretStr:
    key = SecretStr(os.environ.get(variable, "").strip())
    if not key:
        raise InputError(f"the environment variable {variable} with the key of the endpoint is not set")
    if not all("!" <= c <= "~" for c in key.get_secret_value()):
        raise InputError(f"the key in {variable} holds white space or letters that no HTTP header takes; set it again")
    return key


def _response(found: Any) -> Response:
    return Response(found.status_code, dict(found.headers), found.content)


def _lost(error: BaseException) -> Outcome:
    kind = type(error).__name__
    return Outcome(error=f"no connection or a lost one ({kind})", may_cost=not kind.startswith("Connect"))


def _message(body: bytes) -> str:
    """What the server says is wrong; "" when it does not say it as the protocol has it."""
    try:
        said = json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError, IndexError):
        return ""
    return said if isinstance(said, str) else ""


def _out_of_quota(found: Response) -> bool:
    return found.status == 429 and b'"insufficient_quota"' in found.body
