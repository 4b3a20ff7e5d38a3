"""`hasse new` writes plugs that work, with tests that pass and that notice a mistake."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from hasse.data.errors import InputError, RecipeError
from hasse.data.settings.registry import load_file
from hasse.flows.cli.new import KINDS, new


def write(*arguments):
    return CliRunner().invoke(new, [*map(str, arguments)], standalone_mode=False, catch_exceptions=False)


def run_pytest(folder):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_every_kind_of_plug_is_written_with_a_test_that_passes(tmp_path):
    for kind in KINDS:
        write(kind, f"my_{kind}", "--out", tmp_path / f"my_{kind}.py")
    found = run_pytest(tmp_path)
    assert found.returncode == 0, found.stdout
    method = tmp_path / "my_method.py"
    method.write_text(method.read_text().replace("/ batch.step.num_prompts", ""))
    found = run_pytest(tmp_path)
    assert "FAILED test_my_method.py::test_a_number_worked_out_by_hand" in found.stdout


def test_nothing_is_overwritten_and_names_are_checked(tmp_path):
    (tmp_path / "test_mine.py").touch()
    with pytest.raises(InputError, match=r"test_mine.py exists already"):
        write("method", "mine", "--out", tmp_path / "mine.py")
    assert not (tmp_path / "mine.py").exists()
    with pytest.raises(InputError, match="a plug has a name of lower-case letters"):
        write("method", "Mine", "--out", tmp_path / "mine.py")


def test_a_file_may_be_called_otherwise_than_its_plug(tmp_path):
    write("method", "mine", "--out", tmp_path / "below" / "loss.py")
    assert load_file(tmp_path / "below/loss.py").Settings().method == "mine"
    assert 'with_name("loss.py")' in (tmp_path / "below/test_loss.py").read_text()


def test_a_loaded_file_is_checked(tmp_path):
    write("method", "mine", "--out", tmp_path / "mine.py")
    text = (tmp_path / "mine.py").read_text()
    (tmp_path / "mine.py").write_text(text.replace("def prepare(example", "def prepar(example"))
    with pytest.raises(RecipeError, match=r"defines prepar; did you mean prepare\?"):
        load_file(tmp_path / "mine.py")
