"""Prompts: the rows of a source become prompts with an id, a near-duplicate cluster and a split.

A row that cannot be used stays in the table, with a status that says why. `placement` decides the id, cluster and
split of each prompt, `splits` assigns clusters to splits, `carry_over` keeps what an earlier run decided, and
`held_out` proves that training and held-out prompts share nothing.
"""

from hasse.stages.prompts.stage import STAGE, PromptsSection, PromptsSettings

__all__ = ["STAGE", "PromptsSection", "PromptsSettings"]
