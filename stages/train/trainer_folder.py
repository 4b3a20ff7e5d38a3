"""The folder inside a training job in which the trainer works."""

import shutil
from pathlib import Path

TRAINER, EXAMPLES = "trainer", "examples.arrow"
"""The trainer's folder inside a job, and the file of examples inside the trainer's folder."""


def keep_logs(path: Path) -> None:
    """Move the TensorBoard events to `logs`, and delete the trainer's folder with its checkpoints."""
    events = sorted((path / TRAINER).rglob("events.out.tfevents.*"))
    (path / "logs").mkdir(exist_ok=True)
    for event in events:
        event.rename(path / "logs" / event.name)
    shutil.rmtree(path / TRAINER)
