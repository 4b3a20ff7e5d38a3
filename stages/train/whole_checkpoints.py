"""The checkpoint from which a stopped training resumes.

Torch's archives are read whole and compared with their checksums. Files in safetensors have no checksum, so only their
header and length are checked.
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
"""Files that the trainer does not notice are missing. A sharded model has a folder `optimizer_0` for `optimizer.pt`."""
WEIGHTS = ("*.safetensors", "pytorch_model*")
ARCHIVES = (".pt", ".pth", ".bin")
DAMAGE = (OSError, ValueError, TypeError, AttributeError, RuntimeError, EOFError, SafetensorError, BadZipFile)
"""The errors that readers of JSON, safetensors and archives raise for damaged files."""


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that is whole, or None.

    A newer checkpoint that is damaged or half-written is named in a warning and deleted, so that the trainer can write
    it again.
    """
    for path in sorted(folder.glob("checkpoint-*"), key=_step_of, reverse=True):
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
    """The first thing that is wrong with a checkpoint, or None."""
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
