"""The queue of a recipe's answers, and filled queues back as feedback."""

from pathlib import Path
from typing import Any

from hasse.data.errors import InputError
from hasse.data.parquet import write_records
from hasse.data.records import Feedback
from hasse.flows.plan.steps import plan
from hasse.flows.recipe.recipe import Recipe
from hasse.flows.run.run import stored, up_to
from hasse.pipeline.store import Artifact, Store
from hasse.stages.feedback.choice import answers, choose
from hasse.stages.feedback.queue import agreement, queue, read_filled, write_queue


def export_queue(recipe: Recipe, store: Store, out: Path) -> int:
    """The answers that the recipe's feedback stage would have annotated; gives their number.

    Raises InputError when the recipe has no feedback, or its candidates are not judged in the store yet.
    """
    if recipe.feedback is None:
        raise InputError(f"recipe {recipe.name} has no section `feedback`, which says what is annotated")
    found: dict[str, Artifact] = {}
    steps = {step.name: step for step in plan(recipe)}
    for step in up_to(steps["judge"], steps):
        found[step.name] = stored(store, step, found).artifact
    items = choose(list(answers(found["prompts"], found["generate"], found["judge"])), recipe.feedback)
    return write_queue(queue(items, recipe.task), out)


def import_filled(files: tuple[Path, ...], queue_path: Path, out: Path) -> dict[str, Any]:
    """Write the feedback of all files; gives how much there is and how far people agree. Raises SourceError."""
    rows = [row for path in files for row in read_filled(path, queue_path)]
    rows.sort(key=lambda row: (row.prompt_id, row.candidate_id, row.annotator_id))
    found = agreement(rows)
    write_records(out, rows, Feedback)
    return {
        "feedback": len(rows),
        "items": len({(row.prompt_id, row.candidate_id) for row in rows}),
        "annotators": len({row.annotator_id for row in rows}),
        "pairs of verdicts": found.num_pairs,
        "agreement": found.agreement,
        "kappa": found.kappa,
        "file": str(out),
    }
