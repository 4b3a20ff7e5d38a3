"""Two processes on loopback: the same model as one process makes, though they need different numbers of passes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[4]

END = """
import os
import torch.distributed
if torch.distributed.is_initialized():
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
sys.stdout.flush()
os._exit(0)
"""
"""Threads of gloo that outlive the interpreter now and then abort a process whose work is done."""

SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, ROOT)
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from hasse.data.records import Completion, PairIndex, TrainingExample
from hasse.stages.train.methods import rescue
from hasse.stages.train.optimiser import OptimiserSettings
from hasse.stages.train.fit import fit

def example(i):
    long = 1 + 9 * (i % 4 == 0)  # every other process has the long ones
    answers = [[5 + i, 2], [9] * long + [2], [10, 11, 2]]
    completions = tuple(
        Completion(candidate_id=str(k), token_ids=tuple(a), source="student") for k, a in enumerate(answers)
    )
    return TrainingExample(
        prompt_id=f"p{i:02}", cluster_id="", prompt_token_ids=(1, *[4 + i] * (1 + i % 3)), completions=completions,
        pairs=(PairIndex(above=0, below=1), PairIndex(above=2, below=1)), target=0,
    )

torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(
    vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
    max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2,
))
folder, passes = Path(sys.argv[1]), sys.argv[2]
settings = OptimiserSettings(
    steps=3, prompts_per_step=4, learning_rate=1e-2, micro_batch_tokens=14, passes=passes, save_steps=100,
)
points, plan = fit(
    model, [example(i) for i in range(12)], method=rescue, method_settings=rescue.Settings(), settings=settings,
    seed=0, folder=folder / "trainer", on_step=lambda *_: None,
)
if int(__import__("os").environ.get("RANK", "0")) == 0:
    curve = {(p.step, p.metric): p.value for p in points}
    torch.save({"weights": [p.detach().clone() for p in model.parameters()], "curve": curve}, folder / "found.pt")
END
"""


def filled(script):
    return script.replace("ROOT", repr(str(ROOT))).replace("END\n", END)


def train(folder, launcher, passes):
    folder.mkdir()
    script = folder / "script.py"
    script.write_text(filled(SCRIPT))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *launcher, str(script), str(folder), passes], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(folder / "found.pt")


TWO = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.mark.slow
@pytest.mark.parametrize("passes", ["one", "two"])
def test_two_processes_train_the_same_model(tmp_path, passes):
    one, two = train(tmp_path / "one", [], passes), train(tmp_path / "two", TWO, passes)
    assert two["curve"] == pytest.approx(one["curve"], rel=1e-4)
    for a, b in zip(one["weights"], two["weights"], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


SHARDED = """
import sys
from pathlib import Path
sys.path.insert(0, ROOT)
import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from transformers import LlamaConfig, LlamaForCausalLM
from hasse.data.records import Completion, TrainingExample
from hasse.stages.scoring.batch import collate
from hasse.stages.scoring.score import outputs_of, prepared

def batch_of(rank):
    answers = [(4, 8, 2), (3,) * (2 + 5 * rank) + (2,), (11, 12, 2)]
    completions = tuple(Completion(candidate_id="", token_ids=a, source="") for a in answers)
    prompt = (1, 5, 9 + rank)
    return collate([TrainingExample(prompt_id="", cluster_id="", prompt_token_ids=prompt, completions=completions)])

def make():
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    ))

dist.init_process_group("gloo")
rank = dist.get_rank()
whole = make()
for r in (0, 1):
    (outputs_of(whole, batch_of(r), "padded", is_reward=False).sum() / 2).backward()
model = make()
with prepared(model, "shared"):
    for layer in model.model.layers:
        fully_shard(layer)
    fully_shard(model)
    with torch.no_grad():
        outputs_of(model, batch_of(rank), "shared", is_reward=False)
    outputs_of(model, batch_of(rank), "shared", is_reward=False).sum().backward()
for a, b in zip(whole.parameters(), model.parameters()):
    assert b.to_local().numel() < a.numel()
    torch.testing.assert_close(b.grad.full_tensor(), a.grad, rtol=1e-4, atol=1e-5)
print("AGREED", rank)
END
"""


@pytest.mark.slow
def test_rows_work_with_sharded_parameters(tmp_path):
    """FSDP: weights are gathered for the forward pass of the module that holds them, the head included."""
    script = tmp_path / "sharded.py"
    script.write_text(filled(SHARDED))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *TWO, str(script)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("AGREED") == 2
