"""Evaluate: a model answers held-out prompts, and its answers are graded.

The stage `evaluate` is cut by its parts: `questions` are the held-out prompts, `answers` the model's answers and
their grades, `improved` the answers that a PIT improver improves, `revised` second answers after predicted feedback,
`references` the log-probs of the experts' answers, `pairs` the held-out pairs in order, and `summary` all numbers.
`benchmark` and `lm_eval` run benchmarks, `contamination` finds benchmark items that stand in training prompts, and
`best_of` chooses the best of several answers, `arm_duels` compares the answers of arms by a judge's preference, which
`elo` turns into ratings, and `duel` has a chat model compare the answers of two models.
"""

from hasse.stages.evaluate.settings import ChooseSettings, EvaluateSection, EvaluateSettings, ImproveSettings
from hasse.stages.evaluate.stage import STAGE

__all__ = ["STAGE", "ChooseSettings", "EvaluateSection", "EvaluateSettings", "ImproveSettings"]
