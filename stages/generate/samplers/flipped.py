"""Sampler `flipped`: a chat model turns the explanation of an answer into its opposite and predicts the label anew.

Source: the extra candidates of "Rescue: Ranking LLM Responses with Partial Ordering to Improve Response Generation",
arXiv 2311.09136, which are fluent, close to a real answer, and mostly wrong. Departure from the paper: the setting `of`
chooses which answers are flipped, the expert's or those of any sampler.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from hasse.data.records import Candidate, Prompt
from hasse.data.rendering import prompt_as_text
from hasse.data.settings import Config, Name, registry
from hasse.data.thinking import split_thinking
from hasse.stages.chat.ask import converse
from hasse.stages.chat.money.budget import Payer
from hasse.stages.chat.money.estimate import Planned
from hasse.stages.chat.reply import Reply
from hasse.stages.chat.request import Conversation, question
from hasse.stages.chat.settings import ChatSettings
from hasse.stages.generate.samplers import dataset, openai, transformers, vllm
from hasse.stages.grading import loose_label
from hasse.stages.grading.statements import is_statement
from hasse.stages.models.vllm_engine import EngineSettings

NEEDS_MODEL = False


REWRITE = (
    "You rewrite explanations so that they mean the opposite, in the same style and at about the same length. Change "
    "what is claimed, not merely the wording, and draw no conclusion that the rewritten text does not support. Reply "
    "with the rewritten explanation and nothing else."
)
PREDICT = (
    "You read an explanation and say what follows from it, whether it is true or not. Reply with one word of: {labels}."
)

Of = dataset.Settings | transformers.Settings | vllm.Settings | openai.Settings


class Settings(Config):
    sampler: Literal["flipped"] = "flipped"
    name: Name = Field(default="flipped", description="Name of the group; its candidates are <name>-0, <name>-1, ...")
    chat: ChatSettings = Field(description="The chat model that rewrites the explanation and predicts the label.")
    of: Annotated[Of, Field(discriminator="sampler")] = Field(
        default=dataset.Settings(), description="The sampler whose answers are flipped; left out: the expert's answer."
    )
    labels: tuple[str, ...] = Field(
        default=(), description="The labels of `task`, of which one is predicted; left out: flipped answers have none."
    )

    @property
    def model(self) -> str:
        return getattr(self.of, "model", "")


def needs_model(settings: Settings) -> bool:
    return _base(settings).NEEDS_MODEL


def engine(settings: Settings) -> EngineSettings | None:
    return vllm.engine(settings.of) if isinstance(settings.of, vllm.Settings) else None


def num_candidates(settings: Settings) -> int:
    return _base(settings).num_candidates(settings.of)


def has_work(prompt: Prompt, settings: Settings) -> bool:
    return _base(settings).has_work(prompt, settings.of)


def answers(prompt: Prompt, settings: Settings) -> tuple[str, ...]:
    """The answers from the prompt itself that are flipped."""
    return dataset.answers(prompt, settings.of) if isinstance(settings.of, dataset.Settings) else ()


def sample(prompts: Sequence[Prompt], settings: Settings, model: Any, *, payer: Payer) -> Iterator[list[Candidate]]:
    """One candidate for each answer; `filtered` where there is no answer to flip."""
    paid = {"payer": payer} if _base(settings).questions is not None else {}
    rows = list(_base(settings).sample(prompts, settings.of, model, **paid))
    given = [(prompt, candidate) for prompt, row in zip(prompts, rows, strict=True) for candidate in row]
    flipped = converse((_flip(prompt, candidate, settings) for prompt, candidate in given), settings.chat, payer=payer)
    for row in rows:
        yield [_candidate(candidate, i, next(flipped), settings) for i, candidate in enumerate(row)]


def questions(prompts: Sequence[Prompt], settings: Settings) -> Iterator[Planned]:
    """The questions of the base sampler, then at most two for each answer: the rewriting and the label."""
    base = _base(settings)
    if base.questions is not None:
        yield from base.questions(prompts, settings.of)
    for prompt in prompts:
        texts = answers(prompt, settings) or ("x" * 4 * getattr(settings.of, "max_tokens", 0),) * num_candidates(
            settings
        )
        for text in texts:
            yield Planned(request=question(*_rewriting(prompt, text), None), chat=settings.chat)
            if settings.labels:
                longest = "x" * 4 * settings.chat.max_tokens
                yield Planned(request=question(*_prediction(prompt, longest, settings), None), chat=settings.chat)


def _rewriting(prompt: Prompt, text: str) -> tuple[str, str]:
    return REWRITE, f"Question:\n{prompt_as_text(prompt)}\n\nExplanation:\n{_explanation(text)}"


def _prediction(prompt: Prompt, explanation: str, settings: Settings) -> tuple[str, str]:
    system = PREDICT.format(labels=", ".join(settings.labels))
    return system, f"Question:\n{prompt_as_text(prompt)}\n\nExplanation:\n{explanation}"


def _flip(prompt: Prompt, candidate: Candidate, settings: Settings) -> Conversation[Reply]:
    if not candidate.text.strip():
        return _nothing(candidate)
    draw = "" if settings.chat.temperature == 0 else f"{settings.name}/{candidate.prompt_id}/{candidate.candidate_id}"
    ((reply,),) = yield [question(*_rewriting(prompt, candidate.text), None, draw=draw)]
    rewritten = _without_thinking(reply)
    if not settings.labels or rewritten.status != "ok":
        return rewritten
    ((predicted,),) = yield [question(*_prediction(prompt, rewritten.text, settings), None, draw=draw)]
    return _labelled(rewritten, predicted, settings.labels)


def _explanation(text: str) -> str:
    """The answer without the line that states its label."""
    *lines, last = text.strip().split("\n")
    return "\n".join(lines).strip() if lines and is_statement(last) else text.strip()


def _without_thinking(reply: Reply) -> Reply:
    """The reply without its thinking; `unparsable` if nothing else is left."""
    text = split_thinking(reply.text).answer.strip()
    if reply.status == "ok" and not text:
        return Reply(text="", status="unparsable", error="the reply is blank")
    return replace(reply, text=text)


def _labelled(reply: Reply, prediction: Reply, labels: tuple[str, ...]) -> Reply:
    if prediction.status != "ok":
        return replace(prediction, text="")
    label = loose_label(split_thinking(prediction.text).answer, labels)
    if label is None:
        return Reply(text="", status="unparsable", error=f"the reply names no label: {prediction.text[:80]!r}")
    return replace(reply, text=f"{reply.text}\nlabel: {label}")


def _nothing(candidate: Candidate) -> Reply:
    return Reply(text="", status="filtered", error=candidate.error or f"the answer to be flipped is {candidate.status}")


def _candidate(base: Candidate, number: int, reply: Reply, settings: Settings) -> Candidate:
    return Candidate(
        prompt_id=base.prompt_id,
        candidate_id=f"{settings.name}-{number}",
        text=reply.text,
        finish_reason="stop" if reply.status == "ok" else "length" if reply.status == "truncated" else None,
        temperature=settings.chat.temperature,
        max_tokens=settings.chat.max_tokens,
        source="flipped",
        status=reply.status,  # type: ignore[arg-type]  one of the statuses
        error=reply.error,
    )


def _base(settings: Settings) -> Any:
    return registry.load("hasse.stages.generate.samplers", settings.of.sampler, kind="sampler")
