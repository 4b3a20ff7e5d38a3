"""Questions to a chat model behind an OpenAI-compatible endpoint, several at a time, answers in order.

Questions ─> cache ─> budget ─> limits ─> endpoint ─> cache ─> replies in order
                                  └── pause <──┘ what another try may mend
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any

from stages.chat_budget import Ledger
from stages.chat_cache import cache_path
from stages.chat_loop import iterate
from stages.chat_questions import Questions
from stages.chat_reply import Reply
from stages.chat_settings import ChatSettings, Price
from stages.spending import current

__all__ = ["ChatSettings", "Ledger", "Price", "Reply", "ask"]


def ask(
    questions: Sequence[tuple[str, str]],
    settings: ChatSettings,
    *,
    schema: dict[str, Any] | None = None,
    ledger: Ledger | None = None,
) -> Iterator[Reply]:
    """One reply for each (system, user) question, in order; of equal questions one is asked.

    With a JSON schema the answers are JSON that fits it. `ledger` is kept as replies arrive; its dollars, from earlier
    calls too, count towards `budget_usd`. Left out, it is the stage's (see `Spending`), else the process's own of that
    model: work goes chunk by chunk, and the cap holds for all of them. Raises InputError for what asking again would
    not mend: no key, no price, or a request that the endpoint refuses; what is under way is then cancelled.
    """
    stage = current()
    if ledger is None:
        where = settings.base_url, settings.model
        ledger = stage.ledger(settings.model) if stage else _ledgers.setdefault(where, Ledger())
    if stage and cache_path(settings) is None:
        settings = settings.model_copy(update={"cache": stage.replies})
    run = partial(Questions(settings, schema, ledger).answer, questions)
    early: dict[int, Reply] = {}
    following = 0
    with closing(iterate(run)) as arrivals:
        for index, reply in arrivals:
            early[index] = reply
            while following in early:
                yield early.pop(following)
                following += 1


_ledgers: dict[tuple[str | None, str], Ledger] = {}
