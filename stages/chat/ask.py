"""Questions to a chat model behind an OpenAI-compatible endpoint, several at a time, answers in order.

Questions ─> cache ─┬─> budget ─> limits ─> endpoint ─┬─> cache ─> replies in order
                    │               └── pause <───────┘ what another try may mend
                    └─> budget ─> file ─> batch ─> wait ─> its output ─> cache ─> replies in order
                          └────────────── next batch <──────────┘
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any, TypeVar

from hasse.stages.chat.conversations import Call, Conversation
from hasse.stages.chat.event_loop import iterate
from hasse.stages.chat.money.budget import Payer
from hasse.stages.chat.reply import Replies, Reply
from hasse.stages.chat.request import Request, question
from hasse.stages.chat.settings import ChatSettings

NOT_IN_KEYS = "it carries questions and replies; `request` and `reply` decide what is asked and what is read"

T = TypeVar("T")


def ask(
    questions: Sequence[tuple[str, str]],
    settings: ChatSettings,
    *,
    schema: dict[str, Any] | None = None,
    payer: Payer,
    repeat: int = 0,
) -> Iterator[Reply]:
    """One reply for each (system, user) question, in order, as by `complete`; with a JSON schema, JSON that fits it.

    Another `repeat` is another question to the cache of replies, and the same to the server.
    """
    requests = (question(system, user, schema, repeat=repeat) for system, user in questions)
    with closing(complete(requests, settings, payer=payer)) as found:
        for (reply,) in found:
            yield reply


def complete(requests: Iterable[Request], settings: ChatSettings, *, payer: Payer) -> Generator[Replies, None, None]:
    """The replies to each request, as by `converse`: as many as it asks for, or one that says why there is none."""
    yield from converse(map(_alone, requests), settings, payer=payer)


def converse(
    conversations: Iterable[Conversation[T]], settings: ChatSettings, *, payer: Payer
) -> Generator[T, None, None]:
    """What each conversation returns, in order.

    A conversation yields requests and is sent the replies to each, as often as it likes. It is drawn, in a thread of
    its own, when its first requests may be sent; so thousands cost no memory, and one that waits holds up no other.
    Of equal requests one is sent. The payer's ledger of the model is kept as replies arrive; its dollars, from earlier
    calls too, count towards `budget_usd`. Replies are kept in the cache of the settings, else in the payer's. Raises
    InputError for what asking again would not mend: no key, no price, or a request that the endpoint refuses; what is
    under way is then cancelled.
    """
    run = partial(Call(settings, payer).hold, conversations)
    early: dict[int, T] = {}
    following = 0
    with closing(iterate(run)) as arrivals:
        for index, result in arrivals:
            early[index] = result
            while following in early:
                yield early.pop(following)
                following += 1


def _alone(request: Request) -> Conversation[Replies]:
    (replies,) = yield [request]
    return replies
