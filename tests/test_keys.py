"""Every module that decides a result is in the key of the stage that uses it, and in those of its rows."""

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import replace

import pytest
from pydantic import BaseModel

import stages
from data.settings import registry
from flows.plan.steps import plan
from flows.recipe.recipe import load_recipe
from pipeline import code
from pipeline.stage import Stage
from tests.key_closure import EXEMPT, is_module, missing

PLUGS = {
    "prompts": "data.sources",
    "generate": "stages.generate.samplers",
    "judge": "stages.judge.teachers",
    "order": "stages.order.strategies",
    "feedback": "stages.feedback.annotators",
    "train": "stages.train.methods",
    "benchmark": "stages.evaluate.benchmarks",
}
"""Stage -> the registry of its plugs."""

NO_STAGE = {"pit"}
"""Methods whose arms are made of steps with other methods."""


def all_stages() -> Iterator[Stage]:
    for found in pkgutil.iter_modules(stages.__path__, "stages."):
        if found.name not in ("stages.train.preload", "stages.models.vllm_worker", "stages.train.distributed.worker"):
            yield from (v for v in vars(importlib.import_module(found.name)).values() if isinstance(v, Stage))


STAGES = {stage.name: stage for stage in all_stages()}

USES = [
    pytest.param(stage, registry.modules(PLUGS[name], plug), id=f"{name}-{plug}")
    for name, stage in STAGES.items()
    if name in PLUGS
    for plug in registry.names(PLUGS[name])
    if plug not in NO_STAGE
] + [pytest.param(stage, (), id=name) for name, stage in STAGES.items() if name not in PLUGS]


@pytest.mark.parametrize(("stage", "plugs"), USES)
def test_a_key_holds_every_module_that_decides(stage, plugs):
    assert missing({*stage.modules, *plugs}) == {}, f"add these to the modules of {stage.name} or of its plug"


@pytest.mark.parametrize(("stage", "plugs"), USES)
def test_a_row_key_holds_every_module_that_decides_a_row(stage, plugs):
    rows = ({*stage.modules} - {*stage.beside_rows}) | {*plugs}
    assert missing(rows, beside=stage.beside_rows) == {}


def test_little_stands_beside_the_rows():
    assert {name: set(stage.beside_rows) for name, stage in STAGES.items() if stage.beside_rows} == {
        "judge": {
            *("stages.judge.stage", "stages.judge.audit", "stages.judge.agreement", "stages.judge.audit_bounds"),
            *(
                "stages.judge.pair_questions",
                "stages.statistics.comparison",
                "stages.chat.json_replies",
                "stages.chat.reply",
            ),
        },
        "generate": {
            *(
                "stages.generate.engine_parity",
                "stages.scoring.score_texts",
                "stages.scoring.batch",
                "stages.scoring.score",
                "stages.scoring.branch_attention",
            ),
            *("stages.scoring.token_logps", "stages.scoring.rows", "data.text"),
        },
    }


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_a_stage_names_its_own_module_and_none_that_is_exempt(stage):
    assert stage.run.__module__ in stage.modules
    assert [module for module in stage.modules if module in EXEMPT or not is_module(module)] == []


def test_every_exemption_is_of_a_module_that_there_is():
    assert [name for entry in EXEMPT for name in entry.split(" > ") if not is_module(name)] == []
    assert all(EXEMPT.values())


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
        assert set(plugs_in(step.settings)) <= set(step.modules), step.name
        assert missing(step.modules) == {}, step.name


# What a change changes


MAPPED = {"generate", "judge", "order", "feedback", "reference"}
"""Stages that keep rows."""

WITH_A_MODEL = {
    *("train", "student", "reference", "generate", "evaluate"),
    *("improver_examples", "gap_examples", "improve_rl"),
}


@pytest.fixture(scope="module")
def steps():
    return plan(load_recipe("compare-demo", []))


def codes(steps, monkeypatch, *modules):
    """(step, its stage, whether of its rows) -> the digests of its code when these modules have one line more."""
    read = code._source
    with monkeypatch.context() as patch:
        patch.setattr(code, "_source", lambda name: read(name) + "\nCHANGED = 1" * (name in modules))
        whole = {(step.name, step.stage.name, False): step.code() for step in steps}
        return whole | {(step.name, step.stage.name, True): step.stage.row_code(step.plugs) for step in steps}


@pytest.mark.parametrize(
    ("module", "whole", "rows"),
    [
        ("stages.train.methods.rescue", {"train"}, set()),
        ("stages.scoring.token_logps", WITH_A_MODEL, {"reference"}),
        ("stages.judge.audit", {"judge", "report"}, set()),
        ("stages.judge.audit_bounds", {"judge"}, set()),
        ("stages.judge.judging", {"judge"}, {"judge"}),
        ("stages.grading.answers", {"judge", "feedback", "evaluate", "report"}, {"judge", "feedback"}),
        ("stages.statistics.bootstrap", {"report"}, set()),
        ("stages.chat.http.endpoint", set(), set()),
        ("pipeline.rows", set(), set()),
        ("data.parquet", set(), set()),
        ("flows.plan.steps", set(), set()),
    ],
)
def test_a_change_of_a_module_changes_these_keys(steps, monkeypatch, module, whole, rows):
    before, after = codes(steps, monkeypatch), codes(steps, monkeypatch, module)
    found = {key for key in before if before[key] != after[key]}
    assert {stage for _, stage, of_rows in found if not of_rows} == whole
    assert {stage for _, stage, of_rows in found if of_rows} & MAPPED == rows


def test_the_version_is_in_the_key_and_in_those_of_rows():
    stage = STAGES["judge"]
    assert stage.row_code(())["version"] == "1"
    assert replace(stage, version=2).row_code(())["version"] == "2"
