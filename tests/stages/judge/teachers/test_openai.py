"""Listwise scoring by a chat model, against a real server on loopback."""

import json

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from hasse.data.errors import InputError, SourceError
from hasse.data.records import Candidate, Message, PairVerdict, Presentation, Prompt
from hasse.stages.chat.money.budget import Account
from hasse.stages.grading import TaskSettings
from hasse.stages.judge.audit import audit
from hasse.stages.judge.list_questions import presentation_orders
from hasse.stages.judge.teachers import openai

TASK = TaskSettings(labels=("yes", "no"))
ONE_ASPECT = ({"name": "quality", "description": "How good it is."},)


def item(*texts, prompt_id="p", label="yes"):
    prompt = Prompt(prompt_id=prompt_id, text="Is it so?", label=label, source="s", cluster_id=prompt_id, split="train")
    return prompt, [
        Candidate(prompt_id=prompt_id, candidate_id=f"student-{i}", text=text, source="student")
        for i, text in enumerate(texts)
    ]


def scores(**by_tag):
    """The reply that gives each tag these scores."""
    entries = [{"tag": name, "scores": given, "rationale": f"{name} is so."} for name, given in by_tag.items()]
    return json.dumps({"candidates": entries})


def judged(items, chat, **settings):
    made = openai.Settings(chat=chat.settings, **settings)
    found = list(openai.judge(items, made, TASK, None, payer=Account()))
    assert [[j.candidate_id for j in row] for row in found] == [[c.candidate_id for c in cs] for _, cs in items]
    return found


def by_number(shown, lead=0.0):
    """Scores each answer by the number it starts with, and the first shown by `lead` more."""

    def answer(question):
        given = {name: float(text.split()[0]) for name, text in shown(question).items()}
        return scores(**{n: {"quality": v + (lead if n == "A" else 0)} for n, v in given.items()})

    return answer


def test_totals_are_weighted_means_and_ids_are_never_shown(chat, shown):
    def answer(question):
        right = {"correctness": 9, "helpfulness": 6, "clarity": 4}
        wrong = {"correctness": 1, "helpfulness": 2, "clarity": 8.5}
        found = {name: right if "yes" in text else wrong for name, text in shown(question).items()}
        return f"Here you are:\n```json\n{scores(**found)}\n```\nThat is all."

    chat.answer = answer
    (first, second), (other,) = judged(
        [item("so\nlabel: yes", "not so\nlabel: no"), item("well", prompt_id="q")], chat, orders=1
    )
    assert (first.total, second.total) == pytest.approx((7.0, 3.125))  # (2 * 9 + 6 + 4) / 4, (2 * 1 + 2 + 8.5) / 4
    assert [(a.name, a.score) for a in first.aspects] == [("correctness", 9), ("helpfulness", 6), ("clarity", 4)]
    assert (first.label, first.correct, second.correct, other.label) == ("yes", True, False, None)
    assert (first.status, first.teacher) == ("ok", "openai")
    assert first.rationale.endswith("is so.")
    assert sorted(first.presentation_order) == ["student-0", "student-1"]
    assert not any("student-" in question for question in chat.questions)


def test_two_orders_cancel_a_preference_for_the_first_place_and_keep_what_each_gave(chat, shown):
    chat.answer = by_number(shown, lead=2)
    ((first, second),) = judged([item("5 one", "4 two")], chat, aspects=ONE_ASPECT)
    assert (first.total, second.total) == (6.0, 5.0)
    at = {p.slot: p.total for p in first.presentations}
    assert (at, {p.slot: p.total for p in second.presentations}) == ({1: 7.0, 2: 5.0}, {1: 6.0, 2: 4.0})
    assert first.presentation_order[first.presentations[0].slot - 1] == "student-0"
    start, end = (question.index("[Answer A]") for question in chat.questions)
    assert chat.questions[0][:start] == chat.questions[1][:end]  # what an endpoint can cache


def test_a_list_may_be_put_in_order_instead_with_ties_and_abstentions(chat, shown):
    def answer(question):
        assert "- quality (weight 2): How good it is." in question
        assert "(weight 1)" not in question
        tag = {text: name for name, text in shown(question).items()}
        order = [tag["best"], [tag["middling"], tag["so so"]], [tag["worst"]]]
        return json.dumps({"rationale": "So.", "ranking": order, "abstained": [tag["odd"]]})

    chat.answer = answer
    aspects = [{**ONE_ASPECT[0], "weight": 2}, {"name": "other", "description": "x"}]
    texts = ("worst", "middling", "best", "odd", "so so")
    found, (alone,) = judged([item(*texts), item("alone", prompt_id="q")], chat, mode="ranking", aspects=aspects)
    assert [j.total for j in found] == [1, 5.5, 10, None, 5.5]
    assert {j.status for j in found} == {"ok"}
    assert (found[0].aspects, found[0].rationale) == ((), "So.")
    assert {p.total for p in found[1].presentations} == {5.5}
    assert (alone.total, alone.status, alone.presentations) == (None, "ok", ())  # it leaves nobody behind
    assert len(chat.questions) == 2


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ({"ranking": ["A"]}, "missing: B"),
        ({"ranking": [["A", "B"], ["A"]]}, "given twice: A"),
        ({"ranking": ["A", "B"], "abstained": ["B"]}, "given twice: B"),
        ({"ranking": ["A", "B", "C"]}, "unknown: C"),
        ({"ranking": "A > B"}, "must be lists"),
        ({"order": ["A", "B"]}, "no JSON object with 'ranking'"),
    ],
)
def test_an_order_that_is_not_whole_is_unparsable(chat, reply, error):
    chat.answer = lambda question: json.dumps(reply)
    ((first, _),) = judged([item("5", "4")], chat, mode="ranking", orders=1)
    assert (first.status, first.total) == ("unparsable", None)
    assert error in first.error


def test_a_judge_may_abstain_from_an_answer_and_has_no_total_for_it_then(chat, shown):
    def answer(question):
        tags = {text: name for name, text in shown(question).items()}
        given = {tags["5"]: {"quality": 5}, tags["4"]: {"quality": 4}, tags["odd"]: None}
        if tags["4"] == "A":
            given["A"] = None
        entries = {name: {"rationale": "So.", "scores": mark} for name, mark in given.items()}
        return json.dumps({"candidates": entries})

    chat.answer = answer
    item_ = next(i for i in (item("5", "4", "odd", prompt_id=f"p{n}") for n in range(99)) if in_both_orders(i, "4"))
    ((good, half, odd),) = judged([item_], chat, aspects=ONE_ASPECT, pairwise="disagreements")
    assert [(j.total, j.status) for j in (good, half, odd)] == [(5.0, "ok"), (None, "ok"), (None, "ok")]
    assert sorted(str(p.total) for p in half.presentations) == ["4.0", "None"]  # once it was shown first
    assert (good.aspects[0].score, half.aspects, odd.aspects) == (5.0, (), ())
    found = audit([((good, half, odd), {j.candidate_id: 1 for j in (good, half, odd)})])
    assert found["abstained"] == pytest.approx(2 / 3)


def in_both_orders(item_, text):
    """Whether the answer is shown first in one of the orders and not in the other."""
    prompt, candidates = item_
    first, second = presentation_orders(prompt.prompt_id, candidates, num_orders=2, seed=0)
    return (first[0].text == text) != (second[0].text == text)


def test_replies_are_held_to_a_schema_that_fits_the_aspects_and_the_number_of_answers(chat, shown):
    chat.answer = by_number(shown)
    judged([item("5", "4"), item("3", "2", "1", prompt_id="q")], chat, aspects=ONE_ASPECT, orders=1)
    schemas = [body["response_format"]["json_schema"]["schema"] for body in chat.bodies]
    tags = [schema["properties"]["candidates"]["required"] for schema in schemas]
    assert sorted(tags) == [["A", "B"], ["A", "B", "C"]]
    scores_, null = schemas[0]["$defs"]["answer"]["properties"]["scores"]["anyOf"]
    assert scores_["properties"] == {"quality": {"type": "number", "minimum": 1, "maximum": 10}}
    assert null == {"type": "null"}


def test_a_server_that_knows_no_schema_is_told_apart_and_can_be_asked_for_text(chat, shown):
    usual = by_number(shown)
    chat.answer = lambda question: "malformed" if "response_format" in chat.bodies[-1] else usual(question)
    with pytest.raises(InputError, match=r"\(400\): .*set structured: text.*what is that\?"):
        judged([item("5")], chat, aspects=ONE_ASPECT)
    ((only,),) = judged([item("5")], chat, aspects=ONE_ASPECT, structured="text")
    assert only.total == 5.0


def test_a_repeated_question_is_asked_of_the_server_and_not_of_the_cache(chat, shown, tmp_path):
    chat.answer = by_number(shown)
    chat.settings["cache"] = tmp_path / "replies.sqlite"
    settings = openai.Settings(chat=chat.settings, aspects=ONE_ASPECT)
    for repeat, num_asked in ((0, 2), (0, 2), (1, 4), (1, 4), (2, 6)):
        list(openai.judge([item("5", "4")], settings, TASK, None, payer=Account(), repeat=repeat))
        assert len(chat.questions) == num_asked
    assert len(set(chat.questions)) == 2


def test_an_unusable_reply_is_asked_for_once_more_with_what_was_wrong(chat, shown):
    def answer(question):
        return by_number(shown)(question) if "could not be used" in question else scores(A={"quality": 11})

    chat.answer = answer
    ((only,),) = judged([item("5")], chat, aspects=ONE_ASPECT)
    assert (only.total, only.status, only.presentations) == (5.0, "ok", (Presentation(slot=1, total=5.0, num_asks=2),))
    first, second = chat.questions
    assert second.startswith(first)
    assert "candidate A: the score 11 of 'quality' is not from 1 to 10" in second


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ("I like A.", "no JSON object with 'candidates'"),
        ('{"candidates": [{"tag": "A", "scores": {"quality": 3}}', "no JSON object with 'candidates'"),
        ('{"candidates": "A"}', "neither an object of objects nor a list"),
        (scores(A={"quality": 3}), "missing: B"),
        (scores(A={"quality": 3}, B={"quality": 3}, C={"quality": 3}), "unknown: C"),
        ('{"candidates": [{"tag": "A"}, {"tag": "A"}, {"tag": "B"}]}', "given twice: A"),
        (scores(A={"quality": 3}, B={}), "candidate B: the score of 'quality' is None"),
        (scores(A={"quality": "3"}, B={"quality": 3}), "candidate A: the score of 'quality' is '3'"),
        (scores(A={"quality": True}, B={"quality": 3}), "a number is needed"),
        (scores(A={"quality": 0.5}, B={"quality": 3}), "the score 0.5 of 'quality' is not from 1 to 10"),
        (scores(A={"quality": float("nan")}, B={"quality": 3}), "not from 1 to 10"),
        (scores(A={"quality": 3, "style": 3}, B={"quality": 3}), "unknown aspects: style"),
        (scores(A=3, B={"quality": 3}), "candidate A has no object 'scores', nor null"),
    ],
)
def test_what_stays_unusable_is_unparsable_and_never_guessed(chat, reply, error):
    chat.answer = lambda question: reply
    ((first, second),) = judged([item("5", "4")], chat, aspects=ONE_ASPECT, orders=1)
    assert (first.status, first.total, second.status, first.aspects) == ("unparsable", None, "unparsable", ())
    assert error in first.error
    assert len(chat.questions) == 2


@pytest.mark.parametrize(("said", "status"), [("refuse", "refused"), ("cut", "truncated"), ("busy", "failed")])
def test_a_reply_that_did_not_come_is_passed_on_and_asked_no_second_time(chat, said, status, shown):
    def answer(question):
        return said if shown(question)["A"] == "9" else usual(question)

    usual = by_number(shown)
    chat.answer = answer
    (bad, good) = judged([item("9", "4"), item("3", "4", prompt_id="q")], chat, aspects=ONE_ASPECT)
    assert {(j.status, j.total, j.aspects) for j in bad} == {(status, None, ())}
    assert sorted(p.total is None for p in bad[0].presentations) == [False, True]  # the other order is kept
    assert [j.total for j in good] == [3.0, 4.0]
    assert len(chat.questions) == 4


def test_pairs_that_the_orders_turn_over_are_asked_and_the_totals_respect_the_verdict(chat, shown):
    listed = by_number(shown, lead=2)

    def answer(question):
        if "Which of two" not in question:
            return listed(question)
        a, b = shown(question).values()
        return json.dumps({"verdict": "tie" if "same" in a + b else "A" if int(a[0]) < int(b[0]) else "B"})

    chat.answer = answer
    settings = {"aspects": ONE_ASPECT, "pairwise": "disagreements"}
    near, same, far = judged(
        [item("5", "4"), item("5 same", "4 same", prompt_id="q"), item("8", "2", prompt_id="r")], chat, **settings
    )
    assert (near[0].total, near[1].total) == pytest.approx((5.495, 5.505))  # means 6 and 5, verdict for the second
    assert near[0].verdicts == (PairVerdict(other="student-1", verdict="lose"),)
    assert near[1].verdicts == (PairVerdict(other="student-0", verdict="win"),)
    assert same[0].total == same[1].total == 5.5
    assert (far[0].total, far[1].total, far[0].verdicts) == (9.0, 3.0, ())
    assert len(chat.questions) == 10  # 3 prompts in 2 orders, 2 pairs in 2 orders
    found = audit((row, {"student-0": 1, "student-1": 1}) for row in (near, same, far))
    assert (found["calls"], found["calls_of_all_pairs"], found["overruled"]) == (10, 6, 0)
    assert (found["reversed"], found["first_slot_preference"]) == (pytest.approx(2 / 3), 2.0)


def test_scores_that_only_rounding_tells_apart_are_tied(chat):
    aspects = [{"name": n, "description": n, "weight": w} for n, w in (("x", 0.1), ("y", 0.2), ("z", 0.3))]
    given = {"A": {"x": 3, "y": 6, "z": 5}, "B": {"x": 10, "y": 4, "z": 4}}  # 0.3 + 1.2 + 1.5 and 1 + 0.8 + 1.2
    chat.answer = lambda question: scores(**given)
    ((first, second),) = judged([item("5", "4")], chat, aspects=aspects)
    assert first.total == second.total == 5.0


def test_pairs_without_a_verdict_keep_their_means(chat, shown):
    listed = by_number(shown, lead=2)
    chat.answer = lambda question: "Hm." if "Which of two" in question else listed(question)
    ((first, second),) = judged([item("5", "4")], chat, aspects=ONE_ASPECT, pairwise="disagreements")
    assert (first.total, second.total, first.verdicts[0].verdict) == (6.0, 5.0, "unparsable")
    assert len(chat.questions) == 4


def test_a_template_of_ones_own_decides_the_question_and_enters_the_key(chat, shown, tmp_path):
    path = tmp_path / "mine.j2"
    answer = "[Answer {{ c.tag }}]\n{{ c.text }}\n[End of answer {{ c.tag }}]"
    path.write_text(f"{{{{ question }}}} {{% for c in candidates %}}{answer}{{% endfor %}}")
    chat.answer = by_number(shown)
    prompt, candidates = item("5")
    turns = (Message(role="user", content="Hello"), Message(role="user", content="Is it so?"))
    talk = Prompt(prompt_id="p", text="Is it so?", messages=turns, source="s", cluster_id="p", split="train")
    judged([(talk, candidates)], chat, aspects=ONE_ASPECT, template=str(path))
    assert chat.questions == ["user: Hello\n\nuser: Is it so? [Answer A]\n5\n[End of answer A]"]
    before = openai.external(openai.Settings(chat=chat.settings, template=str(path)))
    path.write_text("{{ questoin }}")
    settings = openai.Settings(chat=chat.settings, template=str(path))
    assert openai.external(settings) != before
    with pytest.raises(SourceError, match=r"mine\.j2.*'questoin' is undefined"):
        list(openai.judge([(prompt, candidates)], settings, TASK, None, payer=Account()))
    path.unlink()
    with pytest.raises(SourceError, match="no such file"):
        openai.external(settings)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"orders": 1, "pairwise": "disagreements"}, "set orders: 2"),
        ({"aspects": ONE_ASPECT * 2}, "not all different"),
        ({"scale": (5, 5)}, "worst score must be below"),
    ],
)
def test_settings_that_cannot_be_honoured_are_refused(wrong, message):
    with pytest.raises(ValidationError, match=message):
        openai.Settings(chat={"model": "judge"}, **wrong)


@pytest.mark.parametrize("apart", [True, False], ids=["reasoning_content", "inline"])
def test_a_thinking_judges_reasoning_is_kept_and_no_score_is_read_from_it(chat, shown, apart):
    """The thinking holds scores of its own, which the judge takes back."""

    def answer(question):
        given = {name: {"quality": float(text.split()[0])} for name, text in shown(question).items()}
        thought = "At first: " + scores(**{name: {"quality": 10 - mark["quality"]} for name, mark in given.items()})
        said = scores(**given)
        return (said, thought) if apart else f"<think>{thought}</think>\n{said}"

    chat.answer = answer
    ((first, second),) = judged([item("5 one", "4 two")], chat, aspects=ONE_ASPECT, orders=1)
    assert (first.total, second.total) == (5.0, 4.0)
    assert first.reasoning.startswith("At first: {")
    assert second.reasoning == first.reasoning
    assert first.rationale == f"{'A' if first.presentations[0].slot == 1 else 'B'} is so."


def test_the_second_question_quotes_the_judges_reply_without_its_thinking(chat, shown):
    chat.answer = lambda question: (
        "<think>" + "hm " * 50 + "</think>No scores."
        if len(chat.questions) < 2
        else (scores(**{name: {"quality": 5} for name in shown(question)}))
    )
    ((only,),) = judged([item("5 one")], chat, aspects=ONE_ASPECT)
    assert (only.total, only.presentations[0].num_asks) == (5.0, 2)
    assert "No scores." in chat.questions[1]
    assert "hm hm" not in chat.questions[1]


OPEN_ASPECTS, CLOSED_ASPECTS = ("relevance", "level of detail", "accuracy"), ("accuracy", "level of detail", "clarity")


def contextual(shown, question, kind="open", **changes):
    """A reply that gives each answer its first number on every aspect, and finds no duplicates."""
    aspects = OPEN_ASPECTS if kind == "open" else CLOSED_ASPECTS
    entries = {
        name: {"rationale": "So.", "duplicate_of": None, "scores": dict.fromkeys(aspects, float(text.split()[0]))}
        for name, text in shown(question).items()
    }
    for name, text in shown(question).items():
        entries[name] |= changes.get(text.split()[1], {})
    return {"kind": kind, "own_answer": "Mine.", "candidates": entries}


def test_the_contextual_question_sums_three_aspects_and_drops_what_says_the_same(chat, shown):
    """Which of two equal answers is named as the duplicate may differ between the two orders."""

    def answer(question):
        tags = {text.split()[1]: name for name, text in shown(question).items()}
        twin, original = sorted(("one", "uno"), key=lambda word: tags[word], reverse=True)
        found = {twin: {"duplicate_of": tags[original], "scores": None}}
        reply = contextual(shown, question, **found)
        Draft202012Validator(chat.bodies[-1]["response_format"]["json_schema"]["schema"]).validate(reply)
        return json.dumps(reply)

    chat.answer = answer
    ((one, two, uno),) = judged([item("4 one", "3.5 two", "4 uno")], chat, mode="contextual")
    assert [(a.name, a.score) for a in one.aspects] == [(name, 4.0) for name in OPEN_ASPECTS]
    assert (one.total, two.total, uno.total) == (12.0, 10.5, None)
    assert (one.status, uno.status, uno.error) == ("ok", "duplicate", "it says the same as student-0")
    assert "own_answer" in chat.questions[0]


def test_a_duplicate_that_one_order_does_not_see_is_kept(chat, shown):
    def answer(question):
        first = next(iter(shown(question).values()))
        found = {"uno": {"duplicate_of": "B"}} if first == "4 uno" else {}
        return json.dumps(contextual(shown, question, kind="closed", **found))

    chat.answer = answer
    ((one, uno),) = judged([item("2 one", "4 uno")], chat, mode="contextual")
    assert (one.status, uno.status) == ("ok", "ok")
    assert (one.total, uno.total) == (6.0, 9.0)  # uno: 2 on each aspect in one order, 4 in the other
    assert [a.name for a in one.aspects] == list(CLOSED_ASPECTS)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"kind": "half"}, "the kind is 'half'; it must be open or closed"),
        ({"kind": "closed"}, "scores of unknown aspects: relevance"),
        ({"one": {"duplicate_of": "Q"}}, "is a duplicate of 'Q'; it must be A, B, or null"),
        ({"one": {"scores": dict.fromkeys(OPEN_ASPECTS, 6)}}, "is not from 0 to 5"),
    ],
)
def test_a_contextual_reply_that_is_not_what_was_asked_for_is_refused(chat, shown, change, problem):
    def answer(question):
        by_text = {name: value for name, value in change.items() if name != "kind"}
        return json.dumps(contextual(shown, question, **by_text) | {"kind": change.get("kind", "open")})

    chat.answer = answer
    ((one, _),) = judged([item("4 one", "3 two")], chat, mode="contextual", orders=1)
    assert one.status == "unparsable"
    assert problem in one.error


@pytest.mark.parametrize("given", [{"aspects": ONE_ASPECT}, {"scale": (0, 5)}, {"pairwise": "disagreements"}])
def test_the_contextual_question_has_its_own_aspects_and_scale(chat, given):
    with pytest.raises(ValidationError, match="mode: contextual has aspects and a scale of its own"):
        openai.Settings(chat=chat.settings, mode="contextual", **given)
