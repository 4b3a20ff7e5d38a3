"""The keys of the store hold the code that decides a result, and nothing else."""

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import replace

import pytest
from pydantic import BaseModel

from hasse import stages
from hasse.data.settings import registry
from hasse.flows.plan.steps import plan
from hasse.flows.recipe.recipe import load_recipe
from hasse.pipeline import code
from hasse.pipeline.stage import Stage

PLUGS = {
    "prompts": "hasse.data.sources",
    "generate": "hasse.stages.generate.samplers",
    "judge": "hasse.stages.judge.teachers",
    "order": "hasse.stages.order.strategies",
    "feedback": "hasse.stages.feedback.annotators",
    "train": "hasse.stages.train.methods",
    "benchmark": "hasse.stages.evaluate.benchmarks",
}
"""Stage -> the registry of its plugs."""

RUN_ALONE = {"hasse.stages.models.vllm_worker"}
"""Modules that another interpreter runs."""


def all_modules() -> Iterator[str]:
    for found in pkgutil.walk_packages(stages.__path__, "hasse.stages."):
        if found.name not in RUN_ALONE:
            yield found.name


STAGES = {
    value.name: value
    for name in all_modules()
    for value in vars(importlib.import_module(name)).values()
    if isinstance(value, Stage)
}


def modules(stage: str, *plugs: str) -> set[str]:
    return {name.removeprefix("hasse.") for name in STAGES[stage].modules(plugs)}


def test_a_stage_is_keyed_by_what_its_module_imports_at_any_depth():
    found = modules("train", "hasse.stages.train.methods.rescue")
    assert {"stages.train.stage", "stages.train.trainer", "stages.train.methods.rescue"} <= found
    assert {"stages.train.loss_terms", "stages.scoring.token_logps", "stages.models.load", "data.joins"} <= found
    assert "stages.train.methods.tuna" not in found
    assert not [name for name in found if name.startswith(("stages.judge", "stages.chat", "flows", "pipeline"))]


def test_a_judge_is_keyed_by_the_teacher_that_it_has():
    by_rule, by_chat = (modules("judge", f"hasse.stages.judge.teachers.{name}") for name in ("rule", "openai"))
    assert {"stages.grading.answers", "stages.grading.numbers"} <= by_rule & by_chat
    assert {"stages.judge.list_questions", "stages.chat.request", "stages.chat.templates"} <= by_chat - by_rule
    assert "stages.chat.http.endpoint" not in by_chat


def test_an_engine_is_in_the_keys_of_those_who_ask_it():
    worker = {"stages.models.vllm_engine", "stages.models.vllm_worker"}
    plugs = registry.modules("hasse.stages.generate.samplers", "vllm")
    assert worker <= modules("generate", *plugs)
    assert not worker & modules("generate", *registry.modules("hasse.stages.generate.samplers", "transformers"))


NOT_IN_KEYS = {
    "stages.chat.ask": "carries questions",
    "stages.chat.batch_api": "carries questions",
    "stages.chat.batches": "carries questions",
    "stages.chat.cache": "carries questions",
    "stages.chat.call": "carries questions",
    "stages.chat.event_loop": "carries questions",
    "stages.chat.http": "carries questions",
    "stages.chat.money": "what is paid",
    "stages.chat.one_by_one": "carries questions",
    "stages.chat.rounds": "carries questions",
    "stages.chat.settings": "settings are in the key",
    "stages.models.footprint": "estimates memory",
    "stages.models.this_process": "in which processes",
    "stages.models.vllm_engine": "starts engines",
    "stages.train.distributed": "in which processes",
    "stages.train.memory": "how much memory",
    "stages.train.passes": "how much memory",
    "stages.train.throughput": "measures",
    "stages.train.tracking": "decides no result",
}


def test_what_is_in_no_key_says_why():
    """A module that joins this list is looked at by whoever reads the change: can it change a result?"""
    found = {name.removeprefix("hasse."): why for name in all_modules() if (why := code.why_not_in_keys(name))}
    outermost = {name: why for name, why in found.items() if name.rpartition(".")[0] not in found}
    assert outermost.keys() == NOT_IN_KEYS.keys()
    assert {name: said in outermost[name] for name, said in NOT_IN_KEYS.items()} == dict.fromkeys(NOT_IN_KEYS, True)


BESIDE_JUDGEMENTS = (
    "stage", "one_judge", "several", "repeats", "judgement_tables", "audit", "agreement", "audit_bounds",
)  # fmt: skip
"""These arrange who is asked and measure the answers; the questions themselves and their keys are not among them."""


def test_little_stands_beside_the_rows():
    found = {name: set(stage.beside_rows) for name, stage in STAGES.items() if stage.beside_rows}
    assert found == {
        "judge": {f"hasse.stages.judge.{name}" for name in BESIDE_JUDGEMENTS},
        "generate": {"hasse.stages.generate.engine_parity"},
    }


# Plans


def plugs_in(settings: object) -> Iterator[str]:
    """The modules of plugs whose settings stand anywhere in these."""
    if isinstance(settings, BaseModel):
        module = type(settings).__module__
        if any(module.startswith(f"{package}.") for package in PLUGS.values()):
            yield module
        for name in type(settings).model_fields:
            yield from plugs_in(getattr(settings, name))
    elif isinstance(settings, (list, tuple)):
        for part in settings:
            yield from plugs_in(part)
    elif isinstance(settings, dict):
        yield from plugs_in(list(settings.values()))


@pytest.mark.parametrize("name", ["compare-demo", "laffi-demo", "pit-demo", "tuna-demo"])
def test_every_step_of_a_plan_holds_the_plugs_that_its_settings_name(name):
    for step in plan(load_recipe(name, [])):
        assert set(plugs_in(step.settings)) <= step.stage.modules(step.plugs), step.name


# What a change changes


MAPPED = {"generate", "judge", "order", "feedback", "reference"}
"""Stages that keep rows."""


@pytest.fixture(scope="module")
def steps():
    return plan(load_recipe("compare-demo", []))


def codes(steps, monkeypatch, changed, *, names):
    """(step, its stage, whether of its rows) -> the digests of its code when these modules were changed."""
    read = code._source
    with monkeypatch.context() as patch:
        patch.setattr(code, "_source", lambda name: changed(read(name)) if name in names else read(name))
        whole = {(step.name, step.stage.name, False): step.code() for step in steps}
        return whole | {(step.name, step.stage.name, True): step.stage.row_code(step.plugs) for step in steps}


SCORING = {
    *("train", "student", "reference", "generate", "evaluate"),
    *("improver_examples", "gap_examples", "improve_rl"),
}
"""Stages with log-probs."""


def unchanged(text):
    return text


def one_line_more(text):
    return text + "\nCHANGED = 1"


def other_docstrings(text):
    """Comments and the docstring of the module."""
    return "# A comment.\n" + text.replace('"""', '"""In other words: ', 1)


@pytest.mark.parametrize(
    ("module", "whole", "rows"),
    [
        ("stages.train.methods.rescue", {"train"}, set()),
        ("stages.train.trainer", {"train", "student", "improve_rl"}, set()),
        ("stages.scoring.token_logps", SCORING, {"reference"}),
        ("stages.judge.audit", {"judge", "report"}, set()),
        ("stages.judge.audit_bounds", {"judge"}, set()),
        ("stages.judge.judge_rows", {"judge"}, {"judge"}),
        ("stages.grading.answers", {"judge", "feedback", "evaluate", "report"}, {"judge", "feedback"}),
        ("stages.statistics.bootstrap", {"report"}, set()),
        ("stages.chat.http.endpoint", set(), set()),
        ("pipeline.rows", set(), set()),
        ("data.parquet", set(), set()),
        ("flows.plan.steps", set(), set()),
    ],
)
def test_a_change_of_a_module_changes_these_keys(steps, monkeypatch, module, whole, rows):
    name = f"hasse.{module}"
    before = codes(steps, monkeypatch, unchanged, names={name})
    after = codes(steps, monkeypatch, one_line_more, names={name})
    found = {key for key in before if before[key] != after[key]}
    assert {stage for _, stage, of_rows in found if not of_rows} == whole
    assert {stage for _, stage, of_rows in found if of_rows} & MAPPED == rows


def test_a_docstring_changed_anywhere_changes_no_key(steps, monkeypatch):
    names = set(all_modules())
    assert len(names) > 100
    assert codes(steps, monkeypatch, unchanged, names=names) == codes(steps, monkeypatch, other_docstrings, names=names)


METHODS = registry.names("hasse.stages.train.methods")


@pytest.mark.parametrize("method", METHODS)
def test_a_changed_loss_changes_the_keys_of_its_training_alone(monkeypatch, method):
    """Over all rooms, with every plug of every stage."""
    loss = f"hasse.stages.train.methods.{method}"

    def keys():
        for name, stage in STAGES.items():
            package = PLUGS.get(name)
            for plug in registry.names(package) if package else [""]:
                plugs = registry.modules(package, plug) if package else ()
                yield (name, plug), code.code_digests(stage.modules(plugs))

    read, before = code._source, dict(keys())
    monkeypatch.setattr(code, "_source", lambda name: read(name) + "\nCHANGED = 1" * (name == loss))
    changed = {key for key, digests in keys() if digests != before[key]}
    assert ("train", method) in changed
    assert {stage for stage, _ in changed} <= {"train", "student", "improver_examples", "gap_examples", "improve_rl"}


def test_the_version_is_in_the_key_and_in_those_of_rows():
    stage = STAGES["judge"]
    assert stage.row_code(())["version"] == "1"
    assert replace(stage, version=2).row_code(())["version"] == "2"
