"""Feedback: annotators comment in words on the answers of models.

`annotators/` holds the annotators, one file each. `queue` writes answers for people to annotate and reads the filled
files back. `items` is what an annotator sees.
"""

from hasse.stages.feedback.stage import (
    ANNOTATORS,
    STAGE,
    FeedbackInputs,
    FeedbackSettings,
    asks_endpoint,
    estimate,
    external,
)

__all__ = ["ANNOTATORS", "STAGE", "FeedbackInputs", "FeedbackSettings", "asks_endpoint", "estimate", "external"]
