"""LMentry: every task's rule on right, wrong and unclear answers; the file's rows; the numbers by hand."""

import json
import os
import time
from pathlib import Path

import pytest

from hasse.data.errors import SourceError
from hasse.pipeline.fingerprint import file_digest
from hasse.stages.evaluate.benchmarks import BenchmarkItem, Score
from hasse.stages.evaluate.benchmarks.lmentry import TASKS, Settings, external, items, score, summary

DATA = {
    "all_words_from_category": {"category": "fruit", "num_distractors": 0, "num_words": 3},
    "any_words_from_category": {"category": "fruit", "num_distractors": 3, "num_words": 3},
    "bigger_number": {"n1": 42, "n2": 315, "answer": 315, "distractor": 42},
    "ends_with_letter": {"letter": "t"},
    "ends_with_word": {"word": "river"},
    "first_alphabetically": {"answer": "lamp", "distractor": "stone"},
    "first_letter": {"word": "garden", "answer": "g"},
    "first_word": {"sentence": "Mary sold her boat", "answer": "Mary"},
    "homophones": {"query": "hare", "answer": "hair", "distractor": "spoon"},
    "last_letter": {"word": "garden", "answer": "n"},
    "last_word": {"sentence": "Mary sold her boat", "answer": "boat"},
    "least_associated_word": {"category": "tools", "answer": "cloud", "distractors": ["hammer", "saw"]},
    "less_letters": {"answer": "fox", "distractor": "otter"},
    "more_letters": {"answer": "otter", "distractor": "fox"},
    "most_associated_word": {"category": "tools", "answer": "hammer", "distractors": ["cloud", "sheep"]},
    "rhyming_word": {"query": "stone", "answer": "bone", "distractor": "gone"},
    "sentence_containing": {"word": "river"},
    "sentence_not_containing": {"word": "river"},
    "smaller_number": {"n1": 42, "n2": 315, "answer": 42, "distractor": 315},
    "starts_with_letter": {"letter": "x"},
    "starts_with_word": {"word": "river"},
    "word_after": {"sentence": "Mary sold her boat", "query": "sold", "answer": "her"},
    "word_before": {"sentence": "Mary sold her boat", "query": "sold", "answer": "Mary"},
    "word_containing": {"letter": "m"},
    "word_not_containing": {"letter": "m"},
}

RIGHT = {
    "all_words_from_category": ["yes", "Yes.", "The answer is yes.", "Yes, all of the words are types of fruit."],
    "any_words_from_category": ["no", "No.", "NO", "Answer: no"],
    "bigger_number": [
        "315",
        '"315".',
        "three hundred and fifteen",
        "The bigger number is 315.",
        "42 is smaller than 315",
        "Of the numbers 42 and 315, 315 is larger.",
    ],
    "ends_with_letter": ["cat", '"Boat."', "hat, cat", "Cat ends with t", "How about coat"],
    "ends_with_word": ["We swam in the river.", 'They call it "River"'],
    "first_alphabetically": [
        "lamp",
        'The word "lamp".',
        '"Lamp" comes first alphabetically.',
        "lamp does",
        "Of the words lamp and stone, lamp comes first",
        "Stone comes after lamp in the dictionary",
    ],
    "first_letter": [
        "g",
        "G.",
        '"g"',
        'The first letter of the word "garden" is "g".',
        "Garden starts with the letter G",
    ],
    "first_word": [
        "Mary",
        "mary.",
        'The first word is "Mary".',
        'In the sentence "Mary sold her boat", the first word is "Mary"',
    ],
    "homophones": ["hair", '"Hair."', "Hare sounds like hair.", '"hair" and "hare" are homophones'],
    "last_letter": ["n", '"N".', "The last letter is n", "n is the final letter of garden"],
    "last_word": ["boat", '"Boat".', 'The last word of the sentence "Mary sold her boat" is boat.', "Last word: boat"],
    "least_associated_word": [
        "cloud",
        "“Cloud”.",
        'The word least associated with "tools" is "cloud".',
        'Of the words "hammer", "saw", and "cloud", the word least related to tools is cloud',
    ],
    "less_letters": [
        "fox",
        '"Fox".',
        "fox has fewer letters than otter",
        "Otter is longer.",
        "Fox is shorter by two letters",
    ],
    "more_letters": ["otter", "**Otter**", "The word otter has 2 more letters than fox.", "The longer word is otter"],
    "most_associated_word": [
        "hammer",
        "Hammer.",
        "tools - hammer",
        "The answer is hammer.",
        "Hammer relates to tools the most",
    ],
    "rhyming_word": ["bone", "'bone'.", "The word that rhymes with stone is bone.", "stone and bone rhyme"],
    "sentence_containing": ["We swam in the river.", '"River banks flood."', "The river"],
    "sentence_not_containing": ["We swam in the lake.", "A dog barks"],
    "smaller_number": ["42", "forty-two", "forty two", "The smaller number is 42.", "315 is bigger"],
    "starts_with_letter": ["x-ray", "Xylophone.", '"xenon"', "X is for xylophone", "One possible word is xylophone."],
    "starts_with_word": ["River banks flood in spring.", '"River water is cold."'],
    "word_after": [
        "her",
        '"Her".',
        "The word that comes right after sold is her.",
        "sold is followed by her",
        "Sold precedes her",
    ],
    "word_before": [
        "Mary",
        "'mary'",
        "The word that comes before sold is Mary",
        "Mary comes right before the word sold.",
    ],
    "word_containing": ["lamp", '"Moon".', "room is a word that contains m", "The answer is lamp"],
    "word_not_containing": [
        "stone",
        '"Cat".',
        "Cat does not contain m",
        "A word that does not use the letter m is dog.",
    ],
}

WRONG = {
    "all_words_from_category": ["no", "No.", ""],
    "any_words_from_category": ["yes", "Yes."],
    "bigger_number": ["42", '"42".', "7"],
    "ends_with_letter": ["dog", "A dog in my home", "!!!"],
    "ends_with_word": ["We swam in the lake.", "Rivers"],
    "first_alphabetically": ["stone", '"Stone".', "apple"],
    "first_letter": ["n", "The letter is d"],
    "first_word": ["sold", "The first word is boat"],
    "homophones": ["spoon", "hare"],
    "last_letter": ["g", '"g"'],
    "last_word": ["Mary", "her."],
    "least_associated_word": ["hammer", "The answer is saw"],
    "less_letters": ["otter", "Otter is shorter.", "fox has 3 fewer letters than otter"],
    "more_letters": ["fox", "The longer word is fox", "otter is longer than fox by four letters"],
    "most_associated_word": ["cloud", "sheep."],
    "rhyming_word": ["gone", '"gone".'],
    "sentence_containing": ["We swam in the lake.", "river", "Two rivers meet."],
    "sentence_not_containing": ["We swam in the river.", "River", "..."],
    "smaller_number": ["315", "315."],
    "starts_with_letter": ["apple", "An apple"],
    "starts_with_word": ["Lakes are deep.", "Rivers flood."],
    "word_after": ["Mary", "boat", "The answer is sold"],
    "word_before": ["her", "boat."],
    "word_containing": ["!"],
    "word_not_containing": ["lamp", 'Write a word without using the letter "k":'],
}

RIGHT_BUT_UNCERTAIN = {
    "all_words_from_category": ["Yes, since each of them grows on trees."],
    "any_words_from_category": ["No, these are animals"],
    "bigger_number": ["I compared them: the bigger number is 315, I think."],
    "ends_with_letter": ["Well, how about cat for a start?"],
    "first_alphabetically": ["I would say lamp comes first, since l is before s."],
    "first_letter": ["Spelled out, the first letter is g as in goat"],
    "last_word": ["Reading it twice, the last word is boat, clearly"],
    "more_letters": ["Counting them, otter has more letters than fox does"],
    "sentence_not_containing": ["Riverside homes flood."],
    "word_after": ["Let me see: sold is followed by her there."],
    "word_containing": ["I believe the answer is lamp, as in light"],
}

WRONG_AND_UNCERTAIN = {
    "all_words_from_category": ["No, a stone is not a fruit"],
    "bigger_number": ["42 and 315 are both numbers", "315 is not what I would pick over 42"],
    "ends_with_word": ["The river is where we swam."],
    "first_alphabetically": ["lamp or stone", "stone comes first, not lamp"],
    "first_word": ["It is not Mary"],
    "homophones": ["I guess hare sounds like hair, but who knows", "The answer is hair"],
    "most_associated_word": ["Not hammer"],
    "rhyming_word": ["bone or gone"],
    "sentence_not_containing": ["Lake"],
    "starts_with_word": ["We like the river."],
    "word_before": ["Mary sold it"],
    "word_containing": ["dog"],
    "word_not_containing": ["Some mice are my friends"],
}


def item(task, **data):
    return BenchmarkItem(
        item_id=f"{task}/1", task=task, text='Write a word without using the letter "m":\n', data=DATA[task] | data
    )


def cases(table):
    return [pytest.param(task, text, id=f"{task}: {text}") for task, texts in table.items() for text in texts]


def test_all_25_tasks_have_a_right_and_a_wrong_answer_here():
    assert len(TASKS) == 25
    assert set(TASKS) == set(DATA) == set(RIGHT) == set(WRONG)


@pytest.mark.parametrize(("task", "text"), cases(RIGHT))
def test_right_answers(task, text):
    read = score(item(task), text)
    assert (read.value, read.certain) == (1.0, True)


@pytest.mark.parametrize(("task", "text"), cases(WRONG))
def test_wrong_answers(task, text):
    read = score(item(task), text)
    assert (read.value, read.certain) == (0.0, True)


@pytest.mark.parametrize(("task", "text"), cases(RIGHT_BUT_UNCERTAIN))
def test_answers_found_in_free_text_are_right_but_not_certain(task, text):
    read = score(item(task), text)
    assert (read.value, read.certain) == (1.0, False)


@pytest.mark.parametrize(("task", "text"), cases(WRONG_AND_UNCERTAIN))
def test_what_no_rule_can_read_is_wrong_but_not_certain(task, text):
    read = score(item(task), text)
    assert (read.value, read.certain) == (0.0, False)


def test_categories_turn_round_with_the_distractors():
    assert score(item("all_words_from_category", num_distractors=1), "no").value == 1
    assert score(item("any_words_from_category", num_distractors=2), "Yes.").value == 1
    assert score(item("any_words_from_category", num_distractors=2), "no").value == 0


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (7, "seven"),
        (20, "twenty"),
        (600, "six hundred"),
        (608, "six hundred eight"),
        (1005, "one thousand and five"),
        (12340, "twelve thousand, three hundred and forty"),
    ],
)
def test_numbers_may_be_spelled(number, text):
    asked = item("bigger_number", n1=number, n2=1, answer=number, distractor=1)
    assert score(asked, f"The number {text}.") == Score(value=1.0, certain=True, label=str(number))


def test_label_is_the_right_answer_or_the_only_word():
    assert score(item("first_word"), 'The first word is "Mary".').label == "mary"
    assert score(item("first_alphabetically"), '"Stone".').label == "stone"
    assert score(item("starts_with_letter"), "Xylophone.").label == "xylophone"
    assert score(item("first_alphabetically"), "lamp or stone").label is None


def test_words_of_an_item_are_no_patterns():
    assert score(item("first_word", sentence="C++ (is) hard", answer="C"), "The first word is C").value == 1


def test_truncated_answers_end_at_the_first_stop():
    text = "lamp. Q: And of stone and river?\nA: river"
    assert score(item("first_alphabetically"), text).value == 0
    assert score(item("first_alphabetically", truncate=True), text) == Score(value=1.0, certain=True, label="lamp")


@pytest.mark.parametrize("task", TASKS)
def test_scoring_stays_quick_on_odd_answers(task):
    start = time.perf_counter()
    for part in (
        '"',
        ". ",
        "river ",
        "of the words cloud ",
        "the sentence a sentence that ends with river ",
        "m-",
        "3 ",
    ):
        score(item(task), part * (1500 // len(part)) + "!")
    assert time.perf_counter() - start < 5


def row(task="first_letter", number=1, **changes):
    known = {"task": task, "id": str(number), "input": "Q?\nA:", "metadata": json.dumps(DATA.get(task, {"word": "a"}))}
    return known | changes


def write(folder, rows):
    path = folder / "lmentry.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in [{"canary": "keep out of training"}, *rows]))
    return str(path)


def test_items_carry_metadata_and_skip_the_canary(tmp_path):
    path = write(tmp_path, [row(), row("word_after", 2, metadata=DATA["word_after"])])
    assert items(Settings(path=path)) == [
        BenchmarkItem(item_id="first_letter/1", task="first_letter", text="Q?\nA:", data=DATA["first_letter"]),
        BenchmarkItem(item_id="word_after/2", task="word_after", text="Q?\nA:", data=DATA["word_after"]),
    ]
    assert items(Settings(path=path, truncate=True))[0].data["truncate"] is True


def test_limit_counts_per_task(tmp_path):
    path = write(tmp_path, [row(task, n) for n in (1, 2, 3) for task in ("first_letter", "last_letter")])
    found = [i.item_id for i in items(Settings(path=path, limit=2))]
    assert found == ["first_letter/1", "last_letter/1", "first_letter/2", "last_letter/2"]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (row("tenth_letter"), r"lmentry.jsonl, row 3, field 'task': is not a task of LMentry: 'tenth_letter'"),
        (row(input=" "), r"row 3, field 'input': is missing or empty"),
        (row(id=None), r"row 3, field 'id': is missing or empty"),
        (row(metadata='{"word": "garden"}'), r"row 3, field 'metadata.answer': is missing or empty"),
        (row(metadata="{"), r"row 3, field 'metadata': is not JSON"),
        (row(metadata=None), r"row 3, field 'metadata': must be an object"),
    ],
)
def test_rows_that_cannot_be_read_name_file_row_and_field(tmp_path, broken, message):
    with pytest.raises(SourceError, match=message):
        items(Settings(path=write(tmp_path, [row(), broken])))


def test_external_is_the_digest_of_the_file(tmp_path):
    path = write(tmp_path, [row()])
    assert external(Settings(path=path)) == {"lmentry": file_digest(Path(path))}
    with pytest.raises(SourceError, match="no such file"):
        external(Settings(path=str(tmp_path / "none.jsonl")))


def given(task, value, certain=True, **data):
    return item(task, **data), Score(value=float(value), certain=certain)


def test_summary_by_hand():
    # more_letters: 3 of 4; by position 1 of 2 and 2 of 2; by template the same; difference 1: 1 of 2, 3 or more: 1 of 1
    # less_letters: 1 of 2; by position 1 of 1 and 0 of 1; one template; one subset
    # first_word: 1 of 1, uncertain
    scored = [
        given("more_letters", 1, answer_index=0, template_id=0, answer="four", distractor="six"),
        given("more_letters", 0, answer_index=0, template_id=0, answer="four", distractor="six"),
        given("more_letters", 1, answer_index=1, template_id=1, answer="seven", distractor="to"),
        given("more_letters", 1, answer_index=1, template_id=1, answer="seven", distractor="six"),
        given("less_letters", 1, answer_index=0, template_id=0, answer="six", distractor="four"),
        given("less_letters", 0, answer_index=1, template_id=0, answer="six", distractor="four"),
        given("first_word", 1, certain=False),
    ]
    assert summary(scored) == pytest.approx(
        {
            "accuracy more_letters": 75,
            "accuracy less_letters": 50,
            "accuracy first_word": 100,
            "accuracy": 75,
            "certainty": 200 / 3,
            "robustness argument order": (50 + 0) / 2,
            "robustness argument content": 50,
            "robustness template": 50,
            "robustness adjacent tasks": 75,
            "robustness": 50,
            "lmentry score": 37.5,
        }
    )


def test_summary_has_only_what_the_items_allow():
    assert summary([]) == {}
    one = summary([given("first_word", 1), given("first_word", 0)])
    assert one == {"accuracy first_word": 50, "accuracy": 50, "certainty": 100}
    two = summary([given("first_word", 1), given("last_word", 0)])
    assert two["robustness"] == two["robustness adjacent tasks"] == 0


@pytest.mark.parametrize(
    ("task", "subsets"),
    [
        (
            "first_alphabetically",
            [
                {"answer": "lamp", "distractor": "lion"},
                {"answer": "lamp", "distractor": "moon"},
                {"answer": "lamp", "distractor": "stone"},
                {"answer": "ant", "distractor": "stone"},
            ],
        ),
        ("all_words_from_category", [{"num_distractors": n} for n in (0, 1, 2)]),
        ("any_words_from_category", [{"num_distractors": n} for n in (5, 4, 3)]),
        ("rhyming_word", [{"query": "stone", "answer": "bone"}, {"query": "stone", "answer": "known"}]),
        ("more_letters", [{"answer": "four", "distractor": "six"}, {"answer": "seventh", "distractor": "six"}]),
        ("less_letters", [{"answer": "six", "distractor": "four"}, {"answer": "six", "distractor": "seventh"}]),
    ],
)
def test_argument_content_tells_subsets_apart(task, subsets):
    for lost in range(len(subsets)):
        scored = [given(task, n != lost, **data) for n, data in enumerate(subsets) for _ in range(2)]
        assert summary(scored)["robustness argument content"] == 0


def test_a_difference_of_two_letters_is_in_no_subset():
    scored = [
        given("more_letters", 1, answer="four", distractor="six"),
        given("more_letters", 0, answer="seven", distractor="six"),
        given("more_letters", 1, answer="seventh", distractor="six"),
    ]
    assert summary(scored)["robustness argument content"] == 100


@pytest.mark.skipif("HASSE_TEST_DATA" not in os.environ, reason="HASSE_TEST_DATA names no folder")
def test_the_real_file():
    found = items(Settings(path=str(Path(os.environ["HASSE_TEST_DATA"]) / "lmentry_sample.jsonl")))
    assert {i.task for i in found} == set(TASKS)
    assert all(sum(i.task == task for i in found) == 30 for task in TASKS)
    golden = [i for i in found if "answer" in i.data]
    assert golden
    for i in golden:
        for text in ("{}", '"{}".', "{}\n"):
            assert score(i, text.format(i.data["answer"])) == Score(
                value=1.0, certain=True, label=str(i.data["answer"]).lower()
            )
