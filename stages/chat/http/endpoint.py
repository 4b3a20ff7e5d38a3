"""One request to an OpenAI-compatible endpoint, and what came of it.

The key goes no further than here: whatever the server says is stripped of it, and no exception of the client, which
would carry the request's headers, is raised on or chained.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import cycle
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from hasse.data.errors import InputError
from hasse.stages.chat.http.completion import read_completion, read_error
from hasse.stages.chat.http.headers import retry_after
from hasse.stages.chat.http.refusals import CHANGES, changes
from hasse.stages.chat.http.usage import Usage, read_usage
from hasse.stages.chat.money.prices import is_on_this_machine
from hasse.stages.chat.reply import Reply, Unsupported, Unusable, Wanted
from hasse.stages.chat.settings import ChatSettings

if TYPE_CHECKING:
    from openai import AsyncOpenAI

CONNECTIONS = 8
NO_KEY = "no-key-needed"
RETRIED = {408, 409, 425, 429}
OVERLOADED = {429, 503}

ADVICE = {
    400: "see the model's limits of temperature, max_tokens, schema and the length of a question",
    401: "check the key in the environment variable {variable}",
    402: "the account of the key in {variable} has no credit left",
    403: "the key in {variable} may not use this model or endpoint",
    404: "check model and base_url",
    429: "the account of the key in {variable} has no quota left, which waiting does not mend",
}
REDIRECTED = "it sends requests on to another address; write in base_url the address that answers"
"""Nothing is sent after: neither the question nor the key go where the settings do not say."""
MALFORMED = {400, 422}
TOO_LARGE = 413
TOO_LONG = ("context_length_exceeded", "maximum context length")
"""In what a server says of a question that does not fit into its model beside max_tokens: the code, or the words."""
LETTERS_A_TOKEN = 100
"""More than any text has on average: a longer answer shows that a server that counts no tokens heeds no limit."""
# Of these the server's words are not quoted: they are about the key.
ABOUT_THE_KEY = {401, 403}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Replies, as many as were wanted; or fewer, or none, an error, and whether another try may mend it (`again`).

    final: what is said of one answer holds for all that were wanted. model: who answered, as the server says.
    unusable: there was an answer, which may have to be paid for.
    """

    replies: tuple[Reply, ...] = ()
    final: bool = False
    model: str = ""
    unusable: bool = False
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
        import openai

        from hasse.stages.chat.http.byte_limit import ACCEPTED, limited

        self._settings = settings
        self._key = _read_key(settings)
        # A pool looks at all of its connections before every request, so many share the work among several pools.
        pools = [
            openai.DefaultAsyncHttpxClient(
                verify=_trusted(), timeout=settings.timeout, follow_redirects=False, event_hooks=limited()
            )
            for _ in range(math.ceil(settings.concurrency / CONNECTIONS))
        ]
        self._client = openai.AsyncOpenAI(
            base_url=settings.base_url,
            api_key=self._key.get_secret_value(),
            timeout=settings.timeout,
            max_retries=0,
            http_client=pools[0],
            default_headers={"Accept-Encoding": ACCEPTED},
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
        return self._answered(found, wanted) if found.ok else self.problem(found, wanted.fields)

    def problem(self, found: Response, sent: Sequence[str] = ()) -> Outcome:
        """Of a response that is none, to a body with these fields.

        A question that is too long is the fault of its row alone.
        """
        if _is_too_long(found):
            said = self.quote(read_error(found.body).message) or "the question is too long"
            return Outcome(replies=(Reply(text="", status="filtered", error=said),), final=True, headers=found.headers)
        wait = retry_after(found.headers)
        if wait > self._settings.longest_wait and found.status in RETRIED | OVERLOADED:
            return self._too_long_a_wait(found, wait)
        retried = (found.status in RETRIED or found.status >= 500) and not _out_of_quota(found)
        return Outcome(
            error=f"HTTP {found.status}" if retried else self._refusal(found, sent),
            again=retried,
            overloaded=found.status in OVERLOADED,
            retry_after=min(wait, self._settings.longest_wait),
            headers=found.headers,
        )

    def _too_long_a_wait(self, found: Response, wait: float) -> Outcome:
        """The question fails, and is asked again by the next run."""
        most = self._settings.longest_wait
        problem = f"HTTP {found.status}: the endpoint asks to wait {wait:.4g} s, longer than longest_wait ({most:g} s)"
        return Outcome(replies=(Reply(text="", status="failed", error=problem),), final=True, overloaded=True)

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

        from hasse.stages.chat.http.byte_limit import MOST_BYTES, TooLong

        rest = b""
        try:
            async with self._client.files.with_streaming_response.content(file_id) as found:
                async for part in found.iter_bytes():
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

    def quote(self, text: str) -> str:
        """The server's words without the key, and not too many."""
        return self._strip(text)[:300]

    def _answered(self, found: Response, wanted: Wanted) -> Outcome:
        outcome = Outcome(usage=read_usage(found.body), may_cost=True, headers=found.headers)
        try:
            completion = read_completion(found.body, wanted)
        except Unsupported as error:
            return replace(outcome, error=self.quote(f"{error}; the endpoint is {self.url}"), again=False)
        except Unusable as error:
            if error.status is not None:
                return self.problem(Response(error.status, found.headers, found.body), wanted.fields)
            return replace(outcome, error=self.quote(str(error)), unusable=True)
        if problem := self._overrun(outcome.usage, completion.replies, wanted):
            return replace(outcome, error=problem, again=False, model=completion.model)
        replies = tuple(self._without_key(reply) for reply in completion.replies)
        return replace(outcome, replies=replies, error=completion.problem, unusable=not replies, model=completion.model)

    def _overrun(self, usage: Usage | None, replies: tuple[Reply, ...], wanted: Wanted) -> str:
        """What is wrong where the server writes more tokens than were asked for, so that no cap on money can hold."""
        most = wanted.num * wanted.max_tokens
        counted = usage.completion_tokens if usage else 0
        seen = max(counted, sum(len(reply.logprobs) for reply in replies))
        if not usage and not seen:
            seen = sum(len(reply.text) for reply in replies) // LETTERS_A_TOKEN
        if not wanted.max_tokens or seen <= most:
            return ""
        limit = self._settings.token_limit
        other = "max_tokens" if limit == "max_completion_tokens" else "max_completion_tokens"
        return (
            f"the endpoint {self.url} wrote {seen:,} tokens where at most {most:,} were asked for: it does not heed "
            f"{limit}, so that no cap on money can hold; set token_limit: {other}, or ask another endpoint"
        )

    def _refusal(self, found: Response, sent: Sequence[str]) -> str:
        said = "" if found.status in ABOUT_THE_KEY else read_error(found.body).message
        advice = ADVICE.get(found.status, "check base_url").format(variable=self._settings.api_key_variable)
        if 300 <= found.status < 400:
            advice = REDIRECTED
        elif found.status in MALFORMED:
            advice = "; ".join(changes(said, sent)) or _perhaps(sent, advice)
        quoted = f"; it says: {self.quote(said)}" if said else ""
        return f"the endpoint refuses requests to {self._settings.model!r} ({found.status}): {advice}{quoted}"

    def _without_key(self, reply: Reply) -> Reply:
        error = reply.error and self._strip(reply.error)
        # A shorter key is a placeholder for a server that wants none, and may be a word of an answer.
        if len(self._key) < 8:
            return replace(reply, error=error)
        return replace(reply, text=self._strip(reply.text), reasoning=self._strip(reply.reasoning), error=error)

    def _strip(self, text: str) -> str:
        return text.replace(self._key.get_secret_value(), "[key]")


@cache
def _trusted() -> ssl.SSLContext:
    """The authorities that are trusted; to read them takes longer than a question."""
    import httpx2

    return httpx2.create_ssl_context()


def _read_key(settings: ChatSettings) -> SecretStr:
    """A server on this machine needs no key; the client sends some word in its place."""
    variable = settings.api_key_variable
    key = SecretStr(os.environ.get(variable, "").strip() or (NO_KEY if is_on_this_machine(settings.base_url) else ""))
    if not key:
        raise InputError(f"the environment variable {variable} with the key of the endpoint is not set")
    if not all("!" <= c <= "~" for c in key.get_secret_value()):
        raise InputError(f"the key in {variable} holds white space or letters that no HTTP header takes; set it again")
    return key


def _response(found: Any) -> Response:
    return Response(found.status_code, dict(found.headers), found.content)


def _lost(error: BaseException) -> Outcome:
    kind = type(error).__name__
    if kind == "TooLong":
        return Outcome(error=str(error), may_cost=True, unusable=True)
    return Outcome(error=f"no connection or a lost one ({kind})", may_cost=not kind.startswith("Connect"))


def _perhaps(sent: Sequence[str], advice: str) -> str:
    """Where the server names no field: schemas are what most servers do not know."""
    return f"{CHANGES['response_format']}; else {advice}" if "response_format" in sent else advice


def _is_too_long(found: Response) -> bool:
    said = found.status in MALFORMED and any(words.encode() in found.body for words in TOO_LONG)
    return said or found.status == TOO_LARGE


def _out_of_quota(found: Response) -> bool:
    return found.status == 429 and b'"insufficient_quota"' in found.body
