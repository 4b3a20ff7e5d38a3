"""Training in two processes against one: over NCCL on two cards, over gloo on the CPU."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from hasse.data.record_file import MappedRecords
from hasse.data.records import TrainingExample
from hasse.stages.train.distributed.launcher import FOLDER, SPEC, run_processes
from hasse.stages.train.distributed.settings import LaunchSettings
from hasse.stages.train.methods import sft
from hasse.stages.train.one_run import train_model
from hasse.stages.train.optimiser import OptimiserSettings
from hasse.stages.train.run_spec import RunSpec
from hasse.stages.train.settings import TrainSettings
from hasse.stages.train.trainer_folder import EXAMPLES, TRAINER
from tests.benchmarks.training import make_examples
from tests.gpu.table import Machine, Row

CLOSE = 0.01
"""The largest distance of the two models, relative to how far training has moved the weights."""


def processes(machine: Machine) -> Iterator[Row]:
    backend, cards = ("NCCL", torch.cuda.device_count()) if machine.device == "cuda" else ("gloo", 0)
    check = f"two processes over {backend}"
    if machine.device == "cuda" and cards < 2:
        yield Row(check, "the model of one process", f"there is {cards} card", None)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before = _save_student(folder / "student", tiny=machine.tiny)
        alone, together = _run_spec(folder, 1, machine), _run_spec(folder, 2, machine)
        train_model(alone, lambda *_: None)
        together.write(together.trainer / FOLDER / SPEC)
        run_processes(together, together.trainer / FOLDER, 0, watch=[])
        one, two = _weights(alone.path / "model"), _weights(together.path / "model")
    found = float((one - two).norm() / (one - before).norm())
    expected = f"the model of one process, within {CLOSE:g} of the change"
    yield Row(check, expected, f"{found:.1e}", bool((one != before).any()) and found <= CLOSE)


def _run_spec(folder: Path, number: int, machine: Machine) -> RunSpec:
    optimiser = OptimiserSettings(steps=4, prompts_per_step=4, learning_rate=1e-3, precision="float32")
    settings = TrainSettings(
        method=sft.Settings(), optimiser=optimiser, seed=0, launch=LaunchSettings(processes=number)
    )
    run_spec = RunSpec(settings=settings, student=folder / "student", path=folder / "train" / f"of-{number}")
    (run_spec.trainer / FOLDER).mkdir(parents=True)
    shape = (2, 16, 8) if machine.tiny else (4, 256, 64)
    MappedRecords.write(run_spec.path / TRAINER / EXAMPLES, make_examples(shape, 8, 64), TrainingExample)
    return run_spec


def _save_student(folder: Path, *, tiny: bool) -> torch.Tensor:
    """Save a student with a tokenizer, and return its weights."""
    torch.manual_seed(0)
    width = 32 if tiny else 1024
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2 if tiny else 16,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    words = {name: i for i, name in enumerate(["<pad>", "<s>", "</s>", *(f"t{i}" for i in range(3, 64))])}
    tokenizer: Any = Tokenizer(models.WordLevel(words, unk_token="</s>"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>").save_pretrained(folder)
    return _weights(folder)


def _weights(folder: Path) -> torch.Tensor:
    tensors = load_file(folder / "model.safetensors")
    return torch.cat([tensors[name].double().flatten() for name in sorted(tensors)])
