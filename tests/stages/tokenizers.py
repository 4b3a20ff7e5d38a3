"""Small tokenizers in the shapes that published chat models have, with their templates, made here."""

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{{ message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA = (
    "{% if not date_string is defined %}{% if strftime_now is defined %}"
    "{% set date_string = strftime_now('%d %b %Y') %}{% else %}"
    "{% set date_string = '26 Jul 2024' %}{% endif %}{% endif %}{{ bos_token }}"
    "{{ '<|start_header_id|>system<|end_header_id|>\n\nToday Date: ' + date_string + '\n\n<|eot_id|>' }}"
    "{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{{ message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}"
    "{% endfor %}"
)
DEEPSEEK = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '<\uff5cUser\uff5c>' + message['content'] }}"
    "{% else %}{{ '<\uff5cAssistant\uff5c>' + message['content'] + '<\uff5cend\uff5c>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<\uff5cAssistant\uff5c><think>\n' }}{% endif %}"
)
JOINED = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% endfor %}{{ sep_token }}"

TEXTS = [
    "The answer is four, is it not?",
    "a < b | c > d [x]\n\n two  spaces",
    "naïve Straße 東京 e\u0301",
    "model user system",
]


def chatml():
    return _byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"], CHATML, eos="<|im_end|>", pad="<|endoftext|>")


def llama():
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    names += [f"<|reserved_special_token_{i}|>" for i in range(5)]
    return _byte_level(names, LLAMA, bos="<|begin_of_text|>", eos="<|end_of_text|>")


def deepseek():
    """The names of the speakers are added tokens that are not special; so are those of thinking."""
    tokenizer = _byte_level(
        ["<\uff5cbegin\uff5c>", "<\uff5cend\uff5c>"], DEEPSEEK, bos="<\uff5cbegin\uff5c>", eos="<\uff5cend\uff5c>"
    )
    tokenizer.add_tokens(["<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>", "<think>", "</think>"])
    return tokenizer


def joined():
    """Turns follow each other with nothing between."""
    names = ["<pad>", "<s>", "</s>", "<answer>"]
    return _byte_level(names, JOINED, bos="<s>", eos="</s>", pad="<pad>", sep_token="<answer>")


def gemma():
    """Spaces are replaced by a normaliser; runs of them are added tokens."""
    from tokenizers import normalizers

    tokenizer = _pieces(
        ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"],
        GEMMA,
        normalizer=normalizers.Replace(" ", "\u2581"),
        bos="<bos>",
        eos="<eos>",
        pad="<pad>",
    )
    tokenizer.add_tokens(["\u2581\u2581", "\n\n"])
    return tokenizer


def mistral(scheme="first"):
    """Metaspace, which puts a space before the first piece of a text, or before each."""
    from tokenizers import pre_tokenizers

    names = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    metaspace = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    return _pieces(names, MISTRAL, pre_tokenizer=metaspace, bos="<s>", eos="</s>")


def normalising():
    """A tokenizer that folds case and width before it looks for its tokens."""
    from tokenizers import AddedToken, normalizers

    tokenizer = _byte_level(["<|pad|>", "<|im_end|>"], CHATML, eos="<|im_end|>", pad="<|pad|>")
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.backend_tokenizer.add_special_tokens([AddedToken("<|im_start|>", normalized=True, special=True)])
    return tokenizer


SHAPES = {
    "chatml": chatml,
    "llama": llama,
    "deepseek": deepseek,
    "joined": joined,
    "gemma": gemma,
    "mistral-first": mistral,
    "mistral-always": lambda: mistral("always"),
    "normalising": normalising,
}


def _byte_level(names, template, *, eos, bos=None, pad=None, **more):
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    core = ByteLevelBPETokenizer()
    core.train_from_iterator(TEXTS * 3, 256 + len(names) + 40, special_tokens=names, show_progress=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=core._tokenizer, eos_token=eos, bos_token=bos, pad_token=pad, chat_template=template, **more
    )


def _pieces(names, template, *, eos, bos, pad=None, normalizer=None, pre_tokenizer=None):
    """A unigram model that falls back to bytes."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    letters = sorted({letter for text in TEXTS for letter in text} - {" "})
    words = [
        "\u2581",
        "\u2581a",
        "\u2581is",
        "an",
        "swer",
        "\u2581answer",
        "\u2581<",
        "\u2581[",
        "us",
        "er",
        "\u2581two",
    ]
    pieces = [*names, *(f"<0x{i:02X}>" for i in range(256)), *words, *letters]
    pieces = list(dict.fromkeys([*(["<unk>"] if "<unk>" not in names else []), *pieces]))
    scores = [(piece, -2.0 if piece in words else -8.0) for piece in pieces]
    core = Tokenizer(models.Unigram(scores, unk_id=pieces.index("<unk>"), byte_fallback=True))
    if normalizer is not None:
        core.normalizer = normalizer
    if pre_tokenizer is not None:
        core.pre_tokenizer = pre_tokenizer
    core.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    core.add_special_tokens(names)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=eos, bos_token=bos, pad_token=pad, chat_template=template
    )
