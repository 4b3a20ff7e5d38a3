"""Generate: K candidate answers to every prompt, from one or more groups, each with one sampler.

`samplers/` holds the samplers, one file each, and `answers` holds what they share. `engine_parity` compares the
log-probs of an inference engine with those of the training stack.
"""

from hasse.stages.generate.stage import SAMPLERS, STAGE, GenerateSettings, estimate

__all__ = ["SAMPLERS", "STAGE", "GenerateSettings", "estimate"]
