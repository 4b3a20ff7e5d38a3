"""Feedback: what annotators say, in words, about the student's own answers.

`annotators/` holds the annotators, one file each; `queue` writes answers for people to annotate and reads the filled
files back.
"""

from hasse.stages.feedback.stage import ANNOTATORS, STAGE, FeedbackInputs, FeedbackSettings, asks, estimate, external

__all__ = ["ANNOTATORS", "STAGE", "FeedbackInputs", "FeedbackSettings", "asks", "estimate", "external"]
