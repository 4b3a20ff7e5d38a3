"""The folder of a job in which its trainer works."""

import shutil
from pathlib import Path

TRAINER, EXAMPLES = "trainer", "examples.arrow"
"""Folder of a job for what the trainer keeps, and what it learns from."""


def keep_logs(path: Path) -> None:
    """The TensorBoard events stay as logs; the trainer's own checkpoints have done their work."""
    events = sorted((path / TRAINER).rglob("events.out.tfevents.*"))
    (path / "logs").mkdir(exist_ok=True)
    for event in events:
        event.rename(path / "logs" / event.name)
    shutil.rmtree(path / TRAINER)
