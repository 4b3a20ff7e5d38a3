"""Teacher `vllm`: the recipe's `teacher`, in vLLM engines, judges all answers to a prompt in one question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from hasse.data.records import Candidate, Judgement, Prompt
from hasse.stages.chat.json_replies import Structured
from hasse.stages.grading import TaskSettings
from hasse.stages.judge import local_panel, panel_settings
from hasse.stages.judge.local_panel import Asked, LocalChatSettings
from hasse.stages.models.end_tokens import end_token_ids
from hasse.stages.models.thinking import split_sample
from hasse.stages.models.vllm_engine import EngineSettings, close_pools, engine_outputs

RUNS = ("hasse.stages.models.vllm_engine", "hasse.stages.models.vllm_worker")

if TYPE_CHECKING:
    from hasse.stages.models.lazy import LazyModel

NEEDS_MODEL = True
OWN_PROCESS = True
REPEATS = True

external = panel_settings.external
close = close_pools


class Settings(LocalChatSettings, EngineSettings):
    teacher: Literal["vllm"] = "vllm"
    structured: Structured = Field(
        default="json_schema", description="json_schema: the engine enforces a schema of the reply; text: it does not."
    )


def judge(
    items: Sequence[tuple[Prompt, list[Candidate]]],
    settings: Settings,
    task: TaskSettings,
    model: LazyModel,
    *,
    repeat: int = 0,
) -> Iterator[list[Judgement]]:
    context = min(model.context, settings.max_model_len or model.context)
    yield from local_panel.judge(items, settings, task, model, context=context, repeat=repeat, writes=_written)


def _written(asked: list[Asked], settings: Settings, model: LazyModel) -> list[tuple[str, str | None, str | None]]:
    ends = end_token_ids(model.tokenizer)
    requests = [(question.token_ids, _sampling(settings, question, ends)) for question in asked]
    outputs = engine_outputs(model.folder, settings, requests)
    (replies,) = zip(*(output["samples"] for output in outputs), strict=True)
    return [_split(reply, question, model.tokenizer) for reply, question in zip(replies, asked, strict=True)]


def _split(reply: dict[str, Any], asked: Asked, tokenizer: Any) -> tuple[str, str | None, str | None]:
    text, thinking = split_sample(reply["text"], asked.token_ids, tokenizer)
    return text, reply["finish_reason"], thinking


def _sampling(settings: Settings, asked: Asked, ends: list[int]) -> dict[str, Any]:
    schema = {"json_schema": asked.schema} if settings.structured == "json_schema" else {}
    return {
        "n": 1,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "max_tokens": settings.max_new_tokens,
        "seed": asked.seed,
        "stop_token_ids": ends,
        "skip_special_tokens": True,
        **schema,
    }
