"""Decide whether a night's model is promoted: it replaces the latest model only if it is measurably better."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hasse.data.errors import InputError
from hasse.data.settings import key_of
from hasse.flows.recipe.nightly_section import LATEST
from hasse.flows.recipe.recipe import Recipe
from hasse.flows.run.history import History, ModelComparison, Night
from hasse.pipeline.fingerprint import differences
from hasse.pipeline.manifest import Labels
from hasse.pipeline.store import Artifact
from hasse.stages.report.answers import GradedAnswers
from hasse.stages.statistics.bootstrap import Bootstrap
from hasse.stages.student import stage as student


def terms(recipe: Recipe) -> dict[str, Any]:
    """Settings that must stay the same from night to night, since old prompts and the latest model depend on them."""
    found = {
        "source": {"kind": recipe.source.kind},
        "prompts": {
            "fractions": recipe.prompts.fractions.model_dump(),
            "split_seed": recipe.prompts.split_seed,
        },
    }
    assert recipe.nightly is not None, "a night's recipe has the section"
    if recipe.nightly.start == LATEST:
        found["student"] = key_of(recipe.student) | student.external(recipe.student)
    return found


def check_terms(history: History, recipe: Recipe, *, path: Path) -> None:
    """Raises InputError if the recipe differs from the earlier nights in a setting that must stay the same."""
    now = terms(recipe)
    common = {name: values for name, values in history.terms.items() if name in now}
    changed = differences(common, {name: now[name] for name in common})
    if changed:
        told = "; ".join(f"{key} was {before!r} and is {after!r}" for key, before, after in changed)
        raise InputError(
            f"{told}. Old prompts keep their splits and the latest model its start; "
            f"undo the change, give the recipe another name, or remove {path} to begin anew"
        )


def compare(
    contender: Artifact, rival: Artifact, *, metric: str, min_gain: float, num_resamples: int
) -> ModelComparison:
    """Compare two models' answers to the same prompts: the paired difference, in points, with a cluster bootstrap.

    Raises InputError if the metric counts right answers and no prompt has a gold answer.
    """
    named = {"contender": contender, "rival": rival}
    answers = GradedAnswers([model.standing_for(name, {"arm": name}) for name, model in named.items()])
    decoding, _, reading = metric.partition("_")
    prompts = answers.measured_by(reading)
    if not prompts:
        raise InputError(
            f"nightly.metric: {metric} counts right answers, but no held-out prompt has a gold answer; set it to "
            f"{decoding}_score, which compares answers with the experts'"
        )
    bootstrap = Bootstrap([row.cluster_id for row in prompts], num_resamples=num_resamples)
    ours, theirs = (answers.scores(name, decoding, reading) for name in ("contender", "rival"))
    found = bootstrap.difference(ours, theirs)
    return ModelComparison(
        metric=metric,
        gain=round(100 * found.mean, 3),
        low=round(100 * found.low, 3),
        high=round(100 * found.high, 3),
        min_gain=min_gain,
        num_prompts=len(prompts),
    )


def judge_night(
    recipe: Recipe, artifacts: Mapping[str, Artifact], history: History, *, night: str, run: str, when: str
) -> Night:
    """Decide whether tonight's model is promoted, and why. Nothing is written."""
    assert recipe.nightly is not None, "a night's recipe has the section"
    arm, seed = recipe.contender()
    rival = LATEST if history.latest else "student"
    evaluation = _artifact(artifacts, "evaluate", {"arm": arm, "seed": seed})
    rival_evaluation = _artifact(artifacts, "evaluate", {"arm": rival})
    comparison = compare(
        evaluation,
        rival_evaluation,
        metric=recipe.night_metric(),
        min_gain=recipe.nightly.min_gain,
        num_resamples=recipe.report.num_resamples,
    )
    before = history.latest.checkpoint if history.latest else None
    return Night(
        night=night,
        run=run,
        when=when,
        promoted=comparison.is_won,
        reason=_reason(f"{arm}/seed-{seed}", rival, comparison),
        comparison=comparison,
        checkpoint=_artifact(artifacts, "train", {"arm": arm, "seed": seed}).ref,
        evaluation=evaluation.ref,
        rival=rival,
        rival_checkpoint=before or artifacts["student"].ref,
        rival_evaluation=rival_evaluation.ref,
        previous=before,
        prompts=artifacts["prompts"].ref,
        report=artifacts["report"].ref,
    )


def _artifact(artifacts: Mapping[str, Artifact], stage: str, labels: Labels) -> Artifact:
    """The artifact of the step of this stage with these labels."""
    return next(a for a in artifacts.values() if a.stage == stage and labels.items() <= a.labels.items())


def _reason(contender: str, rival: str, comparison: ModelComparison) -> str:
    against = f"{contender} against {rival}, {comparison.metric}: {comparison}"
    if comparison.is_won:
        return f"promoted: {against}; the lower bound is above {comparison.min_gain:g}"
    kept = "the latest model stays" if rival == LATEST else "nothing is promoted"
    return f"{kept}: {against}; the lower bound is not above {comparison.min_gain:g}"


def as_markdown(night: Night) -> str:
    """The verdict as a short page in Markdown."""
    c = night.comparison
    rows = {
        "verdict": "promoted" if night.promoted else "not promoted",
        "gain, points": f"{c.gain:+.1f} ({c.low:+.1f} to {c.high:+.1f}), must exceed {c.min_gain:g} at the lower bound",
        "measured by": f"{c.metric} on {c.num_prompts} held-out prompts",
        "model": f"`{night.checkpoint}`",
        f"rival ({night.rival})": f"`{night.rival_checkpoint}`",
        "report": f"`{night.report}`",
        "run": f"`{night.run}`",
    }
    return "\n".join([f"# {night.reason}", "", "| | |", "|--|--|", *(f"| {k} | {v} |" for k, v in rows.items())])
