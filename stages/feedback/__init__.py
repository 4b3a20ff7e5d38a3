"""Feedback: annotators comment in words on the answers of models.

`annotators/` holds the annotators, one file each. `choice` chooses the answers that get feedback, `items` is what an
annotator sees, and `gates` checks the feedback. `queue` writes answers for people to annotate and reads the filled
files back.
"""

from hasse.stages.feedback.settings import ANNOTATORS, FeedbackInputs, FeedbackSettings
from hasse.stages.feedback.stage import STAGE, asks_endpoint, estimate, external

__all__ = ["ANNOTATORS", "STAGE", "FeedbackInputs", "FeedbackSettings", "asks_endpoint", "estimate", "external"]
