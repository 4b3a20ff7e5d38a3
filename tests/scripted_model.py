"""A real causal language model that says certain words and nothing else, for tests of what is made of its replies."""

from hasse.data.records import Candidate, Prompt

TEMPLATE = "{{ messages[0]['content'] }} <answer>"


def scripted(replies, *, ends=True):
    """(model, tokenizer): after any prompt, one of the replies, all equally likely, and then the end, or never.

    Nothing but the last token counts: each layer adds nothing, so its one-hot embedding reaches the last layer, which
    maps it to what comes next. A reply is one token, so it has no spaces; the tokenizer knows no other word.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer(replies)
    size = len(tokenizer)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=size + size % 2,
        intermediate_size=4,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(torch.eye(size, config.hidden_size))
        model.model.layers[0].self_attn.o_proj.weight.zero_()
        model.model.layers[0].mlp.down_proj.weight.zero_()
        model.lm_head.weight.zero_()
        words = tokenizer.get_vocab()
        for said in (words[text] if text else 2 for text in replies):
            model.lm_head.weight[said, words["<answer>"]] = 50.0
            model.lm_head.weight[2 if ends else said, said] = 50.0
    return model, tokenizer


def save(folder, replies):
    """The model as a folder, for a recipe's `teacher`."""
    model, tokenizer = scripted(replies)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def item(*texts, prompt_id="p"):
    """A prompt with these answers."""
    prompt = Prompt(prompt_id=prompt_id, text="Is it so?", label="yes", source="s", cluster_id=prompt_id, split="train")
    return prompt, [
        Candidate(prompt_id=prompt_id, candidate_id=f"student-{i}", text=text, source="student")
        for i, text in enumerate(texts)
    ]


def _tokenizer(replies):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<s>", "</s>", "<unk>", "<answer>", *(text for text in dict.fromkeys(replies) if text)]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        chat_template=TEMPLATE,
    )
