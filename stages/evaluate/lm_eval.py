"""Stage lm_eval: benchmarks of EleutherAI's lm-evaluation-harness, which runs in a process of its own."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import Field

from hasse.data.errors import InputError, WorkError
from hasse.data.settings import Config, unkeyed
from hasse.pipeline.stage import Job, Stage
from hasse.stages.models.adapters import base_or_self
from hasse.stages.models.checkpoints import model_folder
from hasse.stages.models.model_folders import is_adapter

ERROR_LINES = 15
"""Lines of lm_eval's error output that an error shows."""


class LmEvalSettings(Config):
    """The recipe's section `lm_eval`."""

    tasks: list[str] = Field(min_length=1, description="Names of tasks, as `lm_eval ls tasks` shows them.")
    num_fewshot: int | None = Field(
        default=None, ge=0, description="Examples in the prompt; left out: as many as the task sets."
    )
    limit: int | None = Field(default=None, ge=1, description="Only this many items of each task, the first.")
    include_path: str | None = Field(default=None, description="A folder with further tasks.")
    dtype: str = Field(default="auto", pattern=r"^[a-z0-9_.]+$", description="Data type of the weights.")
    batch_size: str = unkeyed(
        "auto", pattern=r"^(auto(:[0-9]+)?|[0-9]+)$", description="Items at a time: a number, or auto."
    )
    python: str | None = unkeyed(None, description="The Python interpreter that has lm_eval; left out: this one.")


def run(job: Job) -> None:
    settings: LmEvalSettings = job.settings
    folder = job.path / "lm_eval"
    found = subprocess.run(
        command(settings, model_folder(job.input("checkpoint")), folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "TOKENIZERS_PARALLELISM": "false"},
    )
    if "No module named lm_eval" in found.stderr:
        raise InputError("lm_eval needs the package lm-eval: pip install 'hasse-llm[lm-eval]', or name its interpreter")
    if found.returncode:
        raise WorkError("lm_eval failed:\n" + "\n".join(found.stderr.strip().splitlines()[-ERROR_LINES:]))
    job.metrics["tasks"] = read_results(folder)


def check_interpreter(settings: LmEvalSettings) -> None:
    """Raises InputError where the interpreter, this one or the configured one, cannot have lm-eval."""
    if settings.python is not None and shutil.which(settings.python) is None:
        raise InputError(f"lm_eval.python: {settings.python!r} is not a program")
    if settings.python is None and find_spec("lm_eval") is None:
        raise InputError("lm_eval needs the package lm-eval: pip install 'hasse-llm[lm-eval]', or name its interpreter")


def command(settings: LmEvalSettings, model: Path, out: Path) -> list[str]:
    """The command line of one evaluation."""
    import torch

    parts = {
        "pretrained": base_or_self(model),
        "dtype": settings.dtype,
        "trust_remote_code": False,
        "use_safetensors": True,
    }
    if is_adapter(model):
        parts["peft"] = model
    arguments = {
        "--model": "hf",
        "--model_args": ",".join(f"{name}={value}" for name, value in parts.items()),
        "--tasks": ",".join(settings.tasks),
        "--num_fewshot": settings.num_fewshot,
        "--limit": settings.limit,
        "--include_path": settings.include_path,
        "--batch_size": settings.batch_size,
        "--device": "cuda" if torch.cuda.is_available() else "cpu",
        "--output_path": out,
    }
    given = [str(part) for name, value in arguments.items() if value is not None for part in (name, value)]
    return [settings.python or sys.executable, "-m", "lm_eval", *given]


def read_results(folder: Path) -> dict[str, dict[str, float]]:
    """Task -> metric -> value, with standard errors as `<metric> error`. Raises WorkError without a result."""
    files = sorted(folder.rglob("results_*.json"))
    if not files:
        raise WorkError("lm_eval ended without a result")
    found: dict[str, dict[str, float]] = {}
    for task, values in json.loads(files[-1].read_text())["results"].items():
        found[task] = {_name(key): float(v) for key, v in values.items() if isinstance(v, int | float)}
    return found


def _name(key: str) -> str:
    """`acc,none` -> acc, `acc_stderr,none` -> acc error."""
    metric, _, how = key.partition(",")
    plain = metric.removesuffix("_stderr") + (" error" if metric.endswith("_stderr") else "")
    return plain if how in ("", "none") else f"{plain} ({how})"


def rows(arm: str, tasks: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the report: each metric of each task that has a standard error."""
    return [
        {"arm": arm, "task": task, "metric": metric, "value": value, "error": values.get(f"{metric} error")}
        for task, values in tasks.items()
        for metric, value in values.items()
        if not metric.endswith(" error") and f"{metric} error" in values
    ]


STAGE = Stage(
    name="lm_eval",
    run=run,
    in_child=True,
)
