"""Settings that need gold answers. Without a gold answer nothing can be called right or wrong."""

from collections.abc import Iterator
from typing import Any

from hasse.flows.recipe.sections import RecipeSections, RoundSettings
from hasse.flows.recipe.train_section import min_candidates
from hasse.stages.judge.traits import judges_of

Need = tuple[str, str, str]
"""(the setting, what it does with gold answers, what would do without them)"""


def check_gold(recipe: RecipeSections) -> None:
    """Raises ValueError for the first setting that needs gold answers, if the prompts have none."""
    if recipe.has_gold():
        return
    column = "label" if recipe.task.labels else "answers"
    for setting, purpose, remedy in _needs(recipe):
        if recipe.table_fields() is None:
            raise ValueError(f"{setting} {purpose}, but the source {recipe.source.kind} has none; {remedy}")
        raise ValueError(
            f"{setting} {purpose}, but source.fields names no column `{column}`, so no answer is right or wrong; "
            f"map source.fields.{column}, or {remedy}"
        )


def _needs(recipe: RecipeSections) -> Iterator[Need]:
    if recipe.audit.min_gold_auc is not None:
        yield "audit.min_gold_auc", "compares scores of right and wrong answers", "leave the bound out"
    for settings in recipe.every_round():
        yield from _needs_of_round(settings)
    if recipe.feedback is not None:
        yield "feedback", "says whether an answer is right", "leave the section out"
    if recipe.duel is not None and recipe.duel.judge.teacher == "rule":
        yield "duel.judge: rule", "compares answers with gold ones", "have another judge compare them"
    metric = recipe.nightly.metric_of(recipe.task, gold=False) if recipe.nightly else ""
    if metric and not metric.endswith("score"):
        yield f"nightly.metric: {metric}", "counts right answers", "set nightly.metric to greedy_score"


def _needs_of_round(settings: RoundSettings) -> Iterator[Need]:
    judges = list(judges_of(settings.judge).values())
    if any(getattr(judge, "total", None) == "score" for judge in judges):
        yield (
            f"{settings.place}judge.total: score",
            "compares answers with gold ones",
            "have another judge score them",
        )
    strategy, arm = settings.order.strategy, _ranking_arm(settings.arms)
    place = f"{settings.place}order.strategy: {strategy}"
    if strategy == "qa_lp":
        yield place, "puts right answers above wrong ones", "take another order"
    elif arm and strategy in ("lp", "lp_hp"):
        yield place, f"ranks right answers above wrong ones for the arm {arm!r}", "take the order hp or scores"
    elif arm and strategy == "scores" and all(judge.teacher == "rule" for judge in judges):
        remedy = "have another judge score them, or take the order hp"
        yield place, f"ranks right answers above wrong ones for the arm {arm!r}, since a rule judges", remedy


def _ranking_arm(arms: dict[str, Any]) -> str | None:
    """The first arm whose method learns from the order of several candidates."""
    return next((name for name, method in arms.items() if min_candidates(method) > 1), None)
