"""Evaluate: a model answers held-out prompts, and its answers are graded.

`stage` grades answers by rule, `benchmark` and `lm_eval` run benchmarks, `contamination` finds benchmark items that
were trained on, and `duel` has a chat model compare the answers of two models.
"""

from hasse.stages.evaluate.stage import STAGE, EvaluateSection, EvaluateSettings, ImproveSettings

__all__ = ["STAGE", "EvaluateSection", "EvaluateSettings", "ImproveSettings"]
