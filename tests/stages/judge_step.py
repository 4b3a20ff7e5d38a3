"""The judge stage alone, on made-up prompts, with a chat model's replies to it.

`python -m tests.stages.judge_step STORE URL PROMPTS [BUDGET]` judges in a process of its own, which a test may kill.
"""

import json
import re
import sys
from dataclasses import replace

from hasse.data.records import Candidate, Judgement, Prompt
from hasse.data.settings import Config
from hasse.pipeline import run as running
from hasse.pipeline.stage import Stage, Step
from hasse.pipeline.store import Store
from hasse.stages.chat import one_by_one as chat_questions
from hasse.stages.feedback import stage as feedback
from hasse.stages.grading import TaskSettings
from hasse.stages.judge import stage as judge
from hasse.stages.judge import traits as teacher_traits
from hasse.stages.judge.teachers import openai

NUM_CANDIDATES = 4
TASK = TaskSettings(labels=("yes", "no"))
PRICES = {"m": {"input": 1, "output": 1000}}
STUBBORN = {"concurrency": 16, "max_retries": 12, "timeout": 2, "max_tokens": 20}


class GivenSettings(Config):
    num_prompts: int


def _write_judged(job):
    """One answer each, found right."""
    names = _write_prompts(job)
    ids = [{"prompt_id": p, "candidate_id": "c0"} for p in names]
    job.write([Candidate(**i, text=f"Of {i['prompt_id']}.", source="student") for i in ids], Candidate)
    job.write([Judgement(**i, teacher="rule", label="yes", correct=True) for i in ids], Judgement)


def _write_given(job):
    names = _write_prompts(job)
    job.write(
        (
            Candidate(prompt_id=p, candidate_id=f"c{k}", text=f"{k} of {p}", source="student")
            for p in names
            for k in range(NUM_CANDIDATES)
        ),
        Candidate,
    )


def _write_prompts(job):
    names = [f"p{i:04}" for i in range(job.settings.num_prompts)]
    common = {"source": "s", "split": "train", "label": "yes"}
    job.write([Prompt(prompt_id=p, text=f"Is {p} so?", cluster_id=p, **common) for p in names], Prompt)
    return names


def judged(num_prompts):
    """The same prompts with a candidate c0, found right."""
    stage = Stage(
        name="judged",
        run=_write_judged,
    )
    return Step(name="judged", stage=stage, settings=GivenSettings(num_prompts=num_prompts))


def given(num_prompts):
    """Prompts p0000, p0001, ... with candidates c0 to c3."""
    stage = Stage(
        name="given",
        run=_write_given,
    )
    return Step(name="given", stage=stage, settings=GivenSettings(num_prompts=num_prompts))


def judging(url, *, chunk_size=500, pairwise="never", prices=PRICES, **chat):
    """The step that judges them."""
    chat = {"model": "m", "base_url": url, "api_key_variable": "CHAT_KEY", "prices": prices, **STUBBORN, **chat}
    teacher = openai.Settings(chat=chat, chunk_size=chunk_size, pairwise=pairwise)
    settings = judge.JudgeSettings(teacher=teacher, task=TASK)
    return Step(
        name="judge",
        stage=replace(judge.STAGE, estimate=judge.estimate),
        settings=settings,
        inputs={"prompts": ("given",), "candidates": ("given",)},
        external=judge.external(settings),
        plugs=teacher_traits.plugs(teacher),
    )


def annotating(url, *, budget_usd=None, **settings):
    """The step that gives feedback on them."""
    chat = {"model": "m", "base_url": url, "api_key_variable": "CHAT_KEY", "prices": PRICES, "budget_usd": budget_usd}
    section = feedback.FeedbackSettings(annotator={"annotator": "chat", "chat": {**chat, **STUBBORN}}, **settings)
    inputs = feedback.FeedbackInputs(feedback=section, task=TASK)
    return Step(
        name="feedback",
        stage=replace(feedback.STAGE, estimate=feedback.estimate),
        settings=inputs,
        inputs=dict.fromkeys(("prompts", "candidates", "judgements"), ("judged",)),
        external=feedback.external(section),
    )


def say(question):
    """As a judge that gives an answer the digit it starts with, plus one; of two, it finds the first better."""
    if "Which of two" in question:
        return json.dumps({"verdict": "A"})
    shown = re.findall(r"\[Answer (\w+)\]\n([0-8]?)", question)
    aspects = ("correctness", "helpfulness", "clarity")
    entries = [{"tag": tag, "scores": dict.fromkeys(aspects, int(number or 4) + 1)} for tag, number in shown]
    return json.dumps({"candidates": entries})


def quick():
    """Short pauses before a retry."""
    chat_questions.FIRST_PAUSE, chat_questions.LONGEST_PAUSE = 0.02, 0.1


def performed(store, num_prompts, step, *, refresh=False):
    """The judge's `Done`, in that store."""
    made = running.perform(store, given(num_prompts), {}, progress=_silent).artifact
    return running.perform(store, step, {"given": made}, progress=_silent, refresh=refresh)


def _silent(done, total):
    pass


if __name__ == "__main__":
    quick()
    folder, url, number, *budget = sys.argv[1:]
    caps = {"budget_usd": float(budget[0])} if budget else {}
    performed(Store(folder), int(number), judging(url, **caps))
