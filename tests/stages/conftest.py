"""Small things that several tests of the stages need."""

import pytest

from hasse.data.records import Completion, PairIndex, TrainingExample


def _make_example(prompt, completions, *, pairs=(), target=None, sources=None, levels=None, prompt_id="p"):
    """A training example of token ids; sources default to one human answer followed by the student's."""
    sources = sources or ["human", *["student"] * (len(completions) - 1)]
    levels = levels or [None] * len(completions)
    return TrainingExample(
        prompt_id=prompt_id,
        cluster_id=prompt_id,
        prompt_token_ids=tuple(prompt),
        completions=tuple(
            Completion(candidate_id=f"c-{i}", token_ids=tuple(ids), source=source, level=level)
            for i, (ids, source, level) in enumerate(zip(completions, sources, levels, strict=True))
        ),
        pairs=tuple(PairIndex(above=a, below=b, margin=m) for a, b, m in ((*p, 0.0)[:3] for p in pairs)),
        target=target,
    )


@pytest.fixture
def make_example():
    return _make_example


@pytest.fixture
def tiny_model():
    """A random two-layer Llama of 32 tokens, float32, in evaluation mode."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture
def tiny_tokenizer():
    """One token a letter, for `tiny_model`: <pad> 0, <s> 1, </s> 2, then b, c, d, ..."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<s>", "</s>", "<unk>", *(chr(i) for i in range(ord("b"), ord("z"))), *"12345"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
