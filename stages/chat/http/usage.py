"""Read the numbers of tokens that a server counted for a request."""

from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

MOST_TOKENS = 10**9
"""A larger count is ignored."""

_Count = Annotated[int, Field(ge=0, le=MOST_TOKENS, strict=True)]


class Usage(BaseModel):
    """Numbers of tokens. `cached_tokens` are part of `prompt_tokens`, and `reasoning_tokens` of `output_tokens`.

    unlisted_tokens: the server's total minus both counts. Some servers count reasoning only in their total.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    unlisted_tokens: int = 0

    @property
    def output_tokens(self) -> int:
        """The number of all tokens that the model wrote."""
        return self.completion_tokens + self.unlisted_tokens

    @property
    def total(self) -> int:
        return self.prompt_tokens + self.output_tokens


class _Counts(BaseModel):
    prompt_tokens: _Count
    completion_tokens: _Count
    total_tokens: object = None
    prompt_tokens_details: object = None
    completion_tokens_details: object = None
    prompt_cache_hit_tokens: object = None


class _Bill(BaseModel):
    usage: _Counts


def read_usage(body: bytes) -> Usage | None:
    """The usage in a body; None where the server gives none, or impossible counts."""
    try:
        counts = _Bill.model_validate_json(body).usage
    except ValidationError:
        return None
    prompt, completion = counts.prompt_tokens, counts.completion_tokens
    unlisted = max(0, _count(counts.total_tokens) - prompt - completion)
    cached = _detail(counts.prompt_tokens_details, "cached_tokens") or _count(counts.prompt_cache_hit_tokens)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=cached if cached <= prompt else 0,  # a count that cannot be has the full price
        reasoning_tokens=min(_detail(counts.completion_tokens_details, "reasoning_tokens"), completion + unlisted),
        unlisted_tokens=unlisted,
    )


def _detail(details: object, name: str) -> int:
    return _count(details.get(name)) if isinstance(details, dict) else 0


def _count(value: object) -> int:
    """The value if it is a possible count, else 0, so that the tokens have the full price."""
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS
    return value if is_count else 0  # type: ignore[return-value]  the check above
