"""Stage report: one self-contained HTML page, and the table of results as metrics."""

from typing import Any

from pydantic import Field

from data.config import Config
from pipeline.stage import Job, Stage
from stages.grading import TaskSettings


class ReportSettings(Config):
    """The recipe's section `report`."""

    baseline: str | None = Field("student", description="Arm that the others are compared with, pairwise.")
    num_examples: int = Field(6, ge=0, description="Prompts shown with their candidates and order.")
    num_resamples: int = Field(2000, ge=100, description="Of the bootstrap.")


class ReportInputs(Config):
    """Settings of the report stage."""

    report: ReportSettings
    task: TaskSettings
    recipe: dict[str, Any]


def run(job: Job) -> None:
    job.metrics |= {
        "results": [{"arm": a.manifest.name, **a.manifest.metrics} for a in job.inputs["evaluate"]],
        "conclusion": "",
    }
    (job.path / "report.html").write_text("x")


STAGE = Stage(name="report", run=run, modules=("stages.report",))
