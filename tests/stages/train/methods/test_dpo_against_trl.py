"""DPO checked from outside: TRL's trainer on the same pairs, in the same batches, has the same losses."""

import copy
import random
from dataclasses import replace

import pytest
from torch.utils.data import SequentialSampler

from hasse.data.records import PairIndex
from hasse.stages.examples.reference import score
from hasse.stages.models.tokens import completion_token_ids, prompt_token_ids
from hasse.stages.train.fit import fit
from hasse.stages.train.methods import dpo
from hasse.stages.train.optimiser import OptimiserSettings
from hasse.stages.train.trainer import Schedule

STEPS, BATCH, BETA, RATE = 20, 4, 0.3, 2e-3


@pytest.fixture
def pairs():
    draw = random.Random(0)
    words = [*"bcdefghklmnpqrstvw"]
    return [
        tuple(" ".join(draw.choices(words, k=draw.randint(2, 6))) for _ in range(3)) for _ in range(24)
    ]  # (prompt, chosen, rejected)


@pytest.fixture
def examples(pairs, tiny_tokenizer, tiny_model, make_example):
    made = [
        replace(
            make_example(
                prompt_token_ids(tiny_tokenizer, prompt),
                [completion_token_ids(tiny_tokenizer, chosen), completion_token_ids(tiny_tokenizer, rejected)],
                prompt_id=f"p{i:02}",
            ),
            pairs=(PairIndex(above=0, below=1),),
        )
        for i, (prompt, chosen, rejected) in enumerate(pairs)
    ]
    return list(score(tiny_model, made, 4096))


def test_losses_agree_over_twenty_steps(pairs, examples, tiny_model, tiny_tokenizer, tmp_path):
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    class InOrder(DPOTrainer):
        def _get_train_sampler(self, *_):
            return SequentialSampler(self.train_dataset)

    settings = OptimiserSettings(
        steps=STEPS, prompts_per_step=BATCH, learning_rate=RATE, schedule="constant", warmup=0, save_steps=1000
    )
    points, _ = fit(
        copy.deepcopy(tiny_model),
        examples,
        method=dpo,
        method_settings=dpo.Settings(beta=BETA),
        settings=settings,
        seed=0,
        folder=tmp_path / "ours",
        on_step=lambda *_: None,
    )
    ours = [p.value for p in points if p.metric == "loss"]
    order = Schedule(range(len(pairs)), num_slots=STEPS * BATCH, seed=0)  # type: ignore[arg-type]  numbers for examples
    used = [pairs[order[slot]] for slot in range(STEPS * BATCH)]
    trainer = InOrder(
        model=copy.deepcopy(tiny_model),
        ref_model=copy.deepcopy(tiny_model),
        args=DPOConfig(
            output_dir=str(tmp_path / "theirs"),
            max_steps=STEPS,
            per_device_train_batch_size=BATCH,
            learning_rate=RATE,
            lr_scheduler_type="constant",
            beta=BETA,
            optim="adamw_torch_fused",
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list([{"prompt": p, "chosen": f" {c}", "rejected": f" {r}"} for p, c, r in used]),
        processing_class=tiny_tokenizer,
    )
    trainer.train()
    theirs = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(ours) == len(theirs) == STEPS
    assert ours == pytest.approx(theirs, abs=1e-4)
    assert ours[-1] < ours[0] - 0.05
