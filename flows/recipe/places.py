"""Tells which texts of a recipe name files, programs, endpoints, variables or addresses, and which are only words.

Runs that a server starts are held to this (see hasse.flows.server.roots). A test walks all settings models: it fails
for a field that takes text and stands in none of these sets.
"""

PATHS = frozenset({
    "before", "cache", "compare_with", "embedder", "human", "latest", "model", "pair_template", "path",
    "store", "template",
})  # fmt: skip
"""Files, folders and models; of some, a hub's name or a text does as well."""

PROGRAMS = frozenset({"python", "include_path"})
"""What runs code: interpreters, and folders whose tasks of lm-eval may call functions of their own."""

NAMES_ALONE = frozenset({"tasks"})
"""Names that a program would also take for files with code."""

ENDPOINTS = frozenset({"base_url"})

VARIABLES = frozenset({"api_key_variable"})

ADDRESSES = frozenset({"address", "main_address"})

WORDS = frozenset({
    "against", "answer", "answers", "arm", "arms", "baselines", "batch_size", "chat_template_kwargs", "cluster_key",
    "completion_window", "context", "cron", "dataset_split", "date", "description", "documents", "drafts", "dtype",
    "extra_body", "group", "ignored_keys", "instruction", "judge_weights", "judges", "label", "labels", "layers",
    "messages", "models", "name", "no_answer", "optimiser", "overrides", "prices", "prompt", "prompt_id",
    "reasoning_effort", "reference", "revise_template", "revision", "rounds", "source", "split", "splits", "start",
    "stop", "subset", "system", "target_modules", "text", "timezone", "unknown_candidates",
})  # fmt: skip
"""They name columns, parts of a recipe or things at a hub, or are shown to a model."""
