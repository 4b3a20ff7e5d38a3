"""One request to an OpenAI-compatible endpoint, and what came of it.

The key goes no further than here: whatever the server says is stripped of it, and no exception of the client, which
would carry the request's headers, is raised on or chained.
"""

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import SecretStr

from data.errors import InputError
from stages.chat_headers import retry_after
from stages.chat_reply import Reply, Usage, read_reply, read_usage
from stages.chat_settings import ChatSettings

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
# Of these the server's words are not quoted: they are about the key.
ABOUT_THE_KEY = {401, 403}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A reply; or an error, and whether another try may mend it (`again`)."""

    reply: Reply | None = None
    usage: Usage | None = None
    error: str = ""
    again: bool = True
    overloaded: bool = False
    may_cost: bool = False  # the server may have answered, and charged, without our seeing it
    retry_after: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Endpoint:
    """Raises InputError when there is no key."""

    def __init__(self, settings: ChatSettings):
        import openai

        self._settings = settings
        self._key = _read_key(settings.api_key_variable)
        self._client = openai.AsyncOpenAI(
            base_url=settings.base_url,
            api_key=self._key.get_secret_value(),
            timeout=settings.timeout,
            max_retries=0,
        )
        self.url = str(self._client.base_url)

    async def send(self, body: dict[str, Any]) -> Outcome:
        """Raises nothing of the client's: every end is an outcome."""
        found = await self._post(body)
        if isinstance(found, Outcome):
            return found
        if 200 <= found.status < 300:
            return self._answered(found)
        retried = (found.status in RETRIED or found.status >= 500) and not _out_of_quota(found)
        return Outcome(
            error=f"HTTP {found.status}" if retried else self._refusal(found),
            again=retried,
            overloaded=found.status in OVERLOADED,
            retry_after=retry_after(found.headers),
            headers=found.headers,
        )

    async def close(self) -> None:
        await self._client.close()

    async def _post(self, body: dict[str, Any]) -> _Response | Outcome:
        import httpx2
        import openai

        try:
            async with asyncio.timeout(self._settings.timeout):  # the client's own is for each read of a socket
                # `chat.completions.create` walks and copies its arguments: 20 % of a request's processor time.
                found = await self._client.post("/chat/completions", body=body, cast_to=httpx2.Response)
        except openai.APIStatusError as error:
            found = error.response
        except (openai.APITimeoutError, TimeoutError):
            return Outcome(error=f"no answer within {self._settings.timeout:g} s", may_cost=True)
        except openai.APIConnectionError as error:
            kind = type(error.__cause__ or error).__name__
            return Outcome(error=f"no connection or a lost one ({kind})", may_cost=not kind.startswith("Connect"))
        return _Response(found.status_code, dict(found.headers), found.content)

    def _answered(self, found: _Response) -> Outcome:
        usage = read_usage(found.body)
        try:
            reply = self._without_key(read_reply(found.body))
        except ValueError as error:
            return Outcome(error=str(error), usage=usage, may_cost=True, headers=found.headers)
        return Outcome(reply=reply, usage=usage, may_cost=True, headers=found.headers)

    def _refusal(self, found: _Response) -> str:
        advice = ADVICE.get(found.status, "check base_url").format(variable=self._settings.api_key_variable)
        said = "" if found.status in ABOUT_THE_KEY else _message(found.body)
        quoted = f"; it says: {self._strip(said)[:300]}" if said else ""
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


def _message(body: bytes) -> str:
    """What the server says is wrong; "" when it does not say it as the protocol has it."""
    try:
        said = json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError, IndexError):
        return ""
    return said if isinstance(said, str) else ""


def _out_of_quota(found: _Response) -> bool:
    return found.status == 429 and b'"insufficient_quota"' in found.body
