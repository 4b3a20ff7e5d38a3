"""Which answers get feedback, who gives it, what is learned from it."""

from dataclasses import replace

import pytest

from hasse.data.errors import InputError
from hasse.data.parquet import write_records
from hasse.data.records import Candidate, Feedback, Judgement, Message, Prompt
from hasse.stages.examples.from_feedback import FeedbackExamplesSettings, answer_example, feedback_example
from hasse.stages.feedback.annotators import chat, rule
from hasse.stages.feedback.choice import by_people, choose
from hasse.stages.feedback.gates import gated
from hasse.stages.feedback.items import RIGHT, WRONG, AnnotationItem, names_answer
from hasse.stages.feedback.queue import queue
from hasse.stages.feedback.settings import FeedbackSettings, Gates
from hasse.stages.feedback.stage import key_parts
from hasse.stages.grading import TaskSettings
from hasse.stages.models.tokens import prompt_token_ids
from tests.stages.tokenizers import chatml

LABELS = TaskSettings(labels=("entailment", "neutral", "contradiction"))
QUESTIONS = TaskSettings(no_answer="unanswerable")


def prompt(number=0, **fields):
    given = {"text": f"premise {number}", "label": "neutral", "reference": "nobody said so.\nlabel: neutral", **fields}
    return Prompt(prompt_id=f"p{number:03}", source="s", cluster_id=f"p{number:03}", split="train", **given)


def item(number=0, correct=True, label="neutral", k=0, **fields):
    p = prompt(number, **fields)
    ids = {"prompt_id": p.prompt_id, "candidate_id": f"student-{k}"}
    return AnnotationItem(
        prompt=p,
        candidate=Candidate(**ids, text=f"label: {label}", source="student"),
        judgement=Judgement(**ids, teacher="rule", correct=correct, label=label),
    )


def settings(**fields):
    return FeedbackSettings(annotator={"annotator": "rule"}, **fields)


def items(right, wrong):
    return [item(i, i < right) for i in range(right + wrong)]


def test_right_and_wrong_answers_are_balanced():
    chosen = choose(items(30, 10), settings())
    assert len(chosen) == 20
    assert sum(bool(i.judgement.correct) for i in chosen) == 10
    assert chosen == sorted(chosen, key=lambda i: i.ids)
    assert len(choose(items(30, 10), settings(balance=False))) == 40


def test_the_number_of_items_is_kept_and_so_are_the_items():
    few, more = (choose(items(50, 50), settings(num_items=n)) for n in (10, 20))
    assert (len(few), len(more)) == (10, 20)
    assert {i.ids for i in few} < {i.ids for i in more}


def test_a_prompt_gives_so_many_answers_at_most():
    answers = [item(0, k % 2 == 0, k=k) for k in range(6)]
    assert len(choose(answers, settings(balance=False))) == 1
    assert len(choose(answers, settings(balance=False, per_prompt=4))) == 4


def test_nothing_to_annotate_is_an_error():
    with pytest.raises(InputError, match="balance: false"):
        choose(items(5, 0), settings())


def human(i, annotator="ann"):
    return Feedback(
        prompt_id=i.ids[0],
        candidate_id=i.ids[1],
        text="The answer is wrong. The right answer is neutral.",
        verdict=WRONG,
        annotator="human",
        annotator_id=annotator,
    )


@pytest.mark.parametrize(("share", "number"), [(0.0, 0), (0.25, 5), (0.5, 10), (1.0, 20)])
def test_the_share_of_people_changes_who_annotates_and_not_what(tmp_path, share, number):
    chosen = choose(items(10, 10), settings())
    path = tmp_path / "human.parquet"
    write_records(path, [human(i) for i in chosen], Feedback)
    found = by_people(chosen, settings(human=str(path), human_share=share))
    assert len(found) == number
    assert set(found) <= {i.ids for i in chosen}


def test_the_people_of_a_small_share_are_among_those_of_a_large_one(tmp_path):
    chosen = choose(items(20, 20), settings())
    path = tmp_path / "human.parquet"
    write_records(path, [human(i) for i in chosen], Feedback)
    small, large = (by_people(chosen, settings(human=str(path), human_share=share)) for share in (0.25, 0.75))
    assert set(small) < set(large)


def test_too_few_annotated_items_are_named(tmp_path):
    chosen = choose(items(10, 10), settings())
    path = tmp_path / "human.parquet"
    write_records(path, [human(i) for i in chosen[:3]], Feedback)
    with pytest.raises(InputError, match=r"human_share 0.5 of 20 items is 10, but .*human.parquet .* only 3"):
        by_people(chosen, settings(human=str(path), human_share=0.5))
    with pytest.raises(ValueError, match="set human"):
        settings(human_share=0.5)


def test_a_rule_says_the_verdict_the_reason_and_the_right_answer():
    right, wrong, silent = rule.annotate(
        [item(), item(1, False, "entailment"), item(2, False, None)], rule.Settings(), LABELS
    )
    assert (right.verdict, right.text) == (RIGHT, "The answer is right. nobody said so.")
    assert wrong.text == "The answer is wrong. nobody said so. The right answer is: neutral"
    assert silent.text == "The answer is wrong. It states no label. The right answer is: neutral"
    asked = replace(item(3, False, "Rome"), prompt=prompt(3, label=None, reference="unanswerable"))
    (no_answer,) = rule.annotate([asked], rule.Settings(), QUESTIONS)
    assert no_answer.text.endswith("The right answer is: unanswerable")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, None),
        ({"text": "No."}, "3 characters"),
        ({"text": "x" * 3000 + " neutral"}, "3008 characters"),
        ({"verdict": None}, "states no verdict"),
        ({"verdict": RIGHT}, "says right, the judge says wrong"),
        ({"text": "The answer is wrong, think again."}, "does not name the right answer"),
    ],
)
def test_what_does_not_pass_a_gate_is_kept_aside_with_the_reason(changes, problem):
    wrong = item(0, False, "entailment")
    found = gated(wrong, replace(human(wrong), **changes), Gates(), LABELS)
    assert found.status == ("filtered" if problem else "ok")
    assert problem is None or problem in (found.error or "")


def test_gates_can_be_opened():
    wrong = item(0, False, "entailment")
    open_gates = Gates(min_chars=0, verdict=False, names_answer=False)
    assert gated(wrong, replace(human(wrong), text="No.", verdict=None), open_gates, LABELS).status == "ok"


def test_a_short_answer_is_named_as_a_word_and_not_as_a_part_of_one():
    asked = prompt(label=None, answers=("5",))
    assert names_answer("The right answer is 5.", asked, QUESTIONS)
    assert not names_answer("It happened in 1956.", asked, QUESTIONS)


# What is learned


def told(text="b c d"):
    return Feedback(
        prompt_id="p000", candidate_id="student-0", text=text, verdict=RIGHT, annotator="rule", annotator_id="rule"
    )


def test_the_trained_segment_is_exactly_the_feedback_and_its_end(tiny_tokenizer):
    asked = prompt(text="e f g", context=None)
    how = FeedbackExamplesSettings(template="{prompt} h {answer} k", max_length=40)
    example, shortened = feedback_example(asked, "m n", told(), tiny_tokenizer, how)
    (completion,) = example.completions
    assert tiny_tokenizer.decode(list(completion.token_ids)) == "b c d </s>"
    assert tiny_tokenizer.decode(list(example.prompt_token_ids)).endswith("e f g h m n k")
    assert (completion.source, shortened) == ("feedback", False)


def test_no_gold_answer_stands_in_the_prompt(tiny_tokenizer):
    asked = prompt(text="e f g", label="x", reference="y", answers=("w",))
    how = FeedbackExamplesSettings(template="{prompt} h {answer} k", max_length=40)
    example, _ = feedback_example(asked, "m n", told(), tiny_tokenizer, how)
    words = set(tiny_tokenizer.decode(list(example.prompt_token_ids)).split())
    assert not words & {"w", "x", "y"}


def test_the_context_is_shortened_and_neither_answer_nor_feedback(tiny_tokenizer):
    asked = prompt(text="b b b b b b b b c d", context="b b b b b b b b")
    how = FeedbackExamplesSettings(template="{prompt} h {answer} k", max_length=14)
    example, shortened = feedback_example(asked, "m n", told(), tiny_tokenizer, how)
    assert (example.status, shortened) == ("ok", True)
    assert len(example.prompt_token_ids) + len(example.completions[0].token_ids) <= 14
    text = tiny_tokenizer.decode(list(example.prompt_token_ids))
    assert text.endswith("c d h m n k")
    assert text.count("b") >= 2


def test_a_context_without_spaces_loses_characters_and_not_everything():
    tokenizer = chatml()
    context = "北京是中华人民共和国的首都位于华北平原北部。" * 3
    asked = prompt(text=f"{context}\n哪里", context=context)
    how = FeedbackExamplesSettings(max_length=200)
    example, shortened = feedback_example(asked, "北京", told("对"), tokenizer, how)
    assert (example.status, shortened) == ("ok", True)
    text = tokenizer.decode(list(example.prompt_token_ids))
    assert "北京是" in text
    assert "哪里" in text
    assert len(example.prompt_token_ids) > 150


def test_what_still_does_not_fit_is_kept_aside(tiny_tokenizer):
    how = FeedbackExamplesSettings(template="{prompt} h {answer} k", max_length=8)
    example, _ = feedback_example(prompt(text="c d e f g", context=None), "m n", told(), tiny_tokenizer, how)
    assert (example.status, example.completions) == ("filtered", ())


def test_the_question_itself_is_answered_by_the_expert(tiny_tokenizer):
    example = answer_example(prompt(text="e f", reference="g h"), tiny_tokenizer, 40)
    assert example.completions[0].source == "human"
    assert tiny_tokenizer.decode(list(example.completions[0].token_ids)) == "g h </s>"


def test_a_template_without_the_answer_is_refused():
    with pytest.raises(ValueError, match=r"no \{answer\}"):
        FeedbackExamplesSettings(template="{prompt}")


# Conversations

TURNS = (
    Message(role="system", content="a b"),
    Message(role="user", content="c d"),
    Message(role="assistant", content="e"),
    Message(role="user", content="f g"),
)
WHOLE = "system: a b\n\nuser: c d\n\nassistant: e\n\nuser: f g"


def test_feedback_is_learned_behind_the_whole_conversation(tiny_tokenizer):
    asked = prompt(text="f g", messages=TURNS, context="c d")
    how = FeedbackExamplesSettings(template="{prompt} h {answer} k", max_length=60)
    example, shortened = feedback_example(asked, "j", told(), tiny_tokenizer, how)
    expected = how.template.format(prompt=WHOLE, answer="j")
    assert list(example.prompt_token_ids) == prompt_token_ids(tiny_tokenizer, expected)
    assert not shortened
    room = len(example.prompt_token_ids) + len(example.completions[0].token_ids) - 1
    shorter, shortened = feedback_example(
        asked, "j", told(), tiny_tokenizer, how.model_copy(update={"max_length": room})
    )
    assert shortened
    expected = how.template.format(prompt=WHOLE.replace("c d", "c"), answer="j")
    assert list(shorter.prompt_token_ids) == prompt_token_ids(tiny_tokenizer, expected)


def test_conversations_that_differ_in_an_earlier_turn_have_other_keys():
    one = item(text="f g", messages=TURNS)
    other = item(text="f g", messages=(TURNS[0], replace(TURNS[1], content="other"), *TURNS[2:]))
    assert key_parts(one, None) != key_parts(other, None)


def test_a_chat_annotator_and_the_queue_show_the_whole_conversation():
    asked = item(text="f g", messages=TURNS)
    how = chat.Settings(chat={"model": "m"})  # type: ignore[arg-type]
    (planned,) = chat.questions([asked], how, LABELS)
    assert f"The question:\n{WHOLE}\n\nThe right answer" in str(planned.request.messages[-1]["content"])
    (line,) = queue([asked], LABELS)
    assert line.prompt == WHOLE
