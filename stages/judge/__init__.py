"""Judge: one teacher, or several, score every candidate, and the scores are audited.

`teachers/` holds the teachers, one file each; a teacher is whoever scores answers: a rule, a model or a file.
`one_judge`, `several` and `repeats` run them, and `judge_rows` says under which keys their judgements are kept.
`panel`, `list_questions` and `pair_questions` are what a chat model is asked. `audit` measures whether the scores agree
with themselves, with gold answers and with other judges, and `audit_bounds` stops a run whose judge is out of bounds.
"""

from hasse.stages.judge.stage import STAGE, JudgeSettings, Teacher, estimate, external

__all__ = ["STAGE", "JudgeSettings", "Teacher", "estimate", "external"]
