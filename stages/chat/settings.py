"""Settings of a chat model: the model and its endpoint, limits, retries, prices and the budget."""

import json
import os
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from hasse.data.settings import Config, unkeyed
from hasse.data.settings.addresses import check_no_keys, without_secrets
from hasse.stages.chat.http.usage import Usage

NOT_IN_KEYS = "its settings are in the key by their values"

VARIABLE = "HASSE_CHAT_CACHE"

OWN_FIELDS = {
    "model", "messages", "temperature", "max_completion_tokens", "max_tokens", "reasoning_effort", "n", "top_p", "stop",
    "seed", "logprobs", "response_format", "stream", "stream_options",
}  # fmt: skip
"""Fields of a request that other settings or hasse itself decide."""


class Price(Config):
    """The price of a model's tokens, or `free: true` for a server of your own."""

    input: float | None = Field(default=None, ge=0, description="Dollars per million tokens of the questions.")
    output: float | None = Field(default=None, ge=0, description="Dollars per million tokens of the answers.")
    cached_input: float | None = Field(
        default=None,
        ge=0,
        description="Dollars per million question tokens that the server has in its cache; left out: as input.",
    )
    reasoning: float | None = Field(
        default=None, ge=0, description="Dollars per million tokens of thinking; left out: as output."
    )
    free: bool = Field(default=False, description="Whether the model costs nothing.")

    @model_validator(mode="after")
    def _is_whole(self) -> "Price":
        given = [value is not None for value in (self.input, self.output)]
        others = (self.cached_input, self.reasoning) != (None, None)
        if (any(given) or others) if self.free else not all(given):
            raise ValueError(
                "a price is `input` and `output` in dollars per million tokens, perhaps with `cached_input` and "
                "`reasoning`, or `free: true`"
            )
        return self

    def dollars(self, usage: Usage) -> float:
        """The cost in dollars of the tokens that a server counted."""
        asked, cached, written, thought = self._rates
        cost = asked * (usage.prompt_tokens - usage.cached_tokens) + cached * usage.cached_tokens
        cost += written * (usage.output_tokens - usage.reasoning_tokens) + thought * usage.reasoning_tokens
        return cost / 1e6

    def at_most(self, input_tokens: int, output_tokens: int) -> float:
        """The maximum cost in dollars of so many tokens, however many of them are cached or reasoning."""
        asked, cached, written, thought = self._rates
        return (max(asked, cached) * input_tokens + max(written, thought) * output_tokens) / 1e6

    @property
    def _rates(self) -> tuple[float, float, float, float]:
        asked, written = self.input or 0.0, self.output or 0.0
        cached = asked if self.cached_input is None else self.cached_input
        return asked, cached, written, written if self.reasoning is None else self.reasoning


class BatchSettings(Config):
    """Use the provider's batch endpoint, which is often cheaper and answers within hours."""

    poll_seconds: float = Field(default=60.0, gt=0, description="Seconds between two looks at a batch.")
    completion_window: str = Field(default="24h", description="The time within which the provider is to answer.")
    max_requests: int = Field(
        default=10_000, ge=1, le=50_000, description="The most requests in a batch; more requests make several batches."
    )
    max_megabytes: float = Field(
        default=100.0, gt=0, le=200, description="The largest file of a batch; more requests make several batches."
    )
    max_attempts: int = Field(default=3, ge=1, description="A question fails after it was asked in so many batches.")
    max_wait: float = Field(
        default=100_000.0,
        gt=0,
        description="Seconds to wait for a batch before the run stops; the same command then waits on.",
    )
    price_factor: float = Field(
        default=1.0, ge=0, le=1, description="Factor on the model's price; 0.5 where batches cost half."
    )


class ChatSettings(Config):
    """A chat model. What enters a request is part of a result's key; how the request is sent is not."""

    model: str = Field(description="The model's name at the endpoint.")
    base_url: str | None = unkeyed(
        None, pattern="^https?://", description="The endpoint, without any key; OpenAI's own when left out."
    )
    api_key_variable: str = unkeyed("OPENAI_API_KEY", description="Environment variable with the key.")
    temperature: float | None = Field(
        default=0.0, ge=0, description="Sampling temperature; `null` sends none, for a model that accepts none."
    )
    max_tokens: int = Field(
        default=512,
        ge=1,
        description="The most tokens of an answer; with its thinking, unless that has its own limit.",
    )
    max_thinking_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Room for the thinking of a reasoning model beside max_tokens. Endpoints know one limit alone, so "
        "the sum of both is sent.",
    )
    token_limit: Literal["max_completion_tokens", "max_tokens"] = Field(
        default="max_completion_tokens",
        description="The request's field for the limit; set max_tokens for servers that know only that field.",
    )
    reasoning_effort: str | None = Field(
        default=None,
        min_length=1,
        max_length=40,
        description="Effort of a reasoning model, for example low; left out: none is sent.",
    )
    extra_body: dict[str, JsonValue] = Field(
        default={},
        description="Further fields of a request that the endpoint knows; no field of another setting, and no API key.",
    )
    # The client's pool of connections holds 1000.
    concurrency: int = unkeyed(
        8, ge=1, le=1000, description="The most questions at a time; fewer while the endpoint is overloaded."
    )
    requests_per_minute: float | None = unkeyed(
        None, gt=0, description="The most requests per minute, evenly spaced; left out: no limit."
    )
    tokens_per_minute: float | None = unkeyed(
        None, gt=0, description="The most tokens of questions and answers per minute; left out: no limit."
    )
    timeout: float = unkeyed(60.0, gt=0, description="Seconds for one try.")
    longest_wait: float = unkeyed(
        120.0, gt=0, description="Seconds that the endpoint may ask to wait; a question fails if it asks for more."
    )
    deadline: float | None = unkeyed(None, gt=0, description="Seconds for one question over all its tries.")
    max_retries: int = unkeyed(
        4, ge=0, description="Retries of a question after a time-out, a lost connection, 429 or 5xx."
    )
    cache: Path | None = unkeyed(
        None, description="SQLite file of paid replies; left out: the file of HASSE_CHAT_CACHE, else the store's own."
    )
    prices: dict[str, Price] = unkeyed({}, description="Prices of models, by name.")
    budget_usd: float | None = unkeyed(None, ge=0, description="The most dollars to spend; needs the model's price.")
    batch: BatchSettings | None = unkeyed(None, description="Ask by batches instead of one by one.")

    _base_url = field_validator("base_url", mode="before")(without_secrets)

    @field_validator("extra_body")
    @classmethod
    def _extends_the_body(cls, extra: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if taken := sorted(OWN_FIELDS & set(extra)):
            raise ValueError(f"extra_body may not give {', '.join(taken)}, which other settings or hasse itself decide")
        check_no_keys(extra)
        try:
            json.dumps(extra, allow_nan=False)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                "extra_body must be JSON: it holds a number that is none, or is nested too deep"
            ) from error
        return extra

    @property
    def max_new_tokens(self) -> int:
        """The limit that is sent: tokens of thinking and answer together."""
        return self.max_tokens + (self.max_thinking_tokens or 0)

    @property
    def cache_path(self) -> Path | None:
        """The cache that the settings name, else the environment; None for the payer's cache."""
        named = os.environ.get(VARIABLE)
        return self.cache or (Path(named) if named else None)

    @property
    def price_factor(self) -> float:
        """The factor on the model's price."""
        return self.batch.price_factor if self.batch else 1.0

    @model_validator(mode="after")
    def _batch_can_be_honoured(self) -> "ChatSettings":
        if self.batch is None:
            return self
        of_one = [name for name in ("requests_per_minute", "tokens_per_minute", "deadline") if getattr(self, name)]
        if of_one:
            raise ValueError(
                f"batch: {', '.join(of_one)} cannot hold for requests that the provider paces; leave it out"
            )
        return self
