"""How a question is put: instruction, demonstrations and template, for training and for held-out prompts."""

import pytest

from hasse.data.errors import SourceError
from hasse.data.parquet import read_records
from hasse.data.records import HELD_OUT, Message, Prompt
from hasse.data.rendering import asked_text, asked_turns, prompt_as_text
from hasse.flows.plan.steps import plan
from hasse.flows.recipe.recipe import load_recipe
from hasse.pipeline.stage import Job
from hasse.pipeline.store import Store
from hasse.stages.models.tokens import asked_token_ids
from hasse.stages.prompts import stage as prompts
from hasse.stages.prompts.question import Asker, HeldOutQuestion, QuestionSettings
from tests.stages.tokenizers import llama

SHOWN = ({"prompt": "1 + 1", "answer": "2"}, {"prompt": "2 + 3", "answer": "5"})


def prompt(text="4 + 4", **fields):
    return Prompt(**{"prompt_id": "p", "source": "s", "cluster_id": "p", "split": "train", **fields, "text": text})


def asked(given=None, **settings):
    return Asker(QuestionSettings(**settings)).ask(given or prompt())


def contents(found):
    return [turn.content for turn in asked_turns(found)]


def test_models_read_the_demonstrations_and_judges_do_not():
    found = asked(instruction="Add.", demonstrations=SHOWN)
    assert contents(found) == ["Add.\n\n1 + 1", "2", "2 + 3", "5", "4 + 4"]
    assert [turn.role for turn in asked_turns(found)] == ["user", "assistant", "user", "assistant", "user"]
    assert prompt_as_text(found) == "Add.\n\n4 + 4"
    assert found.text == "4 + 4"


def test_without_a_chat_template_demonstrations_are_text_that_ends_where_the_answer_begins():
    found = asked(instruction="Add.", demonstrations=SHOWN)
    text = "Add.\n\n1 + 1\n2\n\n2 + 3\n5\n\n4 + 4\n"
    assert asked_text(found) == text
    chat, plain = llama(), llama()
    plain.chat_template = None
    assert asked_token_ids(plain, found) == plain(text).input_ids
    turns = str(chat.decode(asked_token_ids(chat, found))).split("<|eot_id|>")[1:-1]
    assert [turn.rpartition("\n")[2] for turn in turns] == ["1 + 1", "2", "2 + 3", "5", "4 + 4"]


def test_a_prompt_that_is_asked_as_it_is_has_the_tokens_of_its_text():
    tokenizer = llama()
    tokenizer.chat_template = None
    assert asked_token_ids(tokenizer, asked()) == tokenizer("4 + 4").input_ids


def test_of_a_conversation_the_system_turn_stays_first():
    turns = tuple(Message(role=role, content=role[0]) for role in ("system", "user", "assistant", "user"))
    given = prompt("u", messages=turns)
    assert contents(asked(given, instruction="I")) == ["s", "I\n\nu", "a", "u"]
    assert contents(asked(given, instruction="I", demonstrations=SHOWN[:1])) == ["s", "I\n\n1 + 1", "2", "u", "a", "u"]
    with pytest.raises(SourceError, match="prompt p is a conversation"):
        asked(given, template="{{ question }}!")


def test_a_template_takes_over_what_it_names():
    everything = (
        "{{ instruction }}|{% for d in demonstrations %}{{ d.prompt }}={{ d.answer }};{% endfor %}{{ question }}="
    )
    found = asked(instruction="Add.", demonstrations=SHOWN, template=everything)
    assert contents(found) == ["Add.|1 + 1=2;2 + 3=5;4 + 4="]
    found = asked(instruction="Add.", demonstrations=SHOWN[:1], template="{{ context }}Q: {{ question }}")
    assert contents(found) == ["Add.\n\nQ: 1 + 1", "2", "Q: 4 + 4"]
    found = asked(prompt(context="c ", variants=("one", "two")), template="{{ context }}Q: {{ question }}")
    assert (found.text, found.variants) == ("c Q: 4 + 4", ("c Q: one", "c Q: two"))


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{{ question }} {{ label }}", "unknown name 'label'"),
        ("no question", "does not name the question"),
        ("{{ question", "cannot be used as a template"),
    ],
)
def test_a_template_without_the_question_or_with_unknown_names_is_refused(template, problem):
    with pytest.raises(ValueError, match=problem):
        QuestionSettings(template=template)


def test_a_template_may_not_leave_its_sandbox():
    with pytest.raises(SourceError, match="what a template may not do"):
        asked(template="{{ question.__class__ }}")


def test_a_demonstration_given_by_hand_is_no_held_out_prompt_and_is_not_shown_to_itself():
    assert contents(asked(prompt("2  + 3"), demonstrations=SHOWN)) == ["1 + 1", "2", "2  + 3"]
    for split in HELD_OUT:
        with pytest.raises(SourceError, match=f"is the prompt p of the split {split}"):
            asked(prompt("2 + 3", split=split), demonstrations=SHOWN)


def test_what_evaluation_leaves_out_is_as_in_training():
    task = QuestionSettings(instruction="Add.", demonstrations=3, template="Q: {{ question }}")
    assert HeldOutQuestion(demonstrations=0).over(task) == task.model_copy(update={"demonstrations": 0})
    assert HeldOutQuestion(instruction="").over(task).instruction == ""


LABELS = ("entailment", "neutral", "contradiction")
RECIPE = {
    "name": "r",
    "source": {"kind": "entailment", "num_pretrain": 6, "num_train": 30, "num_validation": 6, "num_test": 6},
    "task": {"labels": LABELS, "demonstrations": 3},
    "prompts": {"num_expert": 12},
    "student": {"scratch": {}},
    "generate": {"groups": [{"sampler": "dataset"}]},
    "judge": {"teacher": "rule"},
    "order": {"strategy": "lp"},
}


def made(tmp_path, *changes):
    """The prompts of the recipe, by the stage itself."""
    step = next(step for step in plan(load_recipe(RECIPE, changes)) if step.name == "prompts")
    store = Store(tmp_path / "store")
    job = Job("prompts", step.settings, {}, tmp_path, store, progress=lambda *_: None, code="0" * 24)
    prompts.run(job)
    return list(read_records(tmp_path / "prompt.parquet", Prompt))


def test_demonstrations_are_drawn_from_training_with_each_label_and_the_same_every_time(tmp_path):
    found = made(tmp_path)
    training = {p.text: p for p in found if p.split == "train"}
    held_out = [p for p in found if p.split in HELD_OUT]
    (shown,) = {p.demonstrations for p in held_out}
    questions, answers = shown[::2], shown[1::2]
    drawn = [training[turn.content] for turn in questions]
    assert [turn.content for turn in answers] == [p.reference for p in drawn]
    assert {p.label for p in drawn} == set(LABELS)
    for p in drawn:
        assert p.status == "ok"
        assert p.demonstrations == tuple(m for i, m in enumerate(shown) if questions[i // 2].content != p.text)
    assert made(tmp_path) == found


def test_held_out_prompts_are_asked_otherwise_on_purpose_and_the_digests_of_training_stay(tmp_path):
    found = made(tmp_path)
    before = prompts.identity(tmp_path)
    other = made(tmp_path, "evaluate.question.instruction=Tell.", "evaluate.question.demonstrations=0")
    after = prompts.identity(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {"content", "part:validation", "part:test"}
    assert {(p.instruction, p.demonstrations) for p in other if p.split in HELD_OUT} == {("Tell.", ())}
    assert [p for p in other if p.split == "train"] == [p for p in found if p.split == "train"]


def test_too_few_answers_to_draw_from(tmp_path):
    with pytest.raises(SourceError, match="13 demonstrations are wanted, but 12 training prompts"):
        made(tmp_path, "task.demonstrations=13")


def questions_of(source, *changes, **sections):
    recipe = {**RECIPE, "source": source, "task": {}, "student": {"model": "m"}, **sections}
    return load_recipe(recipe, changes).questions()


def test_a_source_that_asks_no_question_has_an_instruction_of_its_own():
    esnli, _ = questions_of({"kind": "esnli", "path": "x.parquet"})
    assert "label: neutral" in (esnli.instruction or "")
    squad, _ = questions_of({"kind": "squad", "path": "x.json", "no_answer": "no idea"})
    assert (squad.instruction or "").endswith("reply: no idea")
    assert questions_of({"kind": "multidoc", "path": "x.parquet"})[0].instruction
    assert (
        questions_of({"kind": "jsonl", "path": "x", "fields": {"reference": "r", "answers": "a"}})[0].instruction == ""
    )
    assert questions_of({"kind": "esnli", "path": "x.parquet"}, "task.instruction=''")[0].instruction == ""
    scratch, _ = questions_of({"kind": "entailment"}, student={"scratch": {}})
    assert scratch.instruction is None
