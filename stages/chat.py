"""Questions to a chat model behind an OpenAI-compatible endpoint, several at a time, answers in order.

Questions ─> cache ─┬─> budget ─> limits ─> endpoint ─┬─> cache ─> replies in order
                    │               └── pause <───────┘ what another try may mend
                    └─> budget ─> file ─> batch ─> wait ─> its output ─> cache ─> replies in order
                          └────────────── next batch <──────────┘
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any

from stages.chat_budget import Ledger
from stages.chat_call import Call
from stages.chat_loop import iterate
from stages.chat_reply import Replies, Reply
from stages.chat_request import Request, question
from stages.chat_settings import ChatSettings, Price
from stages.spending import current

__all__ = ["ChatSettings", "Ledger", "Price", "Reply", "Request", "ask", "complete"]


def ask(
    questions: Sequence[tuple[str, str]],
    settings: ChatSettings,
    *,
    schema: dict[str, Any] | None = None,
    ledger: Ledger | None = None,
    repeat: int = 0,
) -> Iterator[Reply]:
    """One reply for each (system, user) question, in order, as by `complete`; with a JSON schema, JSON that fits it.

    Another `repeat` is another question to the cache of replies, and the same to the server.
    """
    requests = (question(system, user, schema, repeat=repeat) for system, user in questions)
    with closing(complete(requests, settings, ledger=ledger)) as found:
        for (reply,) in found:
            yield reply


def complete(
    requests: Iterable[Request], settings: ChatSettings, *, ledger: Ledger | None = None
) -> Generator[Replies, None, None]:
    """The replies to each request, in order: as many as it asks for, or one that says why there is none.

    Of equal requests one is sent. `ledger` is kept as replies arrive; its dollars, from earlier calls too, count
    towards `budget_usd`. Left out, it is the stage's (see `Spending`), else the process's own of that model: work goes
    chunk by chunk, and the cap holds for all of them. Raises InputError for what asking again would not mend: no key,
    no price, or a request that the endpoint refuses; what is under way is then cancelled.
    """
    stage = current()
    if ledger is None:
        where = settings.base_url, settings.model
        ledger = stage.ledger(settings.model) if stage else _ledgers.setdefault(where, Ledger())
    if stage and settings.cache_path is None:
        settings = settings.model_copy(update={"cache": stage.replies})
    run = partial(Call(settings, ledger).answer, requests)
    early: dict[int, Replies] = {}
    following = 0
    with closing(iterate(run)) as arrivals:
        for index, replies in arrivals:
            early[index] = replies
            while following in early:
                yield early.pop(following)
                following += 1


_ledgers: dict[tuple[str | None, str], Ledger] = {}
