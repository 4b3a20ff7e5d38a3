"""Judge: what one teacher, or several, says of every candidate, and how far that can be trusted.

`teachers/` holds the teachers, one file each. `panel`, `list_questions` and `pair_questions` are the questions that a
chat model gets; `audit` measures whether the scores agree with themselves, with gold answers and with people, and
`audit_bounds` stops a run whose judge does not.
"""

from hasse.stages.judge.stage import STAGE, JudgeSettings, Teacher, estimate, external

__all__ = ["STAGE", "JudgeSettings", "Teacher", "estimate", "external"]
