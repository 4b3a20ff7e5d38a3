"""What a run that a server started may touch."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from hasse.data.errors import InputError
from hasse.flows.recipe import places
from hasse.flows.recipe.recipe import Recipe, load_recipe
from hasse.flows.run.sweep import sweep
from hasse.flows.server.roots import check_roots
from hasse.flows.server.secrets import loaded_keys
from hasse.pipeline.settings_file import models_in
from hasse.pipeline.store import Store
from hasse.stages.evaluate.settings import EvaluateSection

ROOT = Path(__file__).parents[2]


@pytest.fixture
def inside(tmp_path, monkeypatch):
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "outside").mkdir()
    (folder / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "outside" / "a.jsonl").write_text("{}")
    (folder / "inner").mkdir()
    (folder / "inner" / "link").symlink_to(tmp_path / "outside")
    (folder / "inner" / "linked.jsonl").symlink_to(tmp_path / "outside" / "a.jsonl")
    (folder / "good").mkdir()
    (folder / "good" / "b.jsonl").write_text("{}")
    monkeypatch.setenv("HASSE_ROOTS", f"{folder},s3://bucket/runs")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    "text",
    [
        "prompts.jsonl",
        "a/../b",
        "s3://bucket/runs/store",
        "s3://bucket/runs/store?region=eu-west-1",
        "good",
        "good/*.jsonl",
        "$HOME/a.jsonl",
        "http://127.0.0.1:8000/v1",
        "org/model",
        "{prompt}\nIs it/../so?",
    ],
)
def test_what_lies_below_a_root_is_allowed(inside, text):
    check_roots({"source": [{"path": text}], "again": str(inside / "prompts.jsonl"), "limit": 3}, where="recipe")


@pytest.mark.parametrize(
    "text",
    [
        "/etc/passwd",
        "../outside/a.jsonl",
        "link/a.jsonl",
        "~/a.jsonl",
        "~nobody-of-that-name/a",
        "s3://bucket/runs-of-others",
        "s3://other/store",
        "s3://bucket/runs/store?region=x;scheme=http",
        "s3://bucket/runs/store?region=evil.com/",
        "zip::/etc/passwd",
        "simplecache::s3://evil/x",
        "file:///etc/passwd",
        "/" + "a" * 5000,
        "FILE:///etc/passwd",
        "file:/etc/passwd",
        "file://localhost/etc/passwd",
        "file:///%65tc/passwd",
        "s3://bucket/runs/x?endpoint_override=evil.example.com",
        "s3://bucket/runs/../other",
        "s3://bucket/runs/%2e%2e/other",
        "s3://bucket/runs/%252e%252e/other",
        "s3://bucket/runs/./../other",
        "s3://bucket\\@evil/runs",
        "s3://user:pw@bucket/runs/x",
        "s3://BUCKET.evil/runs/x",
        "s3://bucket/runs2",
        "gs://bucket/runs/x",
        "https://evil.example.com/data.jsonl",
        "inner/link/a.jsonl",
        "*/a.jsonl",
        "inner",
        "**/*.jsonl",
        "inner/linked.jsonl",
    ],
)
def test_what_leads_out_is_refused_by_its_field(inside, text):
    with pytest.raises(InputError, match=r"recipe\.source\.0\.path: .* lies outside .*HASSE_ROOTS"):
        check_roots({"source": [{"path": text}]}, where="recipe")


def test_no_code_trusts_code_that_comes_with_a_model():
    for folder in ("data", "pipeline", "stages", "flows"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not re.search(r"trust_remote_code['\"]?\s*[=:]\s*True", path.read_text()), path


def test_a_word_leads_somewhere_only_where_there_is_such_a_file(inside, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.jsonl").write_text("")
    check_roots({"name": "tiny", "description": "", "task": {"labels": ["yes", "no"]}}, where="recipe")
    for value in (".", "prompts.jsonl", Path("replies.sqlite")):
        with pytest.raises(InputError, match=r"recipe\.path: .* lies outside"):
            check_roots({"path": value}, where="recipe")


def named(field: str, value: str) -> dict:
    return {"judge": {"chat": {field: value}}}


ALLOWED = [
    ("base_url", "http://127.0.0.1:8000/v1"), ("base_url", "http://localhost/v1"), ("base_url", "http://[::1]:1/v1"),
    ("base_url", "https://models.example.com/v1"), ("base_url", "https://models.example.com/v1/deep"),
    ("api_key_variable", "OPENAI_API_KEY"), ("api_key_variable", "LISTED"), ("api_key_variable", "OF_A_BLOCK_KEY"),
    ("python", "/opt/vllm/bin/python"), ("address", "auto"), ("address", "127.0.0.1:6379"),
    ("address", "ray://head.example.com:10001"), ("tasks", "hellaswag"), ("tasks", "mmlu_pro-law"),
]  # fmt: skip

REFUSED = [
    ("base_url", "https://evil.example.com/v1", "HASSE_ENDPOINTS"),
    ("base_url", "https://models.example.com/v2", "HASSE_ENDPOINTS"),
    ("base_url", "https://models.example.com/v1/../../v2", "HASSE_ENDPOINTS"),
    ("base_url", "https://models.example.com/v1?to=evil", "HASSE_ENDPOINTS"),
    ("base_url", "https://models.example.com.evil.com/v1", "HASSE_ENDPOINTS"),
    ("base_url", "https://models.example.com@evil.com/v1", "HASSE_ENDPOINTS"),
    ("base_url", "http://models.example.com/v1", "HASSE_ENDPOINTS"),
    ("base_url", "http://127.0.0.1.evil.com/v1", "HASSE_ENDPOINTS"),
    ("base_url", "http://localhost@evil.com/v1", "HASSE_ENDPOINTS"),
    ("base_url", "http://169.254.169.254/latest", "HASSE_ENDPOINTS"),
    ("api_key_variable", "AWS_SECRET_ACCESS_KEY", "HASSE_KEYS"),
    ("api_key_variable", "PATH", "HASSE_KEYS"),
    ("api_key_variable", "LD_PRELOAD", "HASSE_KEYS"),
    ("api_key_variable", "PYTHONPATH", "HASSE_KEYS"),
    ("python", "bash", "HASSE_PROGRAMS"),
    ("python", "/bin/sh", "HASSE_PROGRAMS"),
    ("include_path", "tasks", "HASSE_PROGRAMS"),
    ("tasks", "mine.yaml", "HASSE_PROGRAMS"),
    ("tasks", "../tasks/mine", "HASSE_PROGRAMS"),
    ("tasks", "good", "HASSE_PROGRAMS"),
    ("address", "ray://evil.example.com:10001", "HASSE_ADDRESSES"),
    ("main_address", "10.0.0.1", "HASSE_ADDRESSES"),
]


@pytest.fixture
def owner(inside, monkeypatch):
    monkeypatch.setenv("HASSE_ENDPOINTS", "https://models.example.com/v1")
    monkeypatch.setenv("HASSE_KEYS", "LISTED")
    monkeypatch.setenv("HASSE_PROGRAMS", "/opt/vllm/bin/python")
    monkeypatch.setenv("HASSE_ADDRESSES", "ray://head.example.com:10001")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.delenv("OF_A_BLOCK_KEY", raising=False)


@pytest.mark.parametrize(("field", "value"), ALLOWED)
def test_what_the_owner_lists_is_allowed(owner, field, value):
    check_roots(named(field, value), where="recipe")


@pytest.mark.parametrize(("field", "value", "variable"), REFUSED)
def test_what_the_owner_does_not_list_is_refused_by_its_field(owner, field, value, variable):
    with pytest.raises(InputError, match=rf"recipe\.judge\.chat\.{field}: .*{variable}"):
        check_roots(named(field, value), where="recipe")


def test_a_key_that_came_from_a_block_is_no_secret_of_the_owner(owner, monkeypatch):
    monkeypatch.setenv("OF_A_BLOCK_KEY", "k")
    with pytest.raises(InputError, match="HASSE_KEYS"):
        check_roots(named("api_key_variable", "OF_A_BLOCK_KEY"), where="recipe")
    monkeypatch.setattr("hasse.flows.server.roots.loaded_keys", loaded_keys | {"OF_A_BLOCK_KEY"})
    check_roots(named("api_key_variable", "OF_A_BLOCK_KEY"), where="recipe")


def test_each_recipe_of_a_sweep_is_checked_before_the_first_runs(inside):
    ran = []

    def admit(one):
        check_roots(one.model_dump(), where="recipe")

    over = ("prompts.before=null,/etc/passwd",)
    with pytest.raises(InputError, match=r"recipe\.prompts\.before: '/etc/passwd' lies outside"):
        sweep(
            load_recipe("rescue-demo", []),
            Store(inside / "store"),
            ran.append,
            over=over,
            assignments=[],
            seeds=None,
            admit=admit,
        )
    assert ran == []


def text_fields(model: type[BaseModel], seen: set) -> set[str]:
    """Names of all fields that take text, in a settings model and those below it."""
    if model in seen:
        return set()
    seen.add(model)
    found: set[str] = set()
    for name, field in model.model_fields.items():
        kind = str(field.annotation)
        if re.search(r"\bstr\b|\bPath\b|\bAny\b", kind):
            found.add(name)
        for below in models_in(field.annotation):
            found |= text_fields(below, seen)
    return found


def test_every_field_that_takes_text_says_what_it_names():
    declared = [places.PATHS, places.PROGRAMS, places.NAMES_ALONE, places.ENDPOINTS, places.VARIABLES, places.ADDRESSES]
    known = frozenset().union(*declared, places.WORDS)
    assert sum(len(names) for names in (*declared, places.WORDS)) == len(known)
    found = text_fields(Recipe, set()) | text_fields(EvaluateSection, set())
    assert found - known == set(), "declare these in flows/recipe/places.py"
    assert known - found - {"store"} == set(), "no settings model has these any more"
