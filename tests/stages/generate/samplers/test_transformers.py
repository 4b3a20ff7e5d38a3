import pytest
import torch

from hasse.data.records import Message, Prompt
from hasse.stages.generate.answers import row_seed, views_that_fit
from hasse.stages.generate.samplers import transformers as sampler
from hasse.stages.generate.samplers.transformers import Settings
from hasse.stages.models.lazy import LoadedModel
from hasse.stages.models.sample import generate, gumbel_noise
from hasse.stages.models.thinking import split_sample
from hasse.stages.scoring.batch import collate
from hasse.stages.scoring.score import sequence_logps
from tests.scripted_model import scripted


def sample_ids(model, tokenizer, prompts, seeds, **changes):
    settings = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 12, "batch_size": 64, **changes}
    return generate(model, tokenizer, prompts, seeds, **settings)


PROMPTS = [[1, 5, 6], [1, 7], [1, 8, 9, 10, 11], [1, 12, 13]]
SEEDS = [row_seed(0, str(i)) for i in range(4)]


def test_a_sample_does_not_depend_on_its_batch(tiny_model, tiny_tokenizer):
    together = sample_ids(tiny_model, tiny_tokenizer, PROMPTS, SEEDS)
    alone = [sample_ids(tiny_model, tiny_tokenizer, [p], [s])[0] for p, s in zip(PROMPTS, SEEDS, strict=True)]
    assert [s.token_ids for s in together] == [s.token_ids for s in alone]
    pairs = sample_ids(tiny_model, tiny_tokenizer, PROMPTS[::-1], SEEDS[::-1], batch_size=2)
    assert [s.token_ids for s in pairs[::-1]] == [s.token_ids for s in together]


def test_another_seed_gives_another_sample(tiny_model, tiny_tokenizer):
    samples = sample_ids(tiny_model, tiny_tokenizer, [PROMPTS[0]] * 20, [row_seed(1, str(i)) for i in range(20)])
    assert len({s.token_ids for s in samples}) > 10


def test_noise_is_gumbel_and_picks_tokens_by_their_probability():
    noise = gumbel_noise(torch.arange(20_000) * 7919, 3, 5)
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.02)
    assert noise.var().item() == pytest.approx(1.6449, abs=0.06)
    probabilities = torch.tensor([0.5, 0.25, 0.15, 0.07, 0.03])
    chosen = (probabilities.log() + noise).argmax(1)
    shares = torch.bincount(chosen, minlength=5) / len(chosen)
    torch.testing.assert_close(shares, probabilities, atol=0.015, rtol=0)
    correlation = torch.corrcoef(torch.stack([noise[:, 0], gumbel_noise(torch.arange(20_000) * 7919, 4, 5)[:, 0]]))
    assert abs(correlation[0, 1].item()) < 0.03


def test_kept_log_probs_are_those_of_the_training_stack(tiny_model, tiny_tokenizer, make_example):
    samples = sample_ids(tiny_model, tiny_tokenizer, PROMPTS, SEEDS, temperature=0.7)
    examples = [make_example(p, [s.token_ids]) for p, s in zip(PROMPTS, samples, strict=True)]
    recomputed = sequence_logps(tiny_model, collate(examples))
    assert [sum(s.logprobs) for s in samples] == pytest.approx(recomputed.sum_N.tolist(), abs=1e-4)


def test_greedy_takes_the_likeliest_token(tiny_model, tiny_tokenizer):
    (sampled,) = sample_ids(tiny_model, tiny_tokenizer, [PROMPTS[0]], [0], temperature=0.0, max_tokens=3)
    ids = list(PROMPTS[0])
    for token in sampled.token_ids:
        assert token == tiny_model(torch.tensor([ids])).logits[0, -1].argmax().item()
        ids.append(token)


def test_an_answer_ends_with_one_end_token_or_with_none_at_its_limit(tiny_model, tiny_tokenizer):
    samples = sample_ids(tiny_model, tiny_tokenizer, [PROMPTS[0]] * 200, [row_seed(2, str(i)) for i in range(200)])
    finished = [s for s in samples if s.finish_reason == "stop"]
    cut = [s for s in samples if s.finish_reason == "length"]
    assert finished
    assert cut
    assert all(s.token_ids[-1] == 2 and 2 not in s.token_ids[:-1] for s in finished)
    assert all(len(s.token_ids) == 12 and 2 not in s.token_ids for s in cut)
    assert all(len(s.logprobs) == len(s.token_ids) for s in samples)


def test_top_p_keeps_to_the_likeliest_tokens(tiny_model, tiny_tokenizer):
    seeds = [row_seed(3, str(i)) for i in range(300)]
    probabilities = tiny_model(torch.tensor([PROMPTS[0]])).logits[0, -1].softmax(-1)
    ranked = probabilities.argsort(descending=True)
    kept = set(ranked[: int((probabilities[ranked].cumsum(0) < 0.3).sum()) + 1].tolist())
    samples = sample_ids(tiny_model, tiny_tokenizer, [PROMPTS[0]] * 300, seeds, top_p=0.3, max_tokens=1)
    assert {s.token_ids[0] for s in samples} == kept


def prompt(prompt_id, text, variants=()):
    return Prompt(prompt_id=prompt_id, text=text, variants=variants, source="x", cluster_id=prompt_id, split="train")


def test_a_prompt_longer_than_the_context_is_a_row_with_a_status(tiny_model, tiny_tokenizer):
    student = LoadedModel(tiny_model, tiny_tokenizer, "w", "t")
    prompts = [prompt("a", "b c d"), prompt("b", "b " * 80), prompt("c", "e")]
    rows = list(sampler.sample(prompts, Settings(num_samples=2, max_tokens=8), student))
    assert [[c.status in ("ok", "truncated") for c in row] for row in rows] == [[True] * 2, [False], [True] * 2]
    assert rows[1][0].status == "filtered"
    assert "tokens; 56 fit beside 8 new ones" in (rows[1][0].error or "")
    assert [c.candidate_id for c in rows[2]] == ["student-0", "student-1"]


def test_variants_give_one_answer_each(tiny_model, tiny_tokenizer):
    student = LoadedModel(tiny_model, tiny_tokenizer, "w", "t")
    settings = Settings(num_samples=1, max_tokens=4, prompt="variants", name="document", temperature=0)
    (row,) = sampler.sample([prompt("a", "b c d", variants=("b", "c", "d"))], settings, student)
    assert [(c.candidate_id, c.source) for c in row] == [(f"document-{i}", "document") for i in range(3)]
    (alone,) = sample_ids(tiny_model, tiny_tokenizer, [tiny_tokenizer("c").input_ids], [0], temperature=0, max_tokens=4)
    assert row[1].token_ids == alone.token_ids


def test_a_template_stands_around_the_prompt_and_says_so(tiny_model, tiny_tokenizer):
    student = LoadedModel(tiny_model, tiny_tokenizer, "w", "t")
    inner, outer = (
        Prompt(prompt_id="p", text=text, source="s", cluster_id="c", split="train") for text in ("b c", "d b c e")
    )
    asked = {"num_samples": 2, "max_tokens": 6}
    (plain,) = sampler.sample([outer], Settings(**asked), student)
    (wrapped,) = sampler.sample([inner], Settings(**asked, template="d {prompt} e"), student)
    assert [c.token_ids for c in wrapped] == [c.token_ids for c in plain]
    assert [c.logprob_mode for c in (*plain, *wrapped)] == ["raw", "raw", "template", "template"]
    messages = (Message(role="user", content="f"), Message(role="user", content="b c"))
    several = Prompt(prompt_id="p", text="f b c", messages=messages, source="s", cluster_id="c", split="train")
    tiny_tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    fitting, _ = views_that_fit([several], Settings(template="d {prompt} e"), tiny_tokenizer, context=100)
    assert tiny_tokenizer.decode(fitting[0][2]) == "f d b c e"


@pytest.mark.parametrize("template", ["no place", "{prompt} twice {prompt}"])
def test_a_template_holds_the_prompt_once(template):
    with pytest.raises(ValueError, match=r"template must hold \{prompt\} once, found it [02] times"):
        Settings(template=template)


@pytest.mark.parametrize(
    ("reply", "text", "reasoning", "status"),
    [
        ("<think>maybe_42</think>41", "41", "maybe_42", "ok"),
        ("maybe_42</think>41", "41", "maybe_42", "ok"),
        ("<think>maybe_42", "", "maybe_42", "filtered"),
        ("41", "41", None, "ok"),
    ],
)
def test_thinking_is_kept_apart_from_the_answer_and_stays_in_the_tokens(reply, text, reasoning, status):
    model, tokenizer = scripted([reply])
    asked = Settings(num_samples=1, max_tokens=4)
    ((found,),) = sampler.sample([prompt("a", "So?")], asked, LoadedModel(model, tokenizer, "w", "t"))
    assert (found.text, found.reasoning, found.status) == (text, reasoning, status)
    assert tokenizer.decode(list(found.token_ids)) == f"{reply} </s>"
    assert len(found.logprobs) == len(found.token_ids) == 2


class Opening:
    """A tokenizer whose chat template ends by opening the thinking."""

    def decode(self, ids):
        return "<|im_start|>assistant\n<think>\n" if ids else ""


def test_a_template_that_opens_the_thinking_leaves_no_answer_before_it_is_closed():
    assert split_sample("maybe 42", [1, 2], Opening()) == ("", "maybe 42")
    assert split_sample("maybe 42</think>\n\n41", [1, 2], Opening()) == ("41", "maybe 42")
    assert split_sample("maybe 42", [], Opening()) == ("maybe 42", None)


@pytest.mark.parametrize(("limit", "status"), [(1, "truncated"), (2, "ok")])
def test_an_answer_has_its_own_limit_where_thinking_has_one(limit, status):
    """Reply and end are two tokens; without thinking, the room for thinking does not count."""
    model, tokenizer = scripted(["41"])
    asked = Settings(num_samples=1, max_tokens=limit, max_thinking_tokens=8)
    ((found,),) = sampler.sample([prompt("a", "So?")], asked, LoadedModel(model, tokenizer, "w", "t"))
    assert (found.text, found.status, len(found.token_ids), found.max_tokens) == ("41", status, limit, limit)


def test_thinking_over_its_limit_is_cut_off_and_named():
    model, tokenizer = scripted(["<think>maybe"], ends=False)
    asked = Settings(num_samples=1, max_tokens=4, max_thinking_tokens=3)
    ((found,),) = sampler.sample([prompt("a", "So?")], asked, LoadedModel(model, tokenizer, "w", "t"))
    assert (found.text, len(found.token_ids), found.finish_reason, found.status) == ("", 3, "length", "filtered")
    assert found.error == "max_thinking_tokens were used up before the answer began; raise max_thinking_tokens"
