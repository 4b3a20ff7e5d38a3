"""Judging by the model in the recipe's section `teacher`, which is asked through its chat template."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import Field

from hasse.data.records import Candidate, Judgement, Prompt
from hasse.data.settings import Seed
from hasse.stages.chat.json_replies import SYSTEM, Question, Schema, in_rounds
from hasse.stages.chat.reply import Reply
from hasse.stages.generate.answers import row_seed
from hasse.stages.grading import TaskSettings
from hasse.stages.judge import panel
from hasse.stages.judge.panel_settings import PanelSettings

if TYPE_CHECKING:
    from hasse.stages.models.lazy import LazyModel


class LocalChatSettings(PanelSettings):
    """The settings of a judge that is the model in the recipe's section `teacher`."""

    seed: Seed = Field(default=0, description="Another seed, other presentation orders and samples.")
    temperature: float = Field(default=0.0, ge=0, description="Temperature of the replies; 0 is greedy.")
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="Sample from the smallest set of tokens with this probability."
    )
    max_tokens: int = Field(
        default=1024, ge=1, description="Tokens of a reply, at most; it must hold the judgement of all candidates."
    )
    max_thinking_tokens: int | None = Field(
        default=None,
        ge=1,
        description="The most tokens of the judge's thinking, beside max_tokens; left out: both share max_tokens.",
    )

    @property
    def max_new_tokens(self) -> int:
        """The most tokens that are sampled, of thinking and reply together."""
        return self.max_tokens + (self.max_thinking_tokens or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question as the model gets it: tokens, the seed of the reply, and the schema that the reply should have."""

    token_ids: list[int]
    seed: int
    schema: Schema


Written = Sequence[tuple[str, str | None, str | None]]
"""(text, finish_reason, thinking) of each reply, in the order of the questions. The text is without the thinking."""


def judge(
    items: Sequence[tuple[Prompt, list[Candidate]]],
    settings: Any,
    task: TaskSettings,
    model: LazyModel,
    *,
    context: int,
    repeat: int,
    writes: Callable[[list[Asked], Any, LazyModel], Written],
) -> Iterator[list[Judgement]]:
    """The `judge` of a teacher whose model runs here.

    context: tokens of question and reply together. writes: has the model answer the questions.
    """
    answer = partial(
        replies,
        settings=settings,
        tokenizer=model.tokenizer,
        context=context,
        repeat=repeat,
        writes=lambda asked: writes(asked, settings, model),
    )
    talks = (panel.conversation(*item, settings, task, teacher=settings.teacher) for item in items)
    yield from in_rounds(talks, answer)


def replies(
    questions: Sequence[Question[Any]],
    *,
    settings: LocalChatSettings,
    tokenizer: Any,
    context: int,
    repeat: int,
    writes: Callable[[list[Asked]], Written],
) -> list[Reply]:
    """One reply for each question, `filtered` where the question does not fit; seeds depend on the question alone."""
    room = context - settings.max_new_tokens
    asked = [
        Asked(
            token_ids=_token_ids(question, tokenizer),
            seed=row_seed(settings.seed, question.text, str(repeat)),
            schema=question.schema,
        )
        for question in questions
    ]
    short_enough = [question for question in asked if len(question.token_ids) <= room]
    written = iter(writes(short_enough) if short_enough else [])
    return [
        _reply(*next(written)) if len(q.token_ids) <= room else _too_long(len(q.token_ids), room, settings)
        for q in asked
    ]


def _token_ids(question: Question[Any], tokenizer: Any) -> list[int]:
    """The question with its instruction before it, in the user's turn: not every chat template has a system turn."""
    from hasse.stages.models.tokens import prompt_token_ids

    return prompt_token_ids(tokenizer, f"{SYSTEM}\n\n{question.text}")


def _reply(text: str, finish_reason: str | None, thinking: str | None) -> Reply:
    reasoning = thinking or ""
    if finish_reason == "length":
        error = "the reply is longer than max_tokens" if text else "the thinking is longer than its limit"
        return Reply(text=text, status="truncated", error=error, reasoning=reasoning)
    if not text.strip():
        return Reply(text="", status="refused", error="an empty answer", reasoning=reasoning)
    return Reply(text=text, status="ok", reasoning=reasoning)


def _too_long(length: int, room: int, settings: LocalChatSettings) -> Reply:
    error = f"the question has {length} tokens; {room} fit beside {settings.max_new_tokens} new ones"
    return Reply(text="", status="filtered", error=error)
