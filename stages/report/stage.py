"""Stage report: one self-contained HTML page, and the table of results as metrics."""

from typing import Any

from pydantic import Field

from hasse.data.settings import Config
from hasse.pipeline.stage import Job, Stage
from hasse.stages.grading import TaskSettings


class ReportSettings(Config):
    """The recipe's section `report`."""

    baselines: list[str] = Field(
        default=["student"], description="Arms with which the others are compared, prompt by prompt."
    )
    num_examples: int = Field(default=6, ge=0, description="Prompts that are shown with their candidates and order.")
    num_resamples: int = Field(default=2000, ge=100, description="Resamples of the bootstrap.")


class ReportInputs(Config):
    """Settings of the report stage."""

    report: ReportSettings
    task: TaskSettings
    recipe: dict[str, Any]


def run(job: Job) -> None:
    from hasse.stages.report.answers import GradedAnswers
    from hasse.stages.report.duel_results import duel_results, duel_sentences, elo_ratings
    from hasse.stages.report.headline import headline
    from hasse.stages.report.page import page
    from hasse.stages.report.result_rows import how_answers_were_read, result_rows
    from hasse.stages.report.results import results, sequences
    from hasse.stages.report.shortfalls import shortfalls

    settings: ReportInputs = job.settings
    report = settings.report
    answers = GradedAnswers(job.inputs["evaluate"])
    compared = results(
        answers,
        baselines=report.baselines,
        primary=settings.task.primary,
        num_resamples=report.num_resamples,
        sequences=sequences(job.inputs["train"]),
    )
    duels = duel_results(job.inputs.get("duel", []))
    sentences = [*headline(compared, report.baselines), *duel_sentences(duels)]
    how_read = how_answers_were_read(settings.task, compared)
    missing = shortfalls(artifact for artifacts in job.inputs.values() for artifact in artifacts)
    html = page(job, answers, compared, headline=sentences, how_read=how_read, missing=missing)
    (job.path / "report.html").write_text(html, encoding="utf-8")
    job.metrics |= {
        "results": result_rows(compared, report.baselines),
        "conclusion": "\n".join(sentences),
        "read": how_read,
        "missing": missing,
    }
    if duels:
        job.metrics["elo"] = {arm: round(rating.mean, 1) for arm, rating in elo_ratings(job.inputs["duel"]).items()}


STAGE = Stage(
    name="report",
    run=run,
    assets=("stages/report/page.html",),
)
