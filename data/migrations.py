"""Migrations of tables that were written with an older version of a record.

Each function adds the columns of the next version, with the values that the older version implied.
"""

from collections.abc import Callable

import pyarrow as pa

NOT_IN_KEYS = "it reads older tables as the current records; a change that alters results raises the stage's version"


def _partial_order_2(table: pa.Table) -> pa.Table:
    """Add `dropped`, empty: no pair was dropped before version 2."""
    pairs = table.schema.field("pairs")
    none = pa.array([[]] * len(table), pairs.type)
    return table.add_column(table.schema.get_field_index("target") + 1, pairs.with_name("dropped"), none)


def _candidate_2(table: pa.Table) -> pa.Table:
    """Add `reasoning`, null: thinking was not kept apart from the answer."""
    at = table.schema.get_field_index("text") + 1
    return table.add_column(at, pa.field("reasoning", pa.string()), pa.nulls(len(table), pa.string()))


def _prompt_2(table: pa.Table) -> pa.Table:
    """Add `drafts`, empty: they were not read."""
    kind = table.schema.field("answers")
    none = pa.array([[]] * len(table), kind.type)
    return table.add_column(table.schema.get_field_index("reference") + 1, kind.with_name("drafts"), none)


def _prompt_3(table: pa.Table) -> pa.Table:
    """Add the instruction, null, and the demonstrations, empty: models were asked the bare question."""
    at, turns = table.schema.get_field_index("messages") + 1, table.schema.field("messages").type
    none = pa.array([[]] * len(table), turns)
    table = table.add_column(at, pa.field("demonstrations", turns, nullable=False), none)
    return table.add_column(at, pa.field("instruction", pa.string()), pa.nulls(len(table), pa.string()))


def _checkpoint_2(table: pa.Table) -> pa.Table:
    """Add the options of the chat template, null: there were none."""
    return table.append_column(pa.field("template_options", pa.string()), pa.nulls(len(table), pa.string()))


def _evaluation_2(table: pa.Table) -> pa.Table:
    """Add the similarity score, the experts' log-probs and the held-out pairs, null: they were not measured."""
    at = table.schema.get_field_index("correct_loose") + 1
    columns = ("pair_margin", "pair_accuracy", "reference_tokens", "reference_logprob", "score")
    for name in columns:
        kind = pa.int64() if name == "reference_tokens" else pa.float64()
        table = table.add_column(at, pa.field(name, kind), pa.nulls(len(table), kind))
    return table


def _evaluation_3(table: pa.Table) -> pa.Table:
    """Add the first label, null, and let `correct_*` be null: a prompt without gold answer used to count as wrong."""
    for name in ("correct_strict", "correct_loose"):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, pa.field(name, pa.bool_()), table[name])
    for name, after, kind in (
        ("label_first", "label_loose", pa.string()),
        ("correct_first", "correct_loose", pa.bool_()),
    ):
        at = table.schema.get_field_index(after) + 1
        table = table.add_column(at, pa.field(name, kind), pa.nulls(len(table), kind))
    return table


def _judgement_2(table: pa.Table) -> pa.Table:
    """Add the slots of candidates and the pairwise verdicts, empty: they were not kept."""
    presentation = [("slot", pa.int64(), False), ("total", pa.float64(), True), ("num_asks", pa.int64(), False)]
    verdict = [("other", pa.string(), False), ("verdict", pa.string(), False)]
    at = table.schema.get_field_index("presentation_order") + 1
    for name, parts in (("verdicts", verdict), ("presentations", presentation)):
        element = pa.field("element", pa.struct([pa.field(*part) for part in parts]), nullable=False)
        kind = pa.list_(element)
        table = table.add_column(at, pa.field(name, kind, nullable=False), pa.array([[]] * len(table), kind))
    return table


def _judgement_3(table: pa.Table) -> pa.Table:
    """Add `judges`, empty: there was only one judge."""
    parts = [("judge", pa.string(), False), ("teacher", pa.string(), False), ("total", pa.float64(), True)]
    parts.append(("status", pa.string(), False))
    kind = pa.list_(pa.field("element", pa.struct([pa.field(*part) for part in parts]), nullable=False))
    at = table.schema.get_field_index("verdicts") + 1
    return table.add_column(at, pa.field("judges", kind, nullable=False), pa.array([[]] * len(table), kind))


def _judgement_4(table: pa.Table) -> pa.Table:
    """Add `reasoning`, null: the judge's thinking was not kept."""
    at = table.schema.get_field_index("rationale") + 1
    return table.add_column(at, pa.field("reasoning", pa.string()), pa.nulls(len(table), pa.string()))


MIGRATIONS: dict[tuple[str, int], Callable[[pa.Table], pa.Table]] = {
    ("Prompt", 1): _prompt_2,
    ("Prompt", 2): _prompt_3,
    ("Candidate", 1): _candidate_2,
    ("PartialOrder", 1): _partial_order_2,
    ("Checkpoint", 1): _checkpoint_2,
    ("Evaluation", 1): _evaluation_2,
    ("Evaluation", 2): _evaluation_3,
    ("Judgement", 1): _judgement_2,
    ("Judgement", 2): _judgement_3,
    ("Judgement", 3): _judgement_4,
}
"""(record name, version of the table) -> the function that makes the table of the next version."""
