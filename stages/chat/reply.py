"""What a chat model answers, and what a request wants of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer, or why there is none: status `ok`, `truncated`, `refused`, `filtered` (the question is too long),
    `failed` or `budget_stopped`."""

    text: str
    status: str
    error: str | None = None
    logprobs: tuple[float, ...] = ()
    """One a token, nats, as the endpoint reports them; empty unless they were asked for."""
    reasoning: str = ""
    """What the model thought before it answered, where the endpoint tells it apart from the answer."""


Replies = tuple[Reply, ...]
"""As many as a request asks for; or fewer, of which the last says why there are no more."""

STOPPED = Reply(text="", status="budget_stopped", error="asking it might have passed budget_usd")


def failed(error: str) -> Reply:
    return Reply(text="", status="failed", error=error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a response must hold.

    num: so many answers, of which the first is number `first` of the whole request. max_tokens: of each, at most; 0
    where that is not known. fields: of the body that is sent.
    """

    num: int = 1
    first: int = 0
    logprobs: bool = False
    max_tokens: int = 0
    fields: tuple[str, ...] = ()


class Unsupported(ValueError):
    """The endpoint does something else than it was asked for, and would do so again."""


class Unusable(ValueError):
    """A response that holds nothing to use. `status`: the HTTP status that its body tells of."""

    def __init__(self, problem: str, *, status: int | None = None):
        super().__init__(problem)
        self.status = status
