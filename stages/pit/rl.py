"""Stage improve_rl: one phase of RL, which trains the improver by REINFORCE with the gap reward model.

The reward of a sampled answer is r_gap(answer, reference) - beta (log pi - log pi_anchor). The anchor is the supervised
improver, whatever model this phase starts from. TRL's own penalty is off, because its anchor would be the model that
the phase starts from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from hasse.data.errors import InputError
from hasse.data.records import HELD_OUT, Checkpoint, CurvePoint, Prompt
from hasse.data.rendering import prompt_as_text
from hasse.data.settings import Config, Seed, unkeyed
from hasse.pipeline.stage import Job, Stage
from hasse.stages.models.checkpoints import identity, load_tokenizer_of, model_folder, name_base, publish_model
from hasse.stages.models.model_folders import MODEL
from hasse.stages.pit.improver import improver_ids, prompts_of, triples
from hasse.stages.prompts.held_out import prove_disjoint
from hasse.stages.train.loss_terms import penalised_reward
from hasse.stages.train.methods.pit import TEMPLATE, RlSettings
from hasse.stages.train.settings import LoraSettings
from hasse.stages.train.tracking import TrackingSettings

KEPT = ("loss", "reward", "completions/mean_length", "grad_norm", "learning_rate")
"""The metrics of TRL's log that become the curve."""
PASSES = 5
"""How often a sampled answer goes through a model: it is sampled, scored by policy and anchor, rewarded, trained on."""


class ImproveRlSettings(Config):
    """Settings of the improve_rl stage."""

    rl: RlSettings
    references: Literal["easy", "hard"] = Field(
        description="easy: both answers of each triple; hard: answers that the policy samples."
    )
    reference_temperature: float = Field(default=0.8, ge=0, description="Temperature of the policy's answers.")
    blind: bool = Field(default=False, description="The reward model does not see the reference (additive ablation).")
    template: str = TEMPLATE
    pairs_per_prompt: int = Field(default=1, ge=1, description="The most ordered pairs of a prompt that are used.")
    seed: Seed = 0
    lora: LoraSettings | None = Field(
        default=None, description="Train the adapter of the model that the phase starts from; the others are frozen."
    )
    tracking: TrackingSettings = unkeyed(TrackingSettings(), description="Where people watch the training.")


def run(job: Job) -> None:
    from hasse.stages.models.adapters import base_of
    from hasse.stages.models.load import save_adapter, save_model
    from hasse.stages.pit.reinforce import reinforce
    from hasse.stages.train.fit import curve
    from hasse.stages.train.trainer_folder import keep_logs

    settings: ImproveRlSettings = job.settings
    start, anchor = job.input("student"), job.input("anchor")
    tokenizer = load_tokenizer_of(start)
    prompts = [p for p in job.input("prompts").records(Prompt) if p.status == "ok"]
    prove_disjoint([p for p in prompts if p.split == "train"], [p for p in prompts if p.split in HELD_OUT])
    references = _references(job, settings)
    policy, anchored, reward_model = load_models(
        model_folder(start), model_folder(anchor), model_folder(job.input("reward")), lora=settings.lora
    )
    reward = Reward(reward_model, policy=policy, anchor=anchored, tokenizer=tokenizer, settings=settings)
    log = reinforce(
        policy,
        reward,
        references,
        tokenizer=tokenizer,
        template=settings.template,
        settings=settings.rl,
        seed=settings.seed,
        folder=job.path / "trainer",
        on_step=job.progress,
        tracking=settings.tracking,
    )
    points = [p for p in curve(log) if p.metric in KEPT]
    keep_logs(job.path)
    if settings.lora is None:
        save_model(job.path / MODEL, policy, tokenizer, like=model_folder(start))
    else:
        save_adapter(job.path / MODEL, policy, tokenizer, base=base_of(model_folder(start)))
        name_base(job, start)
    job.write(points, CurvePoint)
    (base,) = start.records(Checkpoint)
    sampled = settings.rl.steps * settings.rl.prompts_per_step * settings.rl.num_generations
    final = {p.metric: p.value for p in points if p.step == points[-1].step}
    job.metrics |= {"references": len(references), "cost": {"sequences": PASSES * sampled}, "final": final}
    publish_model(job, method="pit", seed=settings.seed, num_steps=settings.rl.steps, base=base)


def load_models(start: Path, anchor: Path, reward: Path, *, lora: LoraSettings | None) -> tuple[Any, Any, Any]:
    """(policy to be trained, anchor, reward model). With `lora` these are three adapters on one base, held once."""
    import torch

    from hasse.stages.models.load import load_model, load_reward_model
    from hasse.stages.train.adapter import load_to_train

    if lora is None:
        policy = load_model(start, dtype=torch.float32)
        return policy, load_model(anchor, dtype=torch.float32), load_reward_model(reward)
    policy = load_to_train(start, lora)
    dtype = policy.get_base_model().dtype
    return (
        policy,
        load_model(anchor, dtype=dtype, beside=policy),
        load_reward_model(reward, dtype=dtype, beside=policy),
    )


class Reward:
    """The reward function that TRL calls with the sampled answers of a step."""

    __name__ = "gap"

    def __init__(self, reward_model: Any, *, policy: Any, anchor: Any, tokenizer: Any, settings: ImproveRlSettings):
        self.reward_model, self.policy, self.anchor = reward_model, policy, anchor
        self.tokenizer, self.settings = tokenizer, settings

    def __call__(self, completion_ids: list[list[int]], x: list[str], y_ref: list[str], **_: Any) -> list[float]:
        import torch

        from hasse.stages.scoring.score_texts import logprobs_of, rewards_of

        template = self.settings.template
        asked = [improver_ids(self.tokenizer, a, b, template) for a, b in zip(x, y_ref, strict=True)]
        seen = [improver_ids(self.tokenizer, a, "", template) for a in x] if self.settings.blind else asked
        gaps = rewards_of(self.reward_model, list(zip(seen, completion_ids, strict=True)))
        pairs = list(zip(asked, completion_ids, strict=True))
        was_training = self.policy.training
        self.policy.eval()
        logp, anchored = (torch.tensor(logprobs_of(m, pairs)) for m in (self.policy, self.anchor))
        self.policy.train(was_training)
        return penalised_reward(torch.tensor(gaps), logp, anchored, beta=self.settings.rl.beta).tolist()


def _references(job: Job, settings: ImproveRlSettings) -> list[tuple[str, str]]:
    """(prompt, answer that is to be improved) of the fold `rl`. Raises InputError when there are none."""
    if settings.references == "easy":
        found = list(triples(job, "rl", {}, pairs_per_prompt=settings.pairs_per_prompt))
        asked = [(prompt_as_text(t.prompt), answer) for t in found for answer in (t.other, t.preferred)]
    else:
        asked = _sampled(job, settings)
    if not asked:
        raise InputError(f"{job.name}: the fold for RL has no prompt with an ordered pair")
    return asked


def _sampled(job: Job, settings: ImproveRlSettings) -> list[tuple[str, str]]:
    """The prompts of the fold `rl` with answers that the policy samples."""
    from hasse.stages.generate.samplers import transformers
    from hasse.stages.models.lazy import LazyModel

    prompts = list(prompts_of(job, "rl"))
    sampling = transformers.Settings(
        num_samples=1,
        temperature=settings.reference_temperature,
        max_tokens=settings.rl.max_tokens,
        seed=settings.seed,
    )
    found = transformers.sample(prompts, sampling, LazyModel(job.input("policy")).loaded)
    return [(prompt_as_text(p), c[0].text) for p, c in zip(prompts, found, strict=True) if c[0].status != "filtered"]


STAGE = Stage(
    name="improve_rl",
    run=run,
    in_child=True,
    identity=identity,
)
