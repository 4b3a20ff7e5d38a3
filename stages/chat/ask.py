"""Ask a chat model behind an OpenAI-compatible endpoint: several questions at a time, replies in order.

One by one (`one_by_one`) or, with `batch` in the settings, by the provider's batches (`rounds`):

    questions ─> cache ─┬─> limits ─> budget ─> endpoint ─┬─> cache ─> replies in order
                        │      └──────── pause <──────────┘ an error that a retry may mend
                        └─> budget ─> file ─> batch ─> wait ─> output file ─> cache ─> replies in order
                              └──────────── next batch <───────────┘
"""

from collections.abc import Generator, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

from hasse.stages.chat import one_by_one, rounds
from hasse.stages.chat.event_loop import iterate
from hasse.stages.chat.money.budget import Payer
from hasse.stages.chat.reply import Reply
from hasse.stages.chat.request import Conversation, Request, question
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
) -> Generator[Reply, None, None]:
    """Yield one reply for each (system, user) question, in order, as `converse` does.

    With a JSON schema the replies are JSON that fits the schema. Questions that differ only in `repeat` are different
    questions for the cache of replies, and the same question for the server.
    """
    requests = (question(system, user, schema, repeat=repeat) for system, user in questions)
    return converse(map(_reply_to, requests), settings, payer=payer)


def converse(
    conversations: Iterable[Conversation[T]], settings: ChatSettings, *, payer: Payer
) -> Generator[T, None, None]:
    """Yield what each conversation returns, in order.

    Conversations run in a thread of their own. The next conversation is drawn from the iterable when its first
    requests may be sent, so thousands of conversations cost no memory. Equal requests are sent once. The payer's ledger
    of the model is updated as replies arrive; the dollars in it, also from earlier calls, count towards `budget_usd`.
    Replies are kept in the cache that the settings name, or else in the payer's.

    Raises InputError for what a retry cannot mend: no key, no price, or a request that the endpoint refuses. Requests
    that are under way are then cancelled.
    """
    hold = rounds.hold if settings.batch else one_by_one.hold
    return iterate(partial(hold, conversations, settings, payer))


def _reply_to(request: Request) -> Conversation[Reply]:
    ((reply,),) = yield [request]
    return reply
