"""The outcome of one request: the server's response, and what hasse makes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hasse.stages.chat.http.usage import Usage
from hasse.stages.chat.reply import Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The replies that were wanted; or fewer or none, with an error.

    final: the reply holds for all answers that were wanted. again: another try may help. unusable: there was an answer
    that cannot be used but may have to be paid for. may_cost: the server may have answered and charged, unseen by us.
    model: the model that answered, as the server names it. retry_after: seconds that the server asks to wait.
    """

    replies: tuple[Reply, ...] = ()
    final: bool = False
    model: str = ""
    unusable: bool = False
    usage: Usage | None = None
    error: str = ""
    again: bool = True
    overloaded: bool = False
    may_cost: bool = False
    retry_after: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)


CANCELLED = Outcome(error="cancelled", may_cost=True)


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300
