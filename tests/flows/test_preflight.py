"""What is known before the first stage: keys, programs, columns, numbers that fit, and room."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from pydantic import BaseModel

from hasse.data.errors import HasseError, InputError, RecipeError
from hasse.data.settings.form import MAX_NUMBER, MAX_SEED
from hasse.flows.plan.steps import plan
from hasse.flows.recipe.recipe import Recipe, load_recipe
from hasse.flows.run import preflight
from hasse.flows.run import run as walk
from hasse.flows.run.forecast import forecast
from hasse.flows.run.preflight import check_disk, check_ready
from hasse.flows.run.source_rows import warn_of_thinking
from hasse.pipeline.settings_file import validate
from hasse.pipeline.store import Store
from hasse.stages.evaluate.lm_eval import LmEvalSettings
from hasse.stages.train.optimiser import OptimiserSettings
from tests.flows.conftest import TINY

ELSEWHERE = {"model": "m", "base_url": "https://api.example.com/v1", "prices": {"m": {"free": True}}}


def tiny(**sections) -> Recipe:
    return validate(Recipe, {**TINY, **sections}, where="tiny")


def chat(name: str, **settings) -> dict:
    return {**ELSEWHERE, "api_key_variable": name, **settings}


@pytest.fixture(autouse=True)
def _without_keys(monkeypatch):
    for name in ("GROUP_KEY", "JUDGE_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


TABLE = {"kind": "jsonl", "path": "rows.jsonl", "fields": {"text": "question", "label": "gold"}}
SEVERAL = tiny(
    generate={"groups": [{"sampler": "dataset"}, {"sampler": "openai", **chat("GROUP_KEY")}]},
    judge={"teacher": "openai", "chat": chat("JUDGE_KEY")},
    order={"strategy": "scores"},
)


def test_a_missing_key_is_named_before_the_run_begins_and_by_a_dry_run(tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr(walk, "begin", lambda *args, **how: begun.append(args))
    with pytest.raises(InputError, match="generate: the environment variable GROUP_KEY"):
        walk.walk(SEVERAL, Store(tmp_path / "store"), SimpleNamespace())
    assert begun == []
    with pytest.raises(InputError, match="generate: the environment variable GROUP_KEY"):
        forecast(SEVERAL, Store(tmp_path / "store"))


def test_every_missing_key_is_named_at_once(tmp_path, monkeypatch):
    with pytest.raises(InputError) as refused:
        check_ready(plan(SEVERAL), Store(tmp_path))
    first, generate, judge = str(refused.value).splitlines()
    assert first == "the run cannot begin:"
    assert generate.startswith("  generate: the environment variable GROUP_KEY")
    assert judge.startswith("  judge: the environment variable JUDGE_KEY")
    monkeypatch.setenv("GROUP_KEY", "k")
    with pytest.raises(InputError, match=r"^judge: the environment variable JUDGE_KEY"):
        check_ready(plan(SEVERAL), Store(tmp_path))


def test_a_key_that_several_steps_need_is_named_once(tmp_path):
    same = chat("JUDGE_KEY")
    groups = [{"sampler": "dataset"}, {"sampler": "openai", **same}]
    recipe = tiny(generate={"groups": groups}, judge={"teacher": "openai", "chat": same}, order={"strategy": "scores"})
    with pytest.raises(InputError, match=r"^generate: the environment variable JUDGE_KEY"):
        check_ready(plan(recipe), Store(tmp_path))


@pytest.mark.parametrize(
    ("why", "problem"),
    [
        ([None, None], "generate: the group 'human' takes the reference of each prompt, but no row of the source has"),
        ([None, "because"], None),
    ],
)
def test_a_dry_run_finds_a_column_without_answers(tmp_path, why, problem):
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(json.dumps({"question": f"q{i}", "why": w, "gold": "yes"}) + "\n" for i, w in enumerate(why))
    )
    fields = {"text": "question", "reference": "why", "label": "gold"}
    recipe = tiny(source={**TABLE, "path": str(path), "fields": fields}, task={"labels": ["yes", "no"]})
    if problem is None:
        assert {each.action for each in forecast(recipe, Store(tmp_path / "store"))} == {"compute"}
        return
    with pytest.raises(InputError, match=problem):
        forecast(recipe, Store(tmp_path / "store"))


def test_a_further_round_is_looked_at_too(tmp_path):
    judge = {"teacher": "openai", "chat": chat("JUDGE_KEY")}
    more = {"start": "rescue", "judge": judge, "order": {"strategy": "scores"}, "arms": {"again": {"method": "sft"}}}
    with pytest.raises(InputError, match=r"judge/more/seed-0: .*JUDGE_KEY"):
        walk.walk(tiny(rounds={"more": more}), Store(tmp_path / "store"), SimpleNamespace())


def test_a_step_in_the_store_needs_no_program(tmp_path, monkeypatch):
    wanting = step(LmEvalSettings(tasks=["t"], python="no-such-python"))
    wanting.inputs = {}
    monkeypatch.setattr(preflight, "look_up", lambda store, step, found: SimpleNamespace())
    check_ready([wanting], Store(tmp_path))
    with pytest.raises(InputError, match="no-such-python"):
        check_ready([wanting], Store(tmp_path), anew=True)


def step(settings):
    return SimpleNamespace(name="step", settings=settings, executor=preflight.local.Settings(), inputs={"a": ("b",)})


def test_missing_programs_and_packages_are_found(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"lm_eval\.python: 'no-such-python' is not a program"):
        check_ready([step(LmEvalSettings(tasks=["t"], python="no-such-python"))], Store(tmp_path))
    monkeypatch.setattr("hasse.stages.evaluate.lm_eval.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install"):
        check_ready([step(LmEvalSettings(tasks=["t"]))], Store(tmp_path))


def test_a_tracker_without_its_package_is_named_with_its_setting(tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "find_spec", lambda name: None if name == "wandb" else SimpleNamespace(origin=name))
    recipe = tiny(train={**TINY["train"], "tracking": ["tensorboard", "wandb", "mlflow"]})
    with pytest.raises(InputError) as refused:
        check_ready(plan(recipe), Store(tmp_path))
    assert str(refused.value).startswith("train/sft/seed-0: train.tracking: the package wandb is not installed here")
    trackings = [s.settings.tracking for s in plan(recipe) if s.stage.name == "train"]
    assert [(t.project, t.run) for t in trackings] == [("tiny", "sft-seed-0"), ("tiny", "rescue-seed-0")]
    assert "tracking" not in plan(recipe)[-1].settings.recipe["train"], "another tracker makes no other report"
    # The folder in which wandb keeps its runs is no package.
    monkeypatch.setattr(preflight, "find_spec", lambda name: SimpleNamespace(origin=None))
    with pytest.raises(InputError, match=r"train\.tracking: the package mlflow"):
        check_ready(plan(recipe), Store(tmp_path))


def test_a_disk_that_is_too_full_is_named(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"0" * 1000)
    student = SimpleNamespace(
        stage=SimpleNamespace(name="student"), name="student", settings=SimpleNamespace(model=str(tmp_path / "model"))
    )
    whole, adapter = SimpleNamespace(lora=None), SimpleNamespace(lora="r: 16")
    stage = SimpleNamespace(name="train")
    trained = [SimpleNamespace(stage=stage, name=f"train/{i}", settings=whole) for i in range(3)]
    adapters = [SimpleNamespace(stage=stage, name=f"train/a-{i}", settings=adapter) for i in range(3)]
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda place: SimpleNamespace(free=2999))
    with pytest.raises(InputError, match="3 models of"):
        check_disk([student, *trained], Store(tmp_path / "store"))
    check_disk([student, *trained[:2], *adapters], Store(tmp_path / "store"))


def test_a_dry_run_finds_a_column_that_is_not_there(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"question": "a", "gold": "yes"}) + "\n")
    fields = {"text": "qestion", "reference": "question", "label": "gold"}
    source = {"kind": "jsonl", "path": str(path), "fields": fields}
    said = r"rows\.jsonl, row 1, field 'qestion': unknown column 'qestion'; did you mean 'question'"
    with pytest.raises(HasseError, match=said):
        forecast(tiny(source=source, task={"labels": ["yes", "no"]}), Store(tmp_path / "store"))


BAD = [
    "train.seeds=[1764400000000]", "train.seeds=[-1]", "train.seeds=[0, 1180591620717411303424]", "evaluate.seed=-1",
    "prompts.split_seed=4294967296", "source.seed=-1", "student.scratch.seed=1764400000000",
    "generate.groups.1.seed=1764400000000", "generate.chunk_size=1180591620717411303424", "train.steps=2147483648",
    "evaluate.max_tokens=99999999999", "launch.main_port=65536", "launch.processes=0", "train.seeds=[true]",
    "train.steps=true", "train.learning_rate=0", "train.learning_rate=-1", "train.learning_rate=.nan",
    "train.learning_rate=.inf", "train.arms.rescue.alpha=.nan", "train.overrides={rescue: {learning_rate: .inf}}",
    "generate.groups.1.temperature=-0.1", "generate.groups.1.temperature=.inf", "generate.groups.1.top_p=0",
    "generate.groups.1.top_p=1.1", "prompts.fractions={train: 1.5, test: -0.5}", "max_failed=1.5", "max_failed=.nan",
    "report.num_resamples=1180591620717411303424",
]  # fmt: skip


@pytest.mark.parametrize("assignment", BAD)
def test_a_number_that_nothing_can_hold_is_refused_by_its_name(assignment):
    with pytest.raises(RecipeError) as refused:
        load_recipe("rescue-demo", [assignment])
    named = "learning_rate" if "overrides" in assignment else assignment.partition("=")[0].split(".")[-1]
    assert named in str(refused.value)


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a/b", "a\nb", "-a", "..", "a\u202e", "\x00", "a" * 101, "cafe\u0301"]
)
@pytest.mark.parametrize(
    ("place", "changes"),
    [
        ("train.arms", lambda name: {"train.arms": {name: {"method": "sft"}}}),
        ("train.arms", lambda name: {"train.arms": [{"name": name, "method": {"method": "sft"}}]}),
        ("rounds", lambda name: {"rounds": {name: {"start": "student", "arms": {"x": {"method": "sft"}}}}}),
        (
            "rounds.more.arms",
            lambda name: {"rounds": {"more": {"start": "student", "arms": {name: {"method": "sft"}}}}},
        ),
        ("generate.groups.0.name", lambda name: {"generate.groups": [{"sampler": "transformers", "name": name}]}),
    ],
)
def test_what_cannot_be_part_of_a_steps_name_is_no_name(name, place, changes):
    with pytest.raises(RecipeError) as refused:
        load_recipe("rescue-demo", changes(name))
    assert f"  {place}: " in str(refused.value)
    assert "cannot be a name: 1 to 100 letters, digits and the signs - _ . +" in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("name", ["größe", "LP+HP", "a.1_b", "臂", "7", "a" * 100])
def test_letters_of_all_scripts_make_names(name):
    assert (
        name in load_recipe("rescue-demo", {"rounds.more": {"start": "sft", "arms": {name: {"method": "sft"}}}}).arms()
    )


def test_a_benchmark_that_stands_twice_is_refused():
    both = [{"benchmark": "super_natural_instructions", "path": path} for path in ("a", "b")]
    with pytest.raises(RecipeError, match="benchmarks: 'super_natural_instructions' stands twice"):
        load_recipe("rescue-demo", {"benchmarks": both})


def test_bounds_that_hold_are_not_too_narrow():
    assert load_recipe("rescue-demo", [f"train.seeds=[0, {MAX_SEED}]"]).train.seeds == [0, MAX_SEED]
    assert OptimiserSettings(steps=MAX_NUMBER).steps == MAX_NUMBER


def integers(schema, found):
    """Every part of a schema that decides and takes whole numbers; what a choice shows beside it does not decide."""
    if isinstance(schema, dict):
        if schema.get("type") == "integer":
            found.append(schema)
        for key, value in schema.items():
            if key != "anyOf" or "allOf" not in schema:
                integers(value, found)
    elif isinstance(schema, list):
        for value in schema:
            integers(value, found)
    return found


def test_every_whole_number_of_the_form_has_an_end():
    found = integers(Recipe.model_json_schema()["$defs"], [])
    assert len(found) > 100
    assert [one for one in found if not {"maximum", "exclusiveMaximum"} & set(one) and "enum" not in one] == []


def test_models_without_a_form_are_bounded_too():
    class Settings(OptimiserSettings):
        value: int = 0

    assert issubclass(Settings, BaseModel)
    with pytest.raises(ValueError, match="a whole number of at most"):
        Settings(value=2**40)


@pytest.mark.parametrize(
    ("group", "fields", "problem"),
    [
        ({}, {}, "generate.groups: the group 'human' takes the reference of each prompt, but source.fields names no"),
        ({"field": "answers", "name": "gold"}, {"reference": "why"}, "the group 'gold' takes the answers"),
        ({"field": "drafts"}, {"reference": "why"}, "the group 'human' takes the drafts"),
    ],
)
def test_a_group_that_takes_what_no_column_gives_is_refused(group, fields, problem):
    source = {**TABLE, "fields": TABLE["fields"] | fields}
    groups = [{"sampler": "dataset", **group}, TINY["generate"]["groups"][1]]
    with pytest.raises(RecipeError, match=problem):
        tiny(source=source, task={"labels": ["yes", "no"]}, generate={"groups": groups})


def test_a_conversation_may_end_with_the_experts_answer():
    source = {**TABLE, "fields": {"messages": "turns", "label": "gold"}}
    assert tiny(source=source, task={"labels": ["yes", "no"]}).source.fields.reference is None


def test_experts_who_are_asked_about_no_prompt_are_noticed():
    with pytest.raises(RecipeError, match=r"prompts\.num_expert: 0 keeps none"):
        tiny(prompts={"near_duplicate_threshold": 1.0, "num_expert": 0})


@pytest.mark.parametrize(
    ("template", "answer", "warned"),
    [
        ("{{ '<think>' }}", "because", True),
        ("{{ '<think>' }}", "<think>hm</think>because", False),
        ("plain", "because", False),
    ],
)
def test_a_student_that_thinks_and_experts_that_do_not_are_named(tmp_path, caplog, template, answer, warned):
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"question": "q", "why": answer, "gold": "yes"}) + "\n")
    fields = {"text": "question", "reference": "why", "label": "gold"}
    recipe = tiny(source={**TABLE, "path": str(rows), "fields": fields}, task={"labels": ["yes", "no"]})
    steps = plan(recipe)
    student = next(step.settings for step in steps if step.name == "student")
    thinking = student.model_copy(update={"model": str(tmp_path / "student"), "scratch": None})
    warn_of_thinking([replace(step, settings=thinking) if step.name == "student" else step for step in steps])
    assert ("lets it think before it answers" in caplog.text) == warned
