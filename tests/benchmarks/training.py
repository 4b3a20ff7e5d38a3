"""Ranking training in three layouts against the padded loop, and DPO against TRL's trainer, side by side.

python -m tests.benchmarks.training [--device cuda] [--repeats N]

One step is the Rescue loss, forward and backward, of a few prompts with K responses of R tokens to P tokens. The padded
loop is written here as the methods' first codes have it: K full rows, the log-softmax of all logits. Every variant does
its repeats in turn with the others, and the median counts; peak memory is that of a step in a process of its own.
"""

import argparse
import contextlib
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from hasse.data.records import Completion, PairIndex, TrainingExample
from hasse.stages.scoring.batch import SequenceLogps, collate, totals
from hasse.stages.scoring.score import prepared, sequence_logps
from hasse.stages.train.methods import dpo, rescue
from hasse.stages.train.throughput import Costs, useful_tokens

SHAPES = [(4, 128, 64), (5, 256, 64), (8, 512, 128), (8, 1024, 32)]
PAIR_SHAPES = [(2, 256, 64), (2, 1024, 32)]
VARIANTS = ("padded loop", "packed", "shared", "shared, two passes")
MODELS: dict[str, dict[str, int]] = {
    "cpu": {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4, "vocab_size": 8192},
    "cuda": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "vocab_size": 32768},
}
HEAD_WIDTH = {"cpu": 64, "cuda": 128}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--prompts", type=int, help="in a step; 2 on the CPU, 8 on CUDA")
    parser.add_argument("--memory-of", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.prompts = given.prompts or {"cpu": 2, "cuda": 8}[given.device]
    if given.memory_of:
        variant, *shape = given.memory_of
        print(json.dumps(_peak(variant, tuple(map(int, shape)), given)))
        return
    model = make_model(given.device)
    print(
        f"{given.device}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"{model.num_parameters() / 1e6:.0f} M parameters, {given.prompts} prompts a step"
    )
    _compare_layouts(model, given)
    if given.device == "cpu":
        _compare_dpo(given)


def make_model(device: str) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    values = MODELS[device]
    heads = values["hidden_size"] // HEAD_WIDTH[device]
    config = LlamaConfig(**values, num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=4096)  # type: ignore[arg-type]
    model = LlamaForCausalLM(config).to(device).train()
    return model.bfloat16() if device == "cuda" else model


def make_examples(shape: tuple[int, ...], number: int, vocabulary: int) -> list[TrainingExample]:
    """Prompts whose first candidate is the best; the others in a chain below it."""
    num_candidates, prompt, response = shape
    generator = torch.Generator().manual_seed(0)

    def draw(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, vocabulary, (length,), generator=generator).tolist())

    pairs = tuple(PairIndex(above=i, below=j) for i in range(num_candidates) for j in range(i + 1, num_candidates))
    return [
        TrainingExample(
            prompt_id=str(i),
            cluster_id=str(i),
            prompt_token_ids=draw(prompt),
            completions=tuple(
                Completion(candidate_id=str(k), token_ids=draw(response), source="student")
                for k in range(num_candidates)
            ),
            pairs=pairs,
            target=0,
        )
        for i in range(number)
    ]


def step(variant: str, model: Any, examples: list[TrainingExample]) -> None:
    """Forward and backward of one optimiser step; gradients stay in the model."""
    whole = totals(examples)
    if variant == "shared, two passes":
        _two_passes(model, examples)
        return
    parts = [[example] for example in examples] if variant == "padded loop" else [examples]
    for part in parts:
        batch = replace(collate(part), step=whole).to(model.device)
        if variant == "padded loop":
            scored = _padded(model, batch)
            rescue.loss(scored, batch, rescue.Settings())[0].backward()
            continue
        with prepared(model, variant):  # type: ignore[arg-type]
            scored = sequence_logps(model, batch, variant)  # type: ignore[arg-type]
            rescue.loss(scored, batch, rescue.Settings())[0].backward()


def _padded(model: Any, batch: Any) -> SequenceLogps:
    """K rows of prompt and response, logits of all positions, their log-softmax in float32."""
    rows = [
        torch.cat([batch.prompt_ids[b], r]) for b, r in zip(batch.prompt_N.tolist(), batch.completion_ids, strict=True)
    ]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(model.device)
    logp = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits.float().log_softmax(-1)
    token = logp[:, :-1].gather(2, ids[:, 1:, None])[..., 0]
    start = len(batch.prompt_ids[0]) - 1
    lengths = batch.length_N.tolist()
    return SequenceLogps.from_tokens(
        torch.cat([token[n, start : start + length] for n, length in enumerate(lengths)]), batch.length_N
    )


def _two_passes(model: Any, examples: list[TrainingExample]) -> None:
    """One candidate at a time, as where nothing more fits."""
    batch = collate(examples).to(model.device)
    one = [batch.only([n]) for n in range(len(batch.completion_ids))]
    with prepared(model, "shared"):
        with torch.no_grad():
            scored = torch.cat([sequence_logps(model, part, "shared").logp_T for part in one])
        scored.requires_grad_()
        loss, _ = rescue.loss(SequenceLogps.from_tokens(scored, batch.length_N), batch, rescue.Settings())
        gradients = torch.autograd.grad(loss, scored)[0].split(batch.length_N.tolist())
        for part, gradient in zip(one, gradients, strict=True):
            if gradient.any():
                (sequence_logps(model, part, "shared").logp_T * gradient).sum().backward()


def _compare_layouts(model: Any, given: Any) -> None:
    names = f"{'prompts/s':>10}{'useful tok/s':>13}{'GFLOP/s':>9}{'speed':>7}{'bound':>9}{'peak':>10}"
    print(f"\n{'K, P, R':16}{'':20}{names}")
    for shape in SHAPES:
        examples = make_examples(shape, given.prompts, model.config.vocab_size)
        seconds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
        for repeat in range(given.repeats + 1):
            for variant in VARIANTS:
                spent = _timed(variant, model, examples)
                if repeat:  # the first warms up
                    seconds[variant].append(spent)
        useful, flops = sum(map(useful_tokens, examples)), sum(map(Costs(model).of, examples))
        for variant in VARIANTS:
            spent = statistics.median(seconds[variant])
            ratios = sorted(a / b for a, b in zip(seconds["padded loop"], seconds[variant], strict=True))
            speed = f"{statistics.median(ratios):.2f}x"
            print(
                f"{str(shape) if variant == VARIANTS[0] else '':16}{variant:20}{len(examples) / spent:10.2f}"
                f"{useful / spent:13.0f}{flops / spent / 1e9:9.1f}{speed:>7}{_bound(shape, model):8.1f}x"
                f"{_memory(variant, shape, given) / 2**20:6.0f} MiB   speed {ratios[0]:.2f} to {ratios[-1]:.2f}"
            )


def _bound(shape: tuple[int, ...], model: Any) -> float:
    """Operations of the padded loop over those that are needed."""
    num_candidates, prompt, response = shape
    costs = Costs(model)
    (example,) = make_examples(shape, 1, model.config.vocab_size)
    rows = num_candidates * (prompt + response)
    padded = 6 * (costs.body + costs.head) * rows
    padded += costs.attention * num_candidates * (prompt + response) ** 2 / 2
    return padded / costs.of(example)


def _timed(variant: str, model: Any, examples: list[TrainingExample]) -> float:
    model.zero_grad()
    _wait(model)
    start = time.perf_counter()
    step(variant, model, examples)
    _wait(model)
    return time.perf_counter() - start


def _wait(model: Any) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize()


def _memory(variant: str, shape: tuple[int, ...], given: Any) -> int:
    """Bytes at the peak of a step beyond weights and gradients, in a fresh process."""
    command = [sys.executable, "-m", "tests.benchmarks.training", "--device", given.device]
    asked = ["--prompts", str(given.prompts), "--memory-of", variant, *map(str, shape)]
    done = subprocess.run([*command, *asked], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _peak(variant: str, shape: tuple[int, ...], given: Any) -> int:
    model = make_model(given.device)
    step(variant, model, make_examples((2, 8, 4), 1, model.config.vocab_size))  # gradients exist, kernels are loaded
    examples = make_examples(shape, given.prompts, model.config.vocab_size)
    if given.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(variant, model, examples)
        return torch.cuda.max_memory_allocated() - before
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from here
    step(variant, model, examples)
    return _resident("VmHWM") - before


def _resident(name: str) -> int:
    """Bytes of this process's memory, now (VmRSS) or at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def _compare_dpo(given: Any) -> None:
    """Seconds a step of both trainers on the same pairs, log-probs of the reference made before."""
    print(f"\nDPO, 4 pairs a step, against TRL's trainer\n{'K, P, R':16}{'TRL s':>8}{'here s':>8}{'speed':>7}")
    for shape in PAIR_SHAPES:
        model = make_model("cpu")
        examples = make_examples(shape, 16, model.config.vocab_size)
        theirs, ours = [], []
        for _ in range(max(given.repeats // 2, 1)):
            theirs.append(_trl_step(make_model("cpu"), examples))
            ours.append(_our_step(make_model("cpu"), examples))
        speed = statistics.median(a / b for a, b in zip(theirs, ours, strict=True))
        print(f"{shape!s:16}{statistics.median(theirs):8.2f}{statistics.median(ours):8.2f}{speed:6.2f}x")


class _Clock:
    """Mean seconds of the steps after the first."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, *_: Any) -> None:
        self.times.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        return (self.times[-1] - self.times[0]) / (len(self.times) - 1)


def _our_step(model: Any, examples: list[TrainingExample]) -> float:
    from hasse.stages.train.fit import fit
    from hasse.stages.train.optimiser import OptimiserSettings

    clock = _Clock()
    settings = OptimiserSettings(steps=4, prompts_per_step=4, save_steps=1000)
    with tempfile.TemporaryDirectory() as folder:
        fit(
            model,
            [replace(e, target=None, reference_logps=(-500.0, -500.0)) for e in examples],
            method=dpo,
            method_settings=dpo.Settings(),
            settings=settings,
            seed=0,
            folder=Path(folder),
            on_step=clock,
        )
    return clock.seconds


def _trl_step(model: Any, examples: list[TrainingExample]) -> float:
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    clock = _Clock()

    class Timed(TrainerCallback):
        def on_step_end(self, *arguments: Any, **_: Any) -> None:
            clock()

    rows = [
        {
            "prompt_ids": list(e.prompt_token_ids),
            "chosen_ids": list(e.completions[0].token_ids),
            "rejected_ids": list(e.completions[1].token_ids),
        }
        for e in examples
    ]
    quiet = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with tempfile.TemporaryDirectory() as folder, quiet[0], quiet[1]:
        trainer = DPOTrainer(
            model=model,
            args=DPOConfig(
                output_dir=folder,
                max_steps=4,
                per_device_train_batch_size=4,
                precompute_ref_log_probs=True,
                max_length=None,
                optim="adamw_torch_fused",
                logging_steps=1,
                save_strategy="no",
                report_to=[],
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=False,
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list(_as_text(rows)),
            processing_class=_tokenizer(model.config.vocab_size),
            callbacks=[Timed()],
        )
        trainer.train()
    return clock.seconds


def _as_text(rows: list[dict[str, list[int]]]) -> list[dict[str, str]]:
    """A word a token, for a tokenizer that gives the same tokens back."""
    return [{name.removesuffix("_ids"): "".join(f" t{i}" for i in ids) for name, ids in row.items()} for row in rows]


def _tokenizer(vocabulary: int) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": 0, "<s>": 1, "</s>": 2, **{f"t{i}": i for i in range(3, vocabulary)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="</s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>")


if __name__ == "__main__":
    main()
