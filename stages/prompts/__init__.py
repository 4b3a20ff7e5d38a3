"""Prompts: raw rows of a source become prompts with an id, a near-duplicate cluster and a split.

Nothing is lost: a row that cannot be used stays in the table with a status that says why. `splits` assigns clusters to
splits, `placement` decides where each prompt goes, `held_out` proves that training and test prompts share nothing, and
`carry_over` keeps the split of prompts that an earlier run has seen.
"""

from hasse.stages.prompts.stage import STAGE, PromptsSection, PromptsSettings

__all__ = ["STAGE", "PromptsSection", "PromptsSettings"]
