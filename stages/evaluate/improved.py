"""The policy answers, and the evaluated model, a PIT improver, improves the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hasse.data.rendering import prompt_as_text
from hasse.pipeline.stage import Job
from hasse.stages.evaluate.answers import sampled_answers, seeds_of
from hasse.stages.evaluate.questions import TokenisedPrompt
from hasse.stages.evaluate.settings import EvaluateSettings
from hasse.stages.models.checkpoints import model_folder
from hasse.stages.pit.improver import GapJudge, Improver

if TYPE_CHECKING:
    from hasse.stages.models.sample import Sampled


class AnswerImprover:
    """The models of the inputs `policy` and `reward`, beside the improver. The reward model is loaded for a threshold.

    settings.improve must not be None.
    """

    def __init__(self, job: Job, model: Any, tokenizer: Any, settings: EvaluateSettings):
        from hasse.stages.models.load import load_model, load_reward_model

        assert settings.improve is not None
        self.settings, self.improve = settings, settings.improve
        self.model, self.tokenizer = model, tokenizer
        self.policy = load_model(model_folder(job.input("policy")), beside=model)
        self.judge = None
        if self.improve.threshold is not None:
            reward = load_reward_model(model_folder(job.input("reward")), beside=model)
            self.judge = GapJudge(reward, tokenizer, self.improve.template)

    def answers(self, questions: Sequence[TokenisedPrompt], sample: int, temperature: float) -> list[Sampled]:
        """The policy's answer to each question after all rounds. A round without a better answer changes nothing."""
        improver = self._improver(temperature)
        seeds = seeds_of(questions, self.settings, sample)
        current = sampled_answers(self.policy, self.tokenizer, questions, seeds, temperature, self.settings)
        for number in range(self.improve.rounds):
            references = current[1:] + current[:1] if self.improve.shuffle_references else current
            asked = [(prompt_as_text(q.prompt), answer.text) for q, answer in zip(questions, references, strict=True)]
            seeds = seeds_of(questions, self.settings, f"{sample} round {number}")
            new = improver.improved(asked, seeds, [answer.text for answer in current])
            current = [better or answer for better, answer in zip(new, current, strict=True)]
        return current

    def _improver(self, temperature: float) -> Improver:
        return Improver(
            model=self.model,
            tokenizer=self.tokenizer,
            template=self.improve.template,
            temperature=temperature,
            max_tokens=self.settings.max_tokens,
            batch_size=self.settings.batch_size,
            judge=self.judge,
            threshold=self.improve.threshold,
        )
