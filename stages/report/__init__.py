"""Report: one self-contained HTML page, and the table of results as metrics.

`answers` reads the evaluations into arrays, and `results` computes accuracies and paired differences with intervals.
`headline` says in sentences what they mean, `result_rows` makes the table for the terminal, and `page` makes the HTML
page with the drawings of `charts` and `svg`. `shortfalls` says what a run expected and did not get.
"""

from hasse.stages.report.stage import STAGE, ReportInputs, ReportSettings

__all__ = ["STAGE", "ReportInputs", "ReportSettings"]
