"""Which of a trainer's checkpoints a stopped training goes on from, and what becomes of damaged ones.

The archives of torch are read whole and compared with their checksums. Of weights in safetensors, which have none, the
header and the length are checked.
"""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from safetensors import SafetensorError, safe_open
from transformers import TrainerState

from hasse.pipeline.files import remove
from hasse.stages.models.this_process import is_main_process

LOG = logging.getLogger("hasse")

STATE, STATES = "trainer_state.json", ("optimizer*", "scheduler.pt", "rng_state*.pth")
"""What of a checkpoint the trainer does not miss: `optimizer.pt`, or a folder `optimizer_0` of a sharded model."""
WEIGHTS = ("*.safetensors", "pytorch_model*")
ARCHIVES = (".pt", ".pth", ".bin")
DAMAGE = (OSError, ValueError, TypeError, AttributeError, RuntimeError, EOFError, SafetensorError, BadZipFile)
"""What readers of JSON, of safetensors and of archives raise for files that are not what they should be."""


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that is whole; None where training begins at its beginning.

    A damaged one, or one that was being written at a kill, is named in a warning and deleted, so that the trainer can
    write it once more.
    """
    found = sorted(folder.glob("checkpoint-*"), key=_step_of, reverse=True)
    for path in found:
        problem = _problem(path)
        if problem is None:
            return str(path)
        if is_main_process():
            LOG.warning("The checkpoint %s is not whole: %s. Training goes on from an earlier state.", path, problem)
            remove(path)
    return None


def _step_of(path: Path) -> int:
    number = path.name.partition("-")[2]
    return int(number) if number.isdecimal() else -1


def _problem(path: Path) -> str | None:
    """What is wrong with a checkpoint, if anything."""
    try:
        return next(_problems(path), None)
    except DAMAGE as error:
        return f"{type(error).__name__}: {error}"


def _problems(path: Path) -> Iterator[str]:
    if TrainerState.load_from_json(str(path / STATE)).global_step != _step_of(path):
        yield f"{STATE} is of another step"
    yield from (f"there is no {pattern}" for pattern in STATES if not any(path.glob(pattern)))
    if not any(any(path.glob(pattern)) for pattern in WEIGHTS):
        yield "there are no weights"
    for file in sorted(path.iterdir()):
        yield from _problems_of(file)


def _problems_of(file: Path) -> Iterator[str]:
    if file.suffix == ".json" and not isinstance(json.loads(file.read_text()), dict):
        yield f"{file.name} holds no object"
    elif file.suffix == ".safetensors":
        with safe_open(file, framework="numpy"):
            pass
    elif file.suffix in ARCHIVES:
        with ZipFile(file) as archive:
            broken = archive.testzip()
        if broken:
            yield f"{file.name} differs from its checksum at {broken}"
