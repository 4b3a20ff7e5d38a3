"""Best of N: the student answers several times, and PIT's reward model chooses. A control for a model that improves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hasse.data.rendering import prompt_as_text
from hasse.pipeline.stage import Job
from hasse.stages.evaluate.answers import sampled_answers, seeds_of
from hasse.stages.evaluate.questions import TokenisedPrompt
from hasse.stages.evaluate.settings import EvaluateSettings
from hasse.stages.models.checkpoints import model_folder
from hasse.stages.pit.improver import GapJudge

if TYPE_CHECKING:
    from hasse.stages.models.sample import Sampled


class BestOfAnswers:
    """The reward model of the input `reward`, beside the student. settings.choose must not be None."""

    def __init__(self, job: Job, model: Any, tokenizer: Any, settings: EvaluateSettings):
        from hasse.stages.models.load import load_reward_model

        assert settings.choose is not None
        self.settings, self.choose = settings, settings.choose
        self.model, self.tokenizer = model, tokenizer
        reward = load_reward_model(model_folder(job.input("reward")), beside=model)
        self.judge = GapJudge(reward, tokenizer, self.choose.template)

    def answers(self, questions: Sequence[TokenisedPrompt], sample: int, temperature: float) -> list[Sampled]:
        """The best answer to each question by calibrated gaps. At temperature 0 there is nothing to choose from."""
        best = self._sampled(questions, sample, temperature)
        for number in range(1, self.choose.num if temperature else 1):
            other = self._sampled(questions, f"{sample} answer {number}", temperature)
            asked = [
                (prompt_as_text(q.prompt), new.text, old.text)
                for q, new, old in zip(questions, other, best, strict=True)
            ]
            gaps = self.judge.calibrated(asked)
            best = [new if gap > 0 else old for new, old, gap in zip(other, best, gaps, strict=True)]
        return best

    def _sampled(self, questions: Sequence[TokenisedPrompt], name: int | str, temperature: float) -> list[Sampled]:
        seeds = seeds_of(questions, self.settings, name)
        return sampled_answers(self.model, self.tokenizer, questions, seeds, temperature, self.settings)
