"""The check of a GPU runs through on the CPU, so that it is ready when there is a card."""

import pytest

from tests.gpu import __main__ as gpu
from tests.gpu.table import Row, table


@pytest.fixture(autouse=True)
def without_cuda(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def test_without_a_card_there_is_nothing_to_check(capsys):
    assert gpu.main([]) == 2
    assert "nothing to check" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("check", gpu.CHECKS)
def test_a_rehearsal_finds_what_is_expected(check, capsys):
    assert gpu.main(["--size", "tiny", "--device", "cpu", "--only", check]) == 0
    printed = capsys.readouterr().out
    assert "CPU, as a rehearsal" in printed
    assert "yes" in printed
    assert "NO" not in printed


def test_a_check_that_fails_is_a_row_and_the_exit_code(monkeypatch, capsys):
    def exactness(machine):
        yield Row("first", "1", "1", True)
        yield Row("second", "1", "2", False)

    def attention(machine):
        raise RuntimeError("no kernel\nfor this card")
        yield

    monkeypatch.setattr("tests.gpu.layouts.exactness", exactness)
    monkeypatch.setattr("tests.gpu.layouts.attention", attention)
    how = ["--size", "tiny", "--device", "cpu"]
    assert gpu.main([*how, "--only", "exactness"]) == 1
    assert gpu.main([*how, "--only", "attention"]) == 1
    printed = capsys.readouterr().out
    assert "RuntimeError: no kernel " in printed
    assert printed.count(" NO\n") == 2


def test_what_was_not_tried_is_no_failure():
    printed = table([Row("two cards", "the same", "one card", None)])
    assert printed.splitlines()[-1] == "two cards  the same  one card  not tried"
