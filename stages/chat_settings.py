"""Which chat model is asked, how fast, how stubbornly, and for how much money at most."""

import os
from pathlib import Path

from pydantic import Field, model_validator

from data.config import Config, unkeyed

VARIABLE = "HASSE_CHAT_CACHE"


class Price(Config):
    """What a model's tokens cost, or `free: true` for a server of one's own."""

    input: float | None = Field(default=None, ge=0, description="Dollars per million tokens of the questions.")
    output: float | None = Field(default=None, ge=0, description="Dollars per million tokens of the answers.")
    free: bool = Field(default=False, description="Whether the model costs nothing.")

    @model_validator(mode="after")
    def _is_whole(self) -> "Price":
        given = [value is not None for value in (self.input, self.output)]
        if any(given) if self.free else not all(given):
            raise ValueError("a price is `input` and `output` in dollars per million tokens, or `free: true`")
        return self

    def dollars(self, input_tokens: int, output_tokens: int) -> float:
        return ((self.input or 0.0) * input_tokens + (self.output or 0.0) * output_tokens) / 1e6


class BatchSettings(Config):
    """How requests go through the provider's batch endpoint: often cheaper, and answered within hours."""

    poll_seconds: float = Field(default=60.0, gt=0, description="Between two looks at a batch.")
    completion_window: str = Field(default="24h", description="Within which the provider is to answer.")
    max_requests: int = Field(default=10_000, ge=1, le=50_000, description="Of one batch; more make several.")
    max_megabytes: float = Field(default=100.0, gt=0, le=200, description="Of one batch's file; more make several.")
    max_attempts: int = Field(default=3, ge=1, description="Batches in which a question is asked before it has failed.")
    max_wait: float = Field(
        default=100_000.0,
        gt=0,
        description="Seconds for one batch, after which the run stops; started again, it goes on.",
    )
    price_factor: float = Field(default=1.0, ge=0, le=1, description="Of the model's price; 0.5 for half of it.")


class ChatSettings(Config):
    """What enters a request is part of a result's key; how the request gets there is not."""

    model: str = Field(description="The model's name at the endpoint.")
    base_url: str | None = unkeyed(None, pattern="^https?://", description="The endpoint; OpenAI's own when left out.")
    api_key_variable: str = unkeyed("OPENAI_API_KEY", description="Environment variable with the key.")
    temperature: float = Field(default=0.0, ge=0, description="Of the answers.")
    max_tokens: int = Field(default=512, ge=1, description="Tokens of an answer, at most.")
    # The client's pool of connections holds 1000.
    concurrency: int = unkeyed(8, ge=1, le=1000, description="Questions at a time, at most; fewer while overloaded.")
    requests_per_minute: float | None = unkeyed(None, gt=0, description="Evenly spaced; no limit when left out.")
    tokens_per_minute: float | None = unkeyed(None, gt=0, description="Of questions and answers; no limit if left out.")
    timeout: float = unkeyed(60.0, gt=0, description="Seconds for one try.")
    deadline: float | None = unkeyed(None, gt=0, description="Seconds for one question over all its tries.")
    max_retries: int = unkeyed(4, ge=0, description="Of a question after a time-out, a lost connection, 429 or 5xx.")
    cache: Path | None = unkeyed(
        None, description="SQLite file of replies paid for; else the one named by HASSE_CHAT_CACHE; else none."
    )
    prices: dict[str, Price] = unkeyed({}, description="Of models, by name.")
    budget_usd: float | None = unkeyed(None, ge=0, description="Dollars to spend, at most; needs the model's price.")
    batch: BatchSettings | None = unkeyed(None, description="Ask by batches, not one by one; needs a cache.")

    @property
    def cache_path(self) -> Path | None:
        """The file named here, else by the environment; None for no cache."""
        named = os.environ.get(VARIABLE)
        return self.cache or (Path(named) if named else None)

    @property
    def price_factor(self) -> float:
        """What a batch makes of the model's price."""
        return self.batch.price_factor if self.batch else 1.0

    @model_validator(mode="after")
    def _batch_can_be_honoured(self) -> "ChatSettings":
        if self.batch is None:
            return self
        if self.cache_path is None:
            raise ValueError(
                f"batch: without a cache a run that is stopped would pay twice; name a file by `cache` or {VARIABLE}"
            )
        of_one = [name for name in ("requests_per_minute", "tokens_per_minute", "deadline") if getattr(self, name)]
        if of_one:
            raise ValueError(
                f"batch: {', '.join(of_one)} cannot hold for requests that the provider paces; leave it out"
            )
        return self
