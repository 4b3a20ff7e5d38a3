"""The steps of a PIT arm: supervised improver, gap reward model, RL with easy references, RL with hard references."""

from typing import Any

from hasse.data.settings import registry
from hasse.flows.plan.rounds import Round, Trained
from hasse.pipeline.stage import Stage, Step
from hasse.stages.evaluate.settings import ImproveSettings
from hasse.stages.pit import examples as improver_examples
from hasse.stages.pit import rl as improve_rl
from hasse.stages.train import stage as train
from hasse.stages.train.methods import gap_reward, pit, sft
from hasse.stages.train.optimiser import OptimiserSettings
from hasse.stages.train.settings import METHODS, TrainSettings
from hasse.stages.train.tracking import TrackingSettings


def improver_chain(r: Round, arm: str, seed: int) -> Trained:
    """The steps of one arm and seed. Steps that arms have in common are computed once, since their keys agree."""
    return _Chain(r, arm, seed).trained()


class _Chain:
    def __init__(self, r: Round, arm: str, seed: int):
        self.r, self.arm, self.seed = r, arm, seed
        self.method: pit.Settings = r.settings.arms[arm]
        self.steps: list[Step] = []
        self.seen = list(r.seen)
        self.labels = r.labels_of(arm, seed)
        self.lora = r.recipe.train.adapter(arm)
        self.ordered = {
            "prompts": ("prompts",),
            "candidates": (r.named("generate"),),
            "orders": (r.named("order"),),
        }

    def trained(self) -> Trained:
        method = self.method
        needed = {"policy": (self.r.student,)}
        model = self.r.student
        if method.supervised:
            model = improver = self._improver()
            if method.curriculum or method.threshold is not None:
                reward = self._reward(improver)
                if method.threshold is not None:
                    needed["reward"] = (reward,)
                for kind in method.curriculum:
                    model = self._rl(kind, model, improver, reward)
        how = ImproveSettings(
            template=method.template,
            rounds=method.rounds,
            threshold=method.threshold,
            shuffle_references=method.shuffle_references,
        )
        return Trained(
            arm=self.arm,
            seed=self.seed,
            steps=self.steps,
            step=model,
            seen=tuple(self.seen),
            labels=self.labels,
            improve=how,
            inputs=needed,
        )

    def _improver(self) -> str:
        examples = self._examples(improver_examples.IMPROVER, blind=False)
        return self._train("improver", sft.Settings(target="best"), self.method.improver, examples, self.r.student)

    def _reward(self, improver: str) -> str:
        examples = self._examples(improver_examples.GAP, blind=self.method.reward == "additive")
        return self._train("reward", gap_reward.Settings(), self.method.reward_model, examples, improver)

    def _rl(self, kind: Any, start: str, anchor: str, reward: str) -> str:
        method = self.method
        settings = improve_rl.ImproveRlSettings(
            rl=method.easy if kind == "easy" else method.hard,
            references=kind,
            reference_temperature=method.reference_temperature,
            blind=method.reward == "additive",
            template=method.template,
            pairs_per_prompt=method.pairs_per_prompt,
            seed=self.seed,
            tracking=self._tracking(kind),
            lora=self.lora,
        )
        models = {"student": (start,), "anchor": (anchor,), "reward": (reward,)}
        asked = self.ordered if kind == "easy" else {"prompts": ("prompts",), "policy": (self.r.student,)}
        return self._add(self._named(kind), improve_rl.STAGE, settings, {**asked, **models})

    def _examples(self, stage: Stage, *, blind: bool) -> str:
        method = self.method
        settings = improver_examples.ImproverExamplesSettings(
            template=method.template,
            max_length=method.max_length,
            pairs_per_prompt=method.pairs_per_prompt,
            blind=blind,
        )
        inputs = {**self.ordered, "student": (self.r.student,)}
        self.seen.append(self._add(f"{stage.name}/{self.arm}/seed-{self.seed}", stage, settings, inputs))
        return self.seen[-1]

    def _train(self, part: str, method: Any, optimiser: OptimiserSettings, examples: str, base: str) -> str:
        launch = self.r.recipe.launch
        settings = TrainSettings(
            method=method,
            optimiser=optimiser,
            lora=self.lora,
            seed=self.seed,
            launch=launch,
            tracking=self._tracking(part),
        )
        inputs = {"prompts": ("prompts",), "examples": (examples,), "student": (base,)}
        plugs = registry.modules(METHODS, method.method)
        return self._add(self._named(part), train.STAGE, settings, inputs, plugs)

    def _tracking(self, part: str) -> TrackingSettings:
        return self.r.tracking(self.arm, "seed", self.seed, part)

    def _named(self, part: str) -> str:
        return f"train/{self.arm}/seed-{self.seed}/{part}"

    def _add(
        self, name: str, stage: Stage, settings: Any, inputs: dict[str, tuple[str, ...]], plugs: tuple[str, ...] = ()
    ) -> str:
        step = Step(name=name, stage=stage, settings=settings, inputs=inputs, plugs=plugs, labels=self.labels)
        self.steps.append(step)
        return name
