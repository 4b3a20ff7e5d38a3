"""The teacher's score of an answer: its own log-probs where it sampled it, a forward pass where it did not."""

from types import SimpleNamespace

import pytest

from hasse.data.records import Candidate, Prompt
from hasse.stages.generate.samplers import transformers
from hasse.stages.grading import TaskSettings
from hasse.stages.judge.teachers import logprob
from hasse.stages.models.lazy import LoadedModel

PROMPT = Prompt(prompt_id="p", text="b c d", source="s", cluster_id="p", split="train")


def test_scores_worked_on_paper():
    given = [(-12, 20), (-30, 80), (-6, 5), (-18, 40)]
    found = [logprob.score(s, n, 1.3) for s, n in given]
    assert found == pytest.approx([-0.244254318922, -0.100717345643, -0.740440635264, -0.148797116899], abs=1e-11)
    assert sorted(range(4), key=lambda i: -found[i]) == [1, 3, 0, 2]


@pytest.fixture
def teacher(tiny_model, tiny_tokenizer):
    loaded = LoadedModel(tiny_model, tiny_tokenizer, "weights", "tokenizer")
    return SimpleNamespace(loaded=loaded, checkpoint=loaded, tokenizer=tiny_tokenizer, context=64)


def totals(candidates, teacher, **settings):
    (found,) = logprob.judge([(PROMPT, candidates)], logprob.Settings(**settings), TaskSettings(), teacher)
    assert [j.candidate_id for j in found] == [c.candidate_id for c in candidates]
    return [j.total for j in found]


def test_its_own_samples_and_a_forward_pass_agree(teacher):
    settings = transformers.Settings(num_samples=3, temperature=1.0, max_tokens=6, model="teacher")
    (sampled,) = transformers.sample([PROMPT], settings, teacher.loaded)
    finished = [c for c in sampled if c.token_ids]
    kept = totals(finished, teacher)
    again = totals(finished, teacher, rescore=True)
    as_sampled = [logprob.score(c.logprob_sum, len(c.token_ids), 1.3) for c in finished]
    assert kept == pytest.approx(as_sampled)
    same_text = [
        i
        for i, c in enumerate(finished)
        if tuple(teacher.tokenizer(c.text, add_special_tokens=False).input_ids) == c.token_ids[: len(c.token_ids) - 1]
        and c.finish_reason == "stop"
    ]
    for i in same_text:
        assert again[i] == pytest.approx(kept[i], abs=1e-4)


def test_given_text_is_scored_and_the_exponent_counts(teacher):
    texts = [
        Candidate(prompt_id="p", candidate_id=f"g{i}", text=t, source="student") for i, t in enumerate(["b", "b c d e"])
    ]
    one, half = totals(texts, teacher, length_exponent=1.0), totals(texts, teacher, length_exponent=0.5)
    assert half == pytest.approx([one[0] * 2**0.5, one[1] * 5**0.5])  # 2 and 5 tokens, their ends included
    assert all(value < 0 for value in one)


def test_what_does_not_fit_is_filtered_and_not_guessed(teacher):
    long = Candidate(prompt_id="p", candidate_id="long", text="b " * 100, source="student")
    (found,) = logprob.judge([(PROMPT, [long])], logprob.Settings(), TaskSettings(), teacher)
    assert (found[0].status, found[0].total) == ("filtered", None)
