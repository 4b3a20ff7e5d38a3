import json

import pytest
from pydantic import ValidationError

from hasse.data.errors import SourceError
from hasse.data.settings import key_of
from hasse.stages.evaluate.benchmarks import BenchmarkItem, Score
from hasse.stages.evaluate.benchmarks.super_natural_instructions import Settings, external, items, score, summary

EXAMPLES = [{"input": f"in {n}", "output": f"out {n}", "explanation": "because"} for n in (1, 2, 3)]
INSTANCES = [
    {"id": "task1-a", "input": "first question", "output": ["yes", "indeed"]},
    {"input": "second question", "output": "no"},
]


def task(**changes):
    whole = {"Definition": ["Answer it."], "Positive Examples": EXAMPLES, "Instances": INSTANCES, "Categories": ["QA"]}
    return {key: value for key, value in (whole | changes).items() if value is not None}


def write(folder, name="task1", **changes):
    path = folder / f"{name}.json"
    path.write_text(json.dumps(task(**changes)), encoding="utf-8")
    return path


def asked(references, task="t", item_id="t/1"):
    return BenchmarkItem(item_id=item_id, task=task, text="?", data={"references": references})


def test_the_prompt_is_the_definition_the_examples_and_the_input(tmp_path):
    write(tmp_path)
    found = items(Settings(path=str(tmp_path), shots=2))
    assert found[0].text == (
        "Answer it.\n\nInput: in 1\nOutput: out 1\n\nInput: in 2\nOutput: out 2\n\nInput: first question\nOutput:"
    )
    assert [i.data["references"] for i in found] == [["yes", "indeed"], ["no"]]


def test_without_shots_no_example_is_shown_or_needed(tmp_path):
    write(tmp_path, **{"Positive Examples": None, "Definition": " Answer it.\n"})
    assert items(Settings(path=str(tmp_path), shots=0))[1].text == "Answer it.\n\nInput: second question\nOutput:"


def test_ids_are_of_the_instance_or_its_number_and_tasks_of_the_file(tmp_path):
    write(tmp_path, "task2")
    write(tmp_path, "task1")
    (tmp_path / "notes.txt").write_text("no task")
    found = items(Settings(path=str(tmp_path)))
    assert [i.item_id for i in found] == ["task1/task1-a", "task1/2", "task2/task1-a", "task2/2"]
    assert [i.task for i in found] == ["task1", "task1", "task2", "task2"]


def test_one_file_and_a_limit_per_task(tmp_path):
    path = write(tmp_path, "task1")
    write(tmp_path, "task2")
    assert [i.task for i in items(Settings(path=str(path)))] == ["task1", "task1"]
    assert [i.item_id for i in items(Settings(path=str(tmp_path), limit=1))] == ["task1/task1-a", "task2/task1-a"]


def test_the_files_bytes_and_not_their_place_are_the_identity(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        write(tmp_path / name)
    a, b = (Settings(path=str(tmp_path / name)) for name in "ab")
    assert external(a) == external(b)
    assert key_of(a) == key_of(b)
    assert external(a).keys() == {"task1.json"}
    write(tmp_path / "b", Definition="Another.")
    assert external(a) != external(b)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Definition": None}, r"task1\.json, field 'Definition'"),
        ({"Definition": []}, r"task1\.json, field 'Definition'"),
        ({"Definition": [" "]}, r"task1\.json, field 'Definition'"),
        ({"Instances": None}, r"task1\.json, field 'Instances'"),
        ({"Instances": []}, r"task1\.json, field 'Instances'"),
        ({"Instances": [*INSTANCES, {"input": "x"}]}, r"task1\.json, row 3, field 'output'"),
        ({"Instances": [{"input": "x", "output": []}]}, r"task1\.json, row 1, field 'output'"),
        ({"Instances": [{"input": "x", "output": ["a", 3]}]}, r"task1\.json, row 1, field 'output'"),
        ({"Instances": [{"output": "x"}]}, r"task1\.json, row 1, field 'input'"),
        ({"Instances": ["x"]}, r"task1\.json, row 1, field 'input'"),
        ({"Instances": [INSTANCES[0]] * 2}, r"task1\.json, row 2, field 'id'.*twice"),
        ({"Positive Examples": EXAMPLES[:1]}, r"task1\.json, field 'Positive Examples': has 1 examples.*shots: 2"),
        ({"Positive Examples": None}, r"task1\.json, field 'Positive Examples': has 0"),
        ({"Positive Examples": {"input": "x"}}, r"task1\.json, field 'Positive Examples'"),
        ({"Positive Examples": [EXAMPLES[0], {"input": "x"}]}, r"row 2, field 'Positive Examples\.output'"),
    ],
)
def test_a_task_of_another_shape_is_refused_by_its_place(tmp_path, changes, message):
    write(tmp_path, **changes)
    with pytest.raises(SourceError, match=message):
        items(Settings(path=str(tmp_path)))


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff"])
def test_a_file_that_is_no_json_object_is_refused(tmp_path, content):
    (tmp_path / "task1.json").write_bytes(content)
    with pytest.raises(SourceError, match=r"task1\.json: is not"):
        items(Settings(path=str(tmp_path)))


def test_no_files_at_all_is_refused(tmp_path):
    for asked_of in (items, external):
        with pytest.raises(SourceError, match=r"this folder holds no file \*.json"):
            asked_of(Settings(path=str(tmp_path)))


@pytest.mark.parametrize("settings", [{"shots": 1}, {"limit": 0}, {"max_tokens": 0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValidationError):
        Settings(path="x", **settings)


def test_rouge_is_stemmed_and_f1():
    """cat and run are shared: 2 of 4 words said, 2 of 3 words wanted."""
    found = score(asked(["a cat runs"]), "The cats are running!")
    assert found.value == pytest.approx(2 * (1 / 2) * (2 / 3) / (1 / 2 + 2 / 3))
    assert found.certain


def test_the_longest_common_subsequence_minds_the_order():
    assert score(asked(["one two six"]), "six two one").value == pytest.approx(1 / 3)


@pytest.mark.parametrize("references", [["nothing", "red house"], ["red house", "nothing"]])
def test_the_nearest_reference_counts(references):
    assert score(asked(references), "red house").value == 1.0


@pytest.mark.parametrize("text", ["", "blue", "!?"])
def test_an_answer_that_shares_nothing_scores_zero_and_is_certain(text):
    assert score(asked(["red house"]), text) == Score(value=0.0, certain=True, label=text)


def test_the_summary_is_the_mean_over_tasks_not_over_items():
    """Task a: 1, 0, 0, 1 exact and by ROUGE; task b: 2/3 by ROUGE (1 of 1 said, 1 of 2 wanted), not exact."""
    a = asked(["yes"], task="a")
    b = asked(["red house"], task="b")
    scored = [(a, score(a, text)) for text in ("Yes.", "no", "maybe", " yes ")] + [(b, score(b, "house"))]
    assert summary(scored) == pytest.approx(
        {"rouge-l a": 50.0, "rouge-l b": 200 / 3, "rouge-l": (50 + 200 / 3) / 2, "exact match": 25.0}
    )


@pytest.mark.parametrize(
    ("text", "reference", "exact"),
    [
        ("The  Dog!", "the dog", 100.0),
        ("dogs bark", "dog barks", 0.0),
        ("dog the", "the dog", 0.0),
        ("да", "Да ", 100.0),
        ("да", "нет", 0.0),
        ("", "+", 0.0),
    ],
)
def test_exact_match_is_by_words_without_stemming(text, reference, exact):
    item = asked(["something else", reference])
    assert summary([(item, score(item, text))])["exact match"] == exact


def test_no_items_have_no_summary():
    assert summary([]) == {}
