"""Train: from the student to a checkpoint, with one method and one seed.

`methods/` has one file for each method, `loss_terms` the terms that their losses share, and `losses` the losses on
plain tensors. `fit` trains a model on examples by means of `trainer`; `passes` and `memory` decide how many examples go
through the model at once, and `throughput` measures the speed. `distributed/` runs the same training in several
processes and on several machines.
"""

from hasse.stages.train.settings import (
    METHODS,
    LoraSettings,
    Method,
    TrainSettings,
    check_passes,
    examples_kind,
    needs_reference,
)
from hasse.stages.train.stage import STAGE

__all__ = [
    "METHODS",
    "STAGE",
    "LoraSettings",
    "Method",
    "TrainSettings",
    "check_passes",
    "examples_kind",
    "needs_reference",
]
