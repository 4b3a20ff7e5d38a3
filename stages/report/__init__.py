"""Report: one self-contained HTML page, and the table of results as metrics.

`results` computes accuracies and paired differences with intervals, `svg` draws them, `audit_table` shows the judge's
audit, and `shortfalls` says what a run expected and did not get.
"""

from hasse.stages.report.stage import STAGE, ReportInputs, ReportSettings

__all__ = ["STAGE", "ReportInputs", "ReportSettings"]
