"""What a recipe may ask of prompts that have no gold answers: a reference alone makes no answer right or wrong."""

from typing import Any

from hasse.data.field_mapping import Fields
from hasse.stages.judge.traits import judging


def has_gold(recipe: Any) -> bool:
    """Whether prompts may have gold answers: unknown sources may, tables where a column is named for these."""
    fields = getattr(recipe.source, "fields", None)
    if not isinstance(fields, Fields):
        return True
    if recipe.task.labels:
        return fields.label is not None
    return fields.answers is not None or recipe.task.no_answer is not None


def check_gold(recipe: Any) -> None:
    """Raises ValueError that names the first setting which counts right answers where none can be right."""
    if has_gold(recipe):
        return
    column = "label" if recipe.task.labels else "answers"
    for setting, wants, instead in _wanting(recipe):
        raise ValueError(
            f"{setting} {wants}, but source.fields names no column `{column}`, so no answer is right or wrong; "
            f"map source.fields.{column}, or {instead}"
        )


def _wanting(recipe: Any) -> list[tuple[str, str, str]]:
    """(setting, what it does, what else would do) of each that needs gold answers."""
    judges = [recipe.judge, *(r.judge for r in recipe.rounds.values() if r.judge)]
    orders = [recipe.order, *(r.order for r in recipe.rounds.values() if r.order)]
    metric = recipe.nightly.metric_of(recipe.task, gold=False) if recipe.nightly else ""
    asked = {
        ("audit.min_gold_auc", "compares scores of right and wrong answers", "leave the bound out"): (
            recipe.audit.min_gold_auc is not None
        ),
        ("judge.total: score", "compares answers with gold ones", "have another judge score them"): any(
            getattr(one, "total", None) == "score" for judge in judges for one in judging(judge).values()
        ),
        ("order.strategy: qa_lp", "puts right answers above wrong ones", "take another order"): any(
            order.strategy == "qa_lp" for order in orders
        ),
        ("feedback", "says whether an answer is right", "leave the section out"): recipe.feedback is not None,
        (f"nightly.metric: {metric}", "counts right answers", "set nightly.metric to greedy_score"): bool(metric)
        and not metric.endswith("score"),
    }
    return [said for said, is_asked in asked.items() if is_asked]
