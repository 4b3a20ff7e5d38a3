"""Train: one method, one seed, from the student to a checkpoint.

`methods/` holds the methods, one file each; `loss_terms` is what their losses share. `fit` turns a model and examples
into a trained model with `trainer`; `passes`, `memory` and `throughput` decide how many examples go through the model
at once. `distributed/` runs the same training on several processes and machines.
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
