"""Performs a stage in a process of its own.

python -m tests.pipeline.performing STORE slow LOG   writes a letter to the log each time it is computed
python -m tests.pipeline.performing STORE die        dies with 9 after its table is written
"""

import os
import sys
import time
from pathlib import Path

from hasse.data.records import CurvePoint
from hasse.data.settings import Config
from hasse.pipeline.run import perform
from hasse.pipeline.stage import Job, Stage, Step
from hasse.pipeline.store import Store


class Settings(Config):
    value: int = 1


def _slow(job: Job) -> None:
    with Path(sys.argv[3]).open("a") as file:
        file.write("x")
    time.sleep(0.5)
    job.write([], CurvePoint)


def _die(job: Job) -> None:
    job.write([CurvePoint(step=0, metric="loss", value=1.0)], CurvePoint)
    os._exit(9)


if __name__ == "__main__":
    stage = Stage(
        name="numbers",
        run={"slow": _slow, "die": _die}[sys.argv[2]],
    )
    step = Step(name="numbers", stage=stage, settings=Settings())
    perform(Store(sys.argv[1]), step, {}, progress=lambda done, total: None)
