"""What a chat model's reply is, read strictly from a response's body."""

from dataclasses import dataclass

from pydantic import BaseModel, Field, ValidationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer, or why there is none: status `ok`, `truncated`, `refused`, `failed` or `budget_stopped`."""

    text: str
    status: str
    error: str | None = None


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
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1, max_length=1)


class _Bill(BaseModel):
    usage: Usage


def read_reply(body: bytes) -> Reply:
    """Raises ValueError, which quotes nothing of the body, unless it holds exactly one choice."""
    try:
        choice = _Completion.model_validate_json(body).choices[0]
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)[0]
        problem = "it is no JSON" if found["type"] == "json_invalid" else _place(found["loc"], found["msg"])
    else:
        return _reply_of(choice)
    raise ValueError(f"the response is not a chat completion: {problem}")


def read_usage(body: bytes) -> Usage | None:
    """None where the server does not say; a reply is as good without."""
    try:
        return _Bill.model_validate_json(body).usage
    except ValidationError:
        return None


def _place(loc: tuple[int | str, ...], problem: str) -> str:
    return f"{'.'.join(map(str, loc)) or 'the whole'}: {problem}"


def _reply_of(choice: _Choice) -> Reply:
    text = choice.message.content or ""
    if choice.message.refusal:
        return Reply(text="", status="refused", error=choice.message.refusal)
    if choice.finish_reason == "content_filter":
        return Reply(text="", status="refused", error="stopped by the endpoint's content filter")
    if choice.finish_reason == "length":
        return Reply(text=text, status="truncated")
    if not text.strip():
        return Reply(text="", status="refused", error="an empty answer")
    return Reply(text=text, status="ok")
