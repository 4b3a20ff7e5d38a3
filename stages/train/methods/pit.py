"""PIT: a second model, the improver, learns from preferences to write a better answer than a given one.

"Enabling Language Models to Implicitly Learn Self-Improvement", arXiv 2310.00898. The ordered pairs of the training
prompts are divided by prompt into three folds. With the first, the improver learns to write the preferred answer after
the other one (SFT). With the second, a reward model learns the gap between two answers (see gap_reward). The third is
for RL, with easy references (the answers of the pairs), then hard ones (the policy's own answers). The improver
rewrites the student's answers; the student itself does not change.

The method is a chain of steps and has no `loss`.
"""

from typing import Literal

from pydantic import Field, model_validator

from hasse.data.settings import Config, unkeyed
from hasse.data.template import check_placeholders
from hasse.stages.train.optimiser import OptimiserSettings

TEMPLATE = "{prompt}\n\nAn answer:\n{reference}\n\nA better answer:\n"

PLUG = "MethodTraits"  # a chain of steps instead of one loss
MIN_CANDIDATES = 2
EXAMPLES = "improver"


class RlSettings(Config):
    """One phase of RL. The defaults suit small models; for large models the paper has a learning rate of 1e-6."""

    steps: int = Field(default=60, ge=1, description="Optimiser steps.")
    prompts_per_step: int = Field(
        default=16, ge=1, description="References in one step; each is improved num_generations times."
    )
    num_generations: int = Field(default=8, ge=2, description="Answers sampled for each reference. PIT: 4 to 8.")
    learning_rate: float = Field(default=1e-4, gt=0, description="PIT: 1e-6 for large models.")
    beta: float = Field(default=0.05, ge=0, description="Weight of the log-ratio to the improver of SFT. PIT: 0.05.")
    clip: float = Field(default=0.2, gt=0, description="Clip range of the probability ratio. PIT: 0.2.")
    temperature: float = Field(default=1.0, gt=0, description="Temperature of the sampled answers. PIT: 1.")
    max_tokens: int = Field(default=64, ge=1, description="The most tokens of an answer.")
    gradient_checkpointing: bool = unkeyed(
        False, description="Recompute activations: less memory for about a third more time."
    )
    micro_batch_size: int | None = unkeyed(
        None, ge=1, description="Answers in one forward and backward pass; left out: all of a step."
    )
    save_steps: int = unkeyed(20, ge=1, description="Steps between checkpoints, from which a stopped run resumes.")

    @model_validator(mode="after")
    def _passes_are_equal(self) -> "RlSettings":
        if self.num_answers % self.answers_per_pass:
            raise ValueError(
                f"micro_batch_size {self.micro_batch_size} does not divide the {self.num_answers} answers of a step "
                "(prompts_per_step x num_generations)"
            )
        return self

    @property
    def num_answers(self) -> int:
        """The answers that are sampled in one step."""
        return self.prompts_per_step * self.num_generations

    @property
    def answers_per_pass(self) -> int:
        """The answers that go through the model at once in training."""
        return min(self.micro_batch_size or self.num_answers, self.num_answers)


class Settings(Config):
    method: Literal["pit"] = "pit"
    supervised: bool = Field(
        default=True, description="Whether the improver is trained; off means self-refinement by the student."
    )
    curriculum: list[Literal["easy", "hard"]] = Field(
        default=["easy", "hard"], description="References of the phases of RL, in order. Paper: both; empty: SFT only."
    )
    reward: Literal["gap", "additive"] = Field(
        default="gap", description="additive: the reward model does not see the reference (an ablation)."
    )
    template: str = Field(default=TEMPLATE, description="The improver's prompt, with {prompt} and {reference}.")
    max_length: int = Field(default=512, ge=8, description="Tokens of the improver's prompt and answer together.")
    pairs_per_prompt: int = Field(default=1, ge=1, description="The most ordered pairs of a prompt that are used.")
    improver: OptimiserSettings = Field(
        default=OptimiserSettings(epochs=1, learning_rate=3e-5), description="Optimiser of the supervised improver."
    )
    reward_model: OptimiserSettings = Field(
        default=OptimiserSettings(epochs=1, learning_rate=3e-4), description="Optimiser of the reward model."
    )
    easy: RlSettings = Field(default=RlSettings(), description="RL with the answers of the pairs as references.")
    hard: RlSettings = Field(default=RlSettings(steps=40), description="RL with the policy's answers as references.")
    reference_temperature: float = Field(
        default=0.8, ge=0, description="Temperature of the policy's answers as hard references."
    )
    rounds: int = Field(default=1, ge=1, le=5, description="The most times that an answer is improved at evaluation.")
    threshold: float | None = Field(
        default=None,
        description="Keep an improved answer only if its calibrated gap exceeds this; left out, always keep it "
        "(paper).",
    )
    shuffle_references: bool = Field(
        default=False, description="Ablation: show the improver another prompt's answer as the reference."
    )

    @model_validator(mode="after")
    def _honourable(self) -> "Settings":
        if self.curriculum and not self.supervised:
            raise ValueError("RL starts from the supervised improver; with supervised: false leave curriculum empty")
        if self.threshold is not None and (not self.supervised or self.reward == "additive"):
            raise ValueError("threshold compares calibrated gaps: it needs supervised: true and reward: gap")
        check_placeholders(self.template, ("prompt", "reference"))
        return self
