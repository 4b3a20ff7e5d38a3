"""What a run that a server started may touch."""

import re
from pathlib import Path

import pytest

from data.errors import InputError
from flows.roots import check_roots

ROOT = Path(__file__).parents[2]


@pytest.fixture
def inside(tmp_path, monkeypatch):
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "outside").mkdir()
    (folder / "link").symlink_to(tmp_path / "outside")
    monkeypatch.setenv("HASSE_ROOTS", f"{folder},s3://bucket/runs")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    "text",
    [
        "prompts.jsonl",
        "a/../b",
        "s3://bucket/runs/store",
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
        "file:///etc/passwd",
        "/" + "a" * 5000,
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
