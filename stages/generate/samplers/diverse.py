"""Sampler `diverse`: answers of one model that differ from each other, sampled at rising temperatures.

Source: "Tuna: Instruction Tuning using Feedback from Large Language Models", arXiv 2310.13385. A set of answers passes
if no answer is blank and every pair has a ROUGE-L F1, with stemming, below a threshold. A set that does not pass is
sampled again at a higher temperature. If no set passes, the set with the lowest mean ROUGE-L over its pairs is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations
from typing import Any, Literal

from pydantic import Field, field_validator

from hasse.data.records import Candidate, Prompt
from hasse.data.settings import unkeyed
from hasse.stages.generate.answers import AnswerSettings
from hasse.stages.generate.samplers import transformers, vllm
from hasse.stages.grading.tokens import canonical, tokens
from hasse.stages.models.vllm_engine import EngineSettings

NEEDS_MODEL = True


class Settings(AnswerSettings):
    sampler: Literal["diverse"] = "diverse"
    num_samples: int = Field(default=4, ge=2, description="Answers to a prompt. Tuna: 4.")
    max_rouge: float = Field(
        default=0.8, gt=0, description="ROUGE-L F1 that every pair of answers must stay below. Tuna: 0.8."
    )
    temperature: float = Field(default=1.0, gt=0, description="Temperature of the first attempt. Tuna: 1.")
    temperature_step: float = Field(default=0.1, ge=0, description="Added with each further attempt. Tuna: 0.1.")
    max_attempts: int = Field(default=3, ge=1, description="The most attempts. Tuna: 3.")
    engine: EngineSettings | None = Field(
        default=None, description="Settings of a vLLM engine that answers; left out: the training stack answers."
    )
    batch_size: int = unkeyed(256, ge=1, description="Sequences at a time; memory only.")

    @field_validator("prompt")
    @classmethod
    def _whole(cls, prompt: str) -> str:
        if prompt != "whole":
            raise ValueError(
                "diverse sets are made of answers to whole prompts; leave prompt out, or take another sampler"
            )
        return prompt


def engine(settings: Settings) -> EngineSettings | None:
    return settings.engine


def num_candidates(settings: Settings) -> int:
    return settings.num_samples


def has_work(prompt: Prompt, settings: Settings) -> bool:
    return True


def sample(prompts: Sequence[Prompt], settings: Settings, model: Any) -> Iterator[list[Candidate]]:
    """`num_samples` candidates for each prompt; the temperature of a candidate tells which attempt was kept.

    `model` is a loaded model, or with an engine a LazyModel.
    """
    best: dict[int, tuple[float, list[Candidate]]] = {}
    passed: set[int] = set()
    for attempt in range(settings.max_attempts):
        left = [i for i in range(len(prompts)) if i not in passed]
        tried = _attempt([prompts[i] for i in left], settings, attempt, model)
        for i, answers in zip(left, tried, strict=True):
            ok, mean = overlap([c.text for c in answers], settings.max_rouge)
            if ok or i not in best or mean < best[i][0]:
                best[i] = (mean, answers)
            if ok or (answers[0].status == "filtered" and answers[0].reasoning is None):  # a prompt that does not fit
                passed.add(i)
    for i in range(len(prompts)):
        yield best[i][1]


def overlap(texts: Sequence[str], max_rouge: float) -> tuple[bool, float]:
    """(whether the set passes, mean ROUGE-L F1 of its pairs); a blank answer has F1 1 with every other.

    So have equal answers, also of symbols alone, which ROUGE does not see.
    """
    values = [_rouge_l(a, b) if a.strip() and b.strip() and a != b else 1.0 for a, b in combinations(texts, 2)]
    blank = any(not text.strip() for text in texts)
    return not blank and all(v < max_rouge for v in values), sum(values) / max(len(values), 1)


def _attempt(prompts: Sequence[Prompt], settings: Settings, attempt: int, model: Any) -> Iterator[list[Candidate]]:
    asked = {name: getattr(settings, name) for name in AnswerSettings.model_fields} | {
        "temperature": settings.temperature + attempt * settings.temperature_step,
        "seed": settings.seed + attempt,
    }
    if settings.engine is None:
        once = transformers.Settings(**asked, batch_size=settings.batch_size)
        return transformers.sample(prompts, once, model)
    return vllm.sample(prompts, vllm.Settings(**asked, **settings.engine.model_dump()), model)


def _rouge_l(a: str, b: str) -> float:
    return _scorer().score(a, b)["rougeL"].fmeasure


class RougeTokenizer:
    """The tokenizer for ROUGE: that of rouge_score, which only knows the letters a to z, and words of other scripts."""

    def __init__(self) -> None:
        from rouge_score.tokenizers import DefaultTokenizer

        self.plain = DefaultTokenizer(use_stemmer=True)

    def tokenize(self, text: str) -> list[str]:
        if text.isascii():
            return self.plain.tokenize(text)
        words = [token.text for token in tokens(canonical(text))]
        return [part for word in words for part in (self.plain.tokenize(word) if word.isascii() else [word])]


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=RougeTokenizer())
