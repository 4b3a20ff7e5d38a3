"""Parts that PIT's improver, reward model and RL share: folds, triples, the improver's prompt, gaps, improved answers.

"Enabling Language Models to Implicitly Learn Self-Improvement", arXiv 2310.00898: given a prompt and an answer to it,
an improver writes an answer that a human would prefer. It learns what is better from preferences only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hasse.data.joins import join
from hasse.data.records import Candidate, PartialOrder, Prompt
from hasse.data.template import fill
from hasse.data.text import unit_hash

if TYPE_CHECKING:
    from hasse.pipeline.stage import Job
    from hasse.stages.models.sample import Sampled

FOLDS = ("sft", "reward", "rl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Triple:
    """A prompt with a preferred answer and another one."""

    prompt: Prompt
    preferred: str
    other: str


def fold_of(prompt: Prompt) -> str:
    """The fold of a prompt, by a hash of its cluster. Each of the three folds gets about a third of the clusters."""
    return FOLDS[int(unit_hash("fold", prompt.cluster_id) * len(FOLDS))]


def prompts_of(job: Job, fold: str) -> Iterator[Prompt]:
    """The training prompts of a fold."""
    prompts = job.input("prompts").records(Prompt)
    return (p for p in prompts if p.status == "ok" and p.split == "train" and fold_of(p) == fold)


def triples(job: Job, fold: str, counts: dict[str, int], *, pairs_per_prompt: int) -> Iterator[Triple]:
    """Yield at most `pairs_per_prompt` ordered pairs of each training prompt of a fold, chosen by a hash.

    Pairs of identical answers are left out and counted in counts["identical"].
    """
    prompts = prompts_of(job, fold)
    candidates = job.input("candidates").records(Candidate)
    for prompt, answers, order in join(prompts, candidates, job.input("orders").records(PartialOrder)):
        if not order:
            continue
        text = {c.candidate_id: c.text for c in answers}
        pairs = [(text[pair.above], text[pair.below]) for pair in order[0].pairs]
        different = [pair for pair in pairs if pair[0].strip() != pair[1].strip()]
        counts["identical"] = counts.get("identical", 0) + len(pairs) - len(different)
        different.sort(key=lambda pair: unit_hash("pair", prompt.prompt_id, *pair))
        for preferred, other in different[:pairs_per_prompt]:
            yield Triple(prompt=prompt, preferred=preferred, other=other)


def improver_ids(tokenizer: Any, prompt: str, reference: str, template: str) -> list[int]:
    """The token ids of the improver's prompt. With an answer behind them they are the reward model's text."""
    from hasse.stages.models.tokens import prompt_token_ids

    return prompt_token_ids(tokenizer, fill(template, {"prompt": prompt, "reference": reference}))


class GapJudge:
    """PIT's reward model, which tells by how much a candidate is better than a reference answer."""

    def __init__(self, model: Any, tokenizer: Any, template: str, *, micro_batch_tokens: int = 16384):
        self.model, self.tokenizer, self.template = model, tokenizer, template
        self.micro_batch_tokens = micro_batch_tokens

    def gaps(self, asked: Sequence[tuple[str, str, str]]) -> list[float]:
        """r_gap of each (prompt, candidate, reference). It has no fixed zero, so only differences have a meaning."""
        from hasse.stages.models.tokens import completion_token_ids
        from hasse.stages.scoring.score_texts import rewards_of

        pairs = [
            (improver_ids(self.tokenizer, x, ref, self.template), completion_token_ids(self.tokenizer, y))
            for x, y, ref in asked
        ]
        return rewards_of(self.model, pairs, micro_batch_tokens=self.micro_batch_tokens)

    def calibrated(self, asked: Sequence[tuple[str, str, str]]) -> list[float]:
        """r_gap(y, ref) - (r_gap(y, y) + r_gap(ref, ref)) / 2, which is above 0 where the candidate is better."""
        gap, same_y, same_ref = (
            self.gaps(list(part))
            for part in (asked, [(x, y, y) for x, y, _ in asked], [(x, ref, ref) for x, _, ref in asked])
        )
        return [g - (a + b) / 2 for g, a, b in zip(gap, same_y, same_ref, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Improver:
    """A model that improves answers.

    threshold: calibrated gap, by `judge`, that a new answer must exceed to be taken; None takes every new answer.
    """

    model: Any
    tokenizer: Any
    template: str
    temperature: float
    max_tokens: int
    batch_size: int
    judge: GapJudge | None = None
    threshold: float | None = None

    def improved(
        self, asked: Sequence[tuple[str, str]], seeds: Sequence[int], current: Sequence[str] | None = None
    ) -> list[Sampled | None]:
        """One round: a new answer for each (prompt, answer), or None.

        None where the prompt does not fit into the context, or where the new answer is no better. current: the answers
        that new answers must be better than; left out, those that they were made from.
        """
        from hasse.stages.models.load import context_length
        from hasse.stages.models.sample import generate

        ids = [improver_ids(self.tokenizer, prompt, answer, self.template) for prompt, answer in asked]
        room = context_length(self.model) - self.max_tokens
        fits = [i for i, found in enumerate(ids) if len(found) <= room]
        tried = generate(
            self.model,
            self.tokenizer,
            [ids[i] for i in fits],
            [seeds[i] for i in fits],
            temperature=self.temperature,
            top_p=1.0,
            max_tokens=self.max_tokens,
            batch_size=self.batch_size,
        )
        found: list[Sampled | None] = [None] * len(asked)
        for i, sampled in zip(fits, tried, strict=True):
            found[i] = sampled
        if self.judge is None or self.threshold is None:
            return found
        rival = current or [answer for _, answer in asked]
        texts = [(asked[i][0], sampled.text, rival[i]) for i, sampled in zip(fits, tried, strict=True)]
        for i, gap in zip(fits, self.judge.calibrated(texts), strict=True):
            if gap <= self.threshold:
                found[i] = None
        return found
