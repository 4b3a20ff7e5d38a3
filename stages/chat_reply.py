"""What a chat model's replies are, read strictly from a response's body."""

from dataclasses import dataclass

from pydantic import BaseModel, Field, FiniteFloat, ValidationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer, or why there is none: status `ok`, `truncated`, `refused`, `filtered` (the question is too long),
    `failed` or `budget_stopped`."""

    text: str
    status: str
    error: str | None = None
    logprobs: tuple[float, ...] = ()
    """One a token, nats, as the endpoint reports them; empty unless they were asked for."""


Replies = tuple[Reply, ...]
"""As many as a request asks for; or one that says why there is none."""

STOPPED: Replies = (Reply(text="", status="budget_stopped", error="asking it might have passed budget_usd"),)


def failed(error: str) -> Replies:
    return (Reply(text="", status="failed", error=error),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a response must hold: so many answers, their log-probs or not, and whether they fit a schema."""

    num: int = 1
    logprobs: bool = False
    structured: bool = False


class Unsupported(ValueError):
    """The endpoint leaves out what was asked for, and will again."""


class Usage(BaseModel):
    """Tokens as the server counted them."""

    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)

    @property
    def total(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    index: int = 0
    message: _Message
    finish_reason: str | None = None
    logprobs: object = None  # read only where it was asked for: nothing else depends on what a server puts there


class _Completion(BaseModel):
    choices: list[_Choice]


class _Token(BaseModel):
    logprob: FiniteFloat


class _Logprobs(BaseModel):
    content: list[_Token] | None = None


class _Bill(BaseModel):
    usage: Usage


def read_replies(body: bytes, wanted: Wanted) -> Replies:
    """In the order of their index. Raises ValueError, which quotes nothing of the body, unless it is what was wanted;

    Unsupported where another try would be the same.
    """
    try:
        choices = _Completion.model_validate_json(body).choices
        if len(choices) == wanted.num:
            return tuple(_reply_of(choice, wanted) for choice in sorted(choices, key=lambda choice: choice.index))
        problem = f"choices: {len(choices)} instead of {wanted.num}"
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)[0]
        problem = "it is no JSON" if found["type"] == "json_invalid" else _place(found["loc"], found["msg"])
    raise ValueError(f"the response is not the chat completion that was asked for: {problem}")


def read_usage(body: bytes) -> Usage | None:
    """None where the server does not say; a reply is as good without."""
    try:
        return _Bill.model_validate_json(body).usage
    except ValidationError:
        return None


def _place(loc: tuple[int | str, ...], problem: str) -> str:
    return f"{'.'.join(map(str, loc)) or 'the whole'}: {problem}"


def _reply_of(choice: _Choice, wanted: Wanted) -> Reply:
    text = choice.message.content or ""
    if choice.message.refusal:
        return Reply(text="", status="refused", error=choice.message.refusal)
    if choice.finish_reason == "content_filter":
        return Reply(text="", status="refused", error="stopped by the endpoint's content filter")
    logprobs = _logprobs_of(choice) if wanted.logprobs and text else ()
    if choice.finish_reason == "length":
        return Reply(text=text, status="truncated", logprobs=logprobs)
    if not text.strip():
        return Reply(text="", status="refused", error="an empty answer")
    return Reply(text=text, status="ok", logprobs=logprobs)


def _logprobs_of(choice: _Choice) -> tuple[float, ...]:
    tokens = None if choice.logprobs is None else _Logprobs.model_validate(choice.logprobs).content
    if not tokens:
        raise Unsupported("the endpoint answers without log-probs, which were asked for; set logprobs: false")
    return tuple(token.logprob for token in tokens)
