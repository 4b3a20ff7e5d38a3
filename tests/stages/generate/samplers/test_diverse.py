"""Sets of answers that differ from each other."""

import pytest

from hasse.data.records import Candidate, Prompt
from hasse.stages.generate.samplers import diverse


@pytest.mark.parametrize(
    ("texts", "passes", "highest"),
    [
        (["the cat sat on the mat", "the cat sat on a mat", "dogs run fast", "birds can fly"], False, 0.833333),
        (["a b c d e", "a b c d f", "x y z w v", "p q r s t"], False, 0.8),
        (["", "", "hello world", "good bye"], False, 1.0),
        (["?!", "?!", "?!"], False, 1.0),
        (["red apples", "blue skies", "green trees", "dark nights"], True, 0.0),
    ],
)
def test_which_sets_pass(texts, passes, highest):
    from itertools import combinations

    found, mean = diverse.overlap(texts, 0.8)
    assert found is passes
    pairs = [diverse.overlap(list(pair), 0.8)[1] for pair in combinations(texts, 2)]
    assert max(pairs) == pytest.approx(highest, abs=1e-6)
    assert mean == pytest.approx(sum(pairs) / len(pairs))


def prompts(number):
    return [Prompt(prompt_id=f"p{i}", text=f"{i}", source="s", cluster_id="c", split="train") for i in range(number)]


@pytest.fixture
def attempts(monkeypatch):
    """The sampler below gives these texts: attempt -> texts of every prompt; notes what it was asked."""
    asked = []

    def fake(given, settings, model):
        asked.append((round(settings.temperature, 3), settings.seed, [p.prompt_id for p in given]))
        for p in given:
            texts = SCRIPT[int(p.prompt_id[1:])][len(asked) - 1]
            yield [
                Candidate(prompt_id=p.prompt_id, candidate_id=f"student-{k}", text=text, source="student")
                for k, text in enumerate(texts)
            ]

    monkeypatch.setattr(diverse.transformers, "sample", fake)
    return asked


SAME, NEAR, GOOD = ["a b c", "a b c"], ["a b c d e", "a b c d f"], ["a b", "x y"]
SCRIPT = [[GOOD, SAME, SAME], [SAME, GOOD, SAME], [SAME, NEAR, SAME], [["", ""], SAME, NEAR]]


def test_a_passing_set_wins_and_ends_the_attempts(attempts):
    found = list(diverse.sample(prompts(4), diverse.Settings(num_samples=2), None))
    assert [[c.text for c in candidates] for candidates in found] == [GOOD, GOOD, NEAR, NEAR]
    assert attempts == [(1.0, 0, ["p0", "p1", "p2", "p3"]), (1.1, 1, ["p1", "p2", "p3"]), (1.2, 2, ["p2", "p3"])]


@pytest.mark.parametrize(
    ("texts", "mean"),
    [
        (("这是一个答案",) * 3, 1.0),
        (("Это мой ответ",) * 3, 1.0),
        (("यह मेरा उत्तर है",) * 3, 1.0),
        (("Это мой ответ", "Совсем другое дело"), 0.0),
        (("北京", "上海"), 0.0),
        (("running fast", "runs fast"), 1.0),
    ],
)
def test_words_of_any_script_overlap(texts, mean):
    assert diverse.overlap(texts, 0.8) == (mean < 0.8, pytest.approx(mean))
