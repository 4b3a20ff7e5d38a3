"""A chat model's reply, and what a request wants from a response."""

from dataclasses import dataclass

from hasse.data.thinking import split_thinking


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer, or the reason why there is none.

    status: `ok`, `truncated`, `refused`, `filtered` (the question is too long), `failed` or `budget_stopped`.
    """

    text: str
    status: str
    error: str | None = None
    logprobs: tuple[float, ...] = ()
    """The log-prob of each token in nats, as the endpoint reports it; empty unless log-probs were asked for."""
    reasoning: str = ""
    """The model's thinking before the answer, if the endpoint separates it from the answer."""

    @property
    def all_reasoning(self) -> str:
        """The thinking that the endpoint separates, and the thinking that stands in the text between tags."""
        return "\n".join(filter(None, (self.reasoning, split_thinking(self.text).thinking)))


Replies = tuple[Reply, ...]
"""As many replies as a request asks for; or fewer, and then the last reply says why there are no more."""

STOPPED = Reply(text="", status="budget_stopped", error="asking it might have passed budget_usd")


def failed(error: str) -> Reply:
    return Reply(text="", status="failed", error=error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The requirements that a response must meet.

    num: the number of answers. first: the number of the first of them among all answers of the question. max_tokens:
    the most tokens of each answer; 0 where that is not known. fields: the names of the fields of the body that is sent.
    """

    num: int = 1
    first: int = 0
    logprobs: bool = False
    max_tokens: int = 0
    fields: tuple[str, ...] = ()


class Unsupported(ValueError):
    """The endpoint does not do what it was asked for, and another try would not change that."""


class Unusable(ValueError):
    """A response that cannot be used. `status`: the HTTP status that its body mentions."""

    def __init__(self, problem: str, *, status: int | None = None):
        super().__init__(problem)
        self.status = status
