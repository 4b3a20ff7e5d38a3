"""Answers turned into their opposite by a chat model, a server on loopback."""

import json
from dataclasses import replace

import pytest

from hasse.data.records import Message, Prompt
from hasse.stages.chat.money.budget import Account
from hasse.stages.chat.settings import VARIABLE
from hasse.stages.generate.groups import needs_model
from hasse.stages.generate.samplers.flipped import Settings, questions, sample
from hasse.stages.generate.samplers.transformers import Settings as Sampling
from hasse.stages.generate.samplers.transformers import sample as sample_here
from hasse.stages.generate.stage import GenerateSettings, sampling_units
from tests.stages.chat_server import Act, ChatServer, completion

LABELS = ("entailment", "neutral", "contradiction")


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("CHAT_KEY", "sk-live-0123456789abcdef")
    monkeypatch.delenv(VARIABLE, raising=False)


def prompt_of(text, reference):
    return Prompt(prompt_id=f"p-{text}", text=text, reference=reference, source="s", cluster_id=text, split="train")


def rewriter(asked):
    """Puts "not" before an explanation, and reads "contradiction" off it."""
    system = asked.body["messages"][0]["content"]
    explanation = asked.text.partition("Explanation:\n")[2]
    if system.startswith("You rewrite"):
        assert "label" not in explanation
        refused = completion(None, refusal="no") if "forbidden" in explanation else completion(f"Not {explanation}")
        return Act(body=refused)
    assert "entailment, neutral, contradiction" in system
    return Act(body=completion("Hm." if "odd" in explanation else " Contradiction."))


def test_the_whole_conversation_is_shown():
    turns = (Message(role="system", content="Be brief."), Message(role="user", content="Is Ann tall?"))
    asked = replace(prompt_of("Is Ann tall?", "Ann is tall.\nlabel: entailment"), messages=turns)
    settings = Settings(chat={"model": "m"}, labels=LABELS)  # type: ignore[arg-type]
    rewriting, prediction = questions([asked], settings)
    for planned in (rewriting, prediction):
        shown = str(planned.request.messages[-1]["content"])
        assert shown.startswith("Question:\nsystem: Be brief.\n\nuser: Is Ann tall?\n\nExplanation:")


def settings_for(server, **changes):
    chat = {"model": "m", "base_url": server.url, "api_key_variable": "CHAT_KEY"}
    return Settings(**{"chat": chat, "labels": LABELS, **changes})


def test_the_explanation_is_rewritten_and_the_label_read_off_it():
    prompts = [
        prompt_of("a", "Ann is tall.\nlabel: entailment"),
        prompt_of("b", "forbidden\nlabel: neutral"),
        prompt_of("c", "odd\nlabel: neutral"),
    ]
    with ChatServer(rewriter) as server:
        rows = list(sample(prompts, settings_for(server), None, payer=Account()))
        assert len(server.asked) == 5
        plain = list(sample(prompts[:1], settings_for(server, labels=()), None, payer=Account()))
    (flipped,), (refused,), (unread,) = rows
    assert (flipped.text, flipped.status) == ("Not Ann is tall.\nlabel: contradiction", "ok")
    assert (flipped.candidate_id, flipped.source, flipped.finish_reason) == ("flipped-0", "flipped", "stop")
    assert (refused.text, refused.status) == ("", "refused")
    assert (unread.status, unread.error) == ("unparsable", "the reply names no label: 'Hm.'")
    assert plain[0][0].text == "Not Ann is tall."


def test_answers_of_a_sampler_are_flipped_one_by_one(tiny_model, tiny_tokenizer):
    from hasse.stages.models.lazy import LoadedModel

    student = LoadedModel(tiny_model, tiny_tokenizer, "w", "t")
    of = {"sampler": "transformers", "num_samples": 3, "max_tokens": 6}
    prompts = [prompt_of("b c", None), prompt_of("b " * 200, None)]
    with ChatServer(rewriter) as server:
        settings = settings_for(server, of=of, labels=())
        rows = list(sample(prompts, settings, student, payer=Account()))
    assert needs_model(settings)
    assert settings.model == "student"
    assert not needs_model(settings_for(server))
    (base,) = sample_here(prompts[:1], Sampling(num_samples=3, max_tokens=6), student)
    texts = [c.text for c in base]
    assert any(texts)
    expected = [(f"Not {text.strip()}", "ok") if text.strip() else ("", "filtered") for text in texts]
    assert [(c.text, c.status) for c in rows[0]] == expected
    assert [c.status for c in rows[1]] == ["filtered"]
    assert "200 tokens" in rows[1][0].error


def test_what_is_flipped_is_part_of_the_key():
    with ChatServer() as server:
        group = settings_for(server)
    one, other = prompt_of("a", "x"), prompt_of("a", "y")
    first, second = sampling_units(GenerateSettings(groups=[group]), [one, other], {})
    assert first.key != second.key
    recipe = GenerateSettings.model_validate({"groups": [json.loads(group.model_dump_json())]})
    assert recipe.groups[0] == group
    assert recipe.num_candidates() == 1
    assert recipe.models() == set()
