"""Generate: K candidate answers to every prompt, from one or more groups, each with one sampler.

`samplers/` holds the samplers, one file each, `groups` runs them, and `answers` holds what they share.
`engine_parity` compares the log-probs of an inference engine with those of the training stack.
"""

from hasse.stages.generate.groups import SAMPLERS
from hasse.stages.generate.stage import STAGE, GenerateSettings, estimate

__all__ = ["SAMPLERS", "STAGE", "GenerateSettings", "estimate"]
