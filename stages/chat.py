"""Questions to a chat model behind an OpenAI-compatible endpoint, several at a time, answers in order."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pydantic import Field

from data.config import Config, unkeyed
from data.errors import InputError


class ChatSettings(Config):
    """Which model is asked, and how."""

    model: str = Field(description="The model's name at the endpoint.")
    base_url: str | None = unkeyed(None, description="The endpoint; OpenAI's own when left out.")
    api_key_variable: str = unkeyed("OPENAI_API_KEY", description="Environment variable with the key.")
    temperature: float = Field(default=0.0, ge=0, description="Of the answers.")
    max_tokens: int = Field(default=512, ge=1, description="Tokens of an answer, at most.")
    concurrency: int = unkeyed(8, ge=1, description="Questions at a time.")
    timeout: float = unkeyed(60.0, gt=0, description="Seconds for one answer.")
    max_retries: int = unkeyed(4, ge=0, description="Of a question after a time-out, a 429 or a 5xx.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer, or why there is none: status `ok`, `truncated`, `refused` or `failed`."""

    text: str
    status: str
    error: str | None = None


def ask(questions: Sequence[tuple[str, str]], settings: ChatSettings) -> Iterator[Reply]:
    """One reply for each (system, user) question, in order.

    Raises InputError for what asking again would not mend: no key, or a request that the endpoint refuses.
    """
    import openai

    key = os.environ.get(settings.api_key_variable)
    if not key:
        raise InputError(
            f"the environment variable {settings.api_key_variable} with the key of the endpoint is not set"
        )
    client = openai.OpenAI(
        base_url=settings.base_url, api_key=key, timeout=settings.timeout, max_retries=settings.max_retries
    )

    def one(question: tuple[str, str]) -> Reply:
        system, user = question
        try:
            found = client.chat.completions.create(
                model=settings.model,
                messages=[{"role": "system", "content": system}, {"role": "user", "content": user}],
                temperature=settings.temperature,
                max_completion_tokens=settings.max_tokens,
            )
        except (
            openai.BadRequestError,
            openai.AuthenticationError,
            openai.PermissionDeniedError,
            openai.NotFoundError,
        ) as error:
            raise InputError(f"the endpoint refuses requests to {settings.model!r} ({error.status_code})") from error
        except openai.OpenAIError as error:
            return Reply(text="", status="failed", error=type(error).__name__)
        choice = found.choices[0]
        if choice.message.refusal or not (choice.message.content or "").strip():
            return Reply(text="", status="refused", error=choice.message.refusal or "an empty answer")
        status = "truncated" if choice.finish_reason == "length" else "ok"
        return Reply(text=choice.message.content or "", status=status)

    with ThreadPoolExecutor(settings.concurrency) as pool:
        yield from pool.map(one, questions)
