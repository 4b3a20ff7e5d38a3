"""Under which keys judgements are kept: each part that decides one is in the key, and nothing else is."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from hasse.data.records import Candidate, Message, Prompt
from hasse.stages.grading import TaskSettings
from hasse.stages.judge.judge_rows import units_of
from hasse.stages.judge.teachers import openai, rule

PROMPT = Prompt(prompt_id="p", text="Is it?", cluster_id="c", source="s", split="train", label="yes")
CANDIDATE = Candidate(prompt_id="p", candidate_id="c-0", text="Yes.", source="student")
TASK = TaskSettings(labels=("yes", "no"))
CHAT = {"model": "m", "base_url": "http://127.0.0.1:1/v1", "prices": {"m": {"input": 0, "output": 0}}}


def teacher(**changes):
    return openai.Settings(**{"chat": CHAT, **changes})


def key(*, prompt=PROMPT, candidate=CANDIDATE, task=TASK, by=None, model=None, repeat=0):
    inputs = {
        "prompts": SimpleNamespace(records=lambda record, **_: iter([prompt])),
        "candidates": SimpleNamespace(records=lambda record, **_: iter([candidate])),
    }
    job = SimpleNamespace(settings=SimpleNamespace(task=task), input=inputs.get)
    (unit,) = units_of(job, by or teacher(), model, repeat=repeat, chosen=None)  # type: ignore[arg-type]
    return unit.key


@pytest.mark.parametrize(
    "changes",
    [
        {"task": TaskSettings(labels=("yes", "no", "maybe"))},
        {"by": rule.Settings()},
        {"by": teacher(seed=1)},
        {"by": teacher(chat={**CHAT, "model": "other"})},
        {"by": teacher(chat={**CHAT, "max_tokens": 7})},
        {"model": SimpleNamespace(identity={"weights": "w"})},
        {"repeat": 1},
        {"prompt": replace(PROMPT, text="Was it?")},
        {"prompt": replace(PROMPT, label="no")},
        {"prompt": replace(PROMPT, answers=("yes",))},
        {"prompt": replace(PROMPT, reference="Yes, it is.")},
        {
            "prompt": replace(
                PROMPT, messages=(Message(role="system", content="No."), Message(role="user", content="Is it?"))
            )
        },
        {"prompt": replace(PROMPT, instruction="Say yes or no.")},
        {"candidate": replace(CANDIDATE, text="No.")},
        {"candidate": replace(CANDIDATE, candidate_id="c-1")},
        {"candidate": replace(CANDIDATE, logprob_sum=-1.0)},
        {"candidate": replace(CANDIDATE, model_digest="d")},
    ],
    ids=str,
)
def test_each_part_that_decides_is_in_the_key(changes):
    assert key(**changes) != key()


def test_files_that_a_teacher_reads_are_in_the_key(tmp_path):
    template, found = tmp_path / "question.j2", []
    for text in ("One {{ prompt }}", "Two {{ prompt }}"):
        template.write_text(text)
        found.append(key(by=teacher(template=str(template))))
    assert found[0] != found[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"by": teacher(chat={**CHAT, "concurrency": 3})},
        {"by": teacher(chat={**CHAT, "max_retries": 1, "timeout": 9})},
        {"by": teacher(chunk_size=7)},
        {"prompt": replace(PROMPT, split="test", cluster_id="other")},
        {"candidate": replace(CANDIDATE, source="teacher")},
    ],
    ids=str,
)
def test_what_decides_nothing_asks_nobody_again(changes):
    assert key(**changes) == key()
