"""Log-probs and rewards of a batch of completions under a model, in one of three layouts.

    padded   one right-padded row for each completion, with the model's own attention and logits; works for any model
    packed   completions one after another in one row (hasse.stages.scoring.rows)
    shared   as packed, with one copy of a prompt for all its responses

The padded layout is the reference that the other two are tested against. They never hold more logits than one chunk
(see `token_logps`) and attend within documents only (see `branch_attention`). A loss sees only `SequenceLogps` or
`SequenceRewards`, so it does not depend on the layout.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from hasse.data.errors import InputError
from hasse.data.records import Completion, TrainingExample
from hasse.stages.scoring import branch_attention as attention
from hasse.stages.scoring.batch import CandidateBatch, SequenceLogps, SequenceRewards, collate
from hasse.stages.scoring.rows import PackedRow, bins, lay_out, tokens_in_row
from hasse.stages.scoring.token_logps import Head, token_logps

Layout = Literal["shared", "packed", "padded"]

WORTH_SHARING = 1.3
"""`shared` is chosen when `packed` would need this many times the tokens, or more."""
TOLERANCE = 3e-5
"""The largest difference of log-probs in float32 that counts as rounding, relative to 1 + the largest log-prob."""


def sequence_logps(model: Any, batch: CandidateBatch, layout: Layout = "padded") -> SequenceLogps:
    """The log-probs of the N completions from one forward pass, with log-softmax in float32 or better.

    For another layout than padded the model must be `prepared`.
    """
    if layout != "padded":
        return SequenceLogps.from_tokens(_row_outputs(model, batch, layout, keep_last=False), batch.length_N)
    rows = _rows(batch)
    input_ids, attention_mask = _pad(rows, _device(model))
    logits = model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits
    row_T, position_T = _response_positions(batch, rows)
    logits_T = logits[row_T, position_T - 1]
    logits_T = logits_T if logits_T.dtype == torch.float64 else logits_T.float()
    logp_T = torch.log_softmax(logits_T, dim=-1).gather(1, input_ids[row_T, position_T][:, None])[:, 0]
    return SequenceLogps.from_tokens(logp_T, batch.length_N)


def sequence_rewards(model: Any, batch: CandidateBatch, layout: Layout = "padded") -> SequenceRewards:
    """The rewards of the N completions: one forward pass of a model with a scalar head, read at their last tokens."""
    if layout != "padded":
        return SequenceRewards(_row_outputs(model, batch, layout, keep_last=True))
    rows = _rows(batch)
    input_ids, attention_mask = _pad(rows, _device(model))
    inner = innermost(model)
    hidden = inner.base_model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
    last_N = attention_mask.sum(1) - 1
    reward_N = inner.score(hidden[torch.arange(len(rows), device=hidden.device), last_N])[:, 0].float()
    return SequenceRewards(reward_N)


def tokens_of(prompt_length: int, lengths: Sequence[int], layout: Layout) -> int:
    """The number of tokens in a forward pass over these completions of a prompt, padding included."""
    if layout == "padded":
        return len(lengths) * (prompt_length + max(lengths))
    return tokens_in_row(prompt_length, lengths, shared=layout == "shared")


def in_passes(groups: Sequence[tuple[int, Sequence[int]]], layout: Layout, max_tokens: int) -> list[list[int]]:
    """Divide groups into forward passes of at most `max_tokens` tokens; returns the indices of each pass's groups.

    A group is (prompt length, lengths of its completions). First-fit keeps the passes few; padded rows are put together
    with rows of similar width. A group that is larger than `max_tokens` gets a pass of its own.
    """
    if layout != "padded":
        return bins([tokens_of(prompt, lengths, layout) for prompt, lengths in groups], max_tokens)
    widths = [prompt + max(lengths) for prompt, lengths in groups]
    passes: list[list[int]] = []
    rows = 0
    for i in sorted(range(len(groups)), key=lambda i: (-widths[i], i)):
        rows += len(groups[i][1])
        if not passes or rows * widths[passes[-1][0]] > max_tokens:
            passes.append([])
            rows = len(groups[i][1])
        passes[-1].append(i)
    return passes


def group_of(example: TrainingExample) -> tuple[int, list[int]]:
    """(prompt length, lengths of the completions), in tokens."""
    return len(example.prompt_token_ids), [len(c.token_ids) for c in example.completions]


def choose_layout(
    model: Any, examples: Iterable[TrainingExample], wanted: Layout | Literal["auto"] = "auto"
) -> tuple[Layout, str]:
    """(layout for these examples, reason).

    auto: `shared` where it saves enough tokens and is exact with this model. That is tested on a few tokens against the
    model's own forward pass. Raises InputError when a layout is asked for that is not exact with this model.
    """
    if wanted == "padded":
        return "padded", "as asked"
    problem = _problem_with_rows(model)
    if problem and wanted != "auto":
        raise InputError(f"layout {wanted} is not possible with this model: {problem}; take auto or padded")
    if problem:
        return "padded", problem
    if wanted != "auto":
        return wanted, "as asked"
    packed = shared = 0
    for example in examples:
        packed += tokens_of(*group_of(example), "packed")
        shared += tokens_of(*group_of(example), "shared")
    saved = packed / max(shared, 1)
    if saved < WORTH_SHARING:
        return "packed", f"one copy of the prompt would save a factor of {saved:.2f} in tokens, too little to pay"
    return "shared", f"one copy of the prompt saves a factor of {saved:.2f} in tokens"


def _problem_with_rows(model: Any) -> str | None:
    """Why the log-probs or rewards from rows differ from the model's own; None when they agree up to rounding."""
    inner = innermost(model)
    is_reward = hasattr(inner, "score")
    if not getattr(inner, "_supports_attention_backend", False):
        return f"{type(inner).__name__} does not take its attention from transformers' interface"
    if not is_reward and Head.of(inner) is None:
        return f"the output layer of {type(inner).__name__} is not a plain linear one"
    vocabulary = inner.config.get_text_config().vocab_size
    ids = [1 + 7919 * i % (vocabulary - 1) for i in range(64)]
    examples = [unordered(ids[:24], [ids[24:36], ids[36:40], ids[40:64]]), unordered(ids[5:7], [ids[:3]])]
    batch = collate(examples).to(_device(model))
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            own = outputs_of(model, batch, "padded", is_reward=is_reward)
            with prepared(model, "shared"):
                other = outputs_of(model, batch, "shared", is_reward=is_reward)
    except (NotImplementedError, RuntimeError, ValueError, TypeError) as error:
        return f"{type(inner).__name__} does not take rows ({str(error).strip().splitlines()[0]})"
    finally:
        model.train(was_training)
    off = float((own - other).abs().max())
    allowed = TOLERANCE * (1 + float(own.abs().max())) if own.dtype == _weights(model).dtype else 0.1
    return None if off <= allowed else f"rows are {off:.2g} nats off with {type(inner).__name__}"


def unordered(prompt: Sequence[int], completions: Sequence[Sequence[int]]) -> TrainingExample:
    """An example that is only scored: token ids of a prompt and of its completions, without an order."""
    return TrainingExample(
        prompt_id="",
        cluster_id="",
        prompt_token_ids=tuple(prompt),
        completions=tuple(Completion(candidate_id="", token_ids=tuple(ids), source="") for ids in completions),
    )


def outputs_of(model: Any, batch: CandidateBatch, layout: Layout, *, is_reward: bool) -> Tensor:
    """A reward for each completion, [N], or a log-prob for each response token, [T]."""
    if is_reward:
        return sequence_rewards(model, batch, layout).reward_N
    return sequence_logps(model, batch, layout).logp_T


@contextmanager
def prepared(model: Any, layout: Layout) -> Iterator[None]:
    """Let the model take rows of this layout within the context; `padded` leaves the model as it is."""
    inner = innermost(model)
    if layout == "padded":
        yield
        return
    before, head = inner.config._attn_implementation, Head.of(inner)
    inner.set_attn_implementation(attention.NAME)
    try:
        with ExitStack() as replaced:
            replaced.enter_context(_forward_of(inner, _forward_rows))
            if head is not None:
                replaced.enter_context(_forward_of(inner.get_output_embeddings(), partial(_forward_targets, head)))
            yield
    finally:
        inner.set_attn_implementation(before)


@contextmanager
def _forward_of(module: Any, forward: Callable[..., Any]) -> Iterator[None]:
    """Replace the module's forward by `forward`, which gets the module as first argument, within the context."""
    own = vars(module).get("forward")
    module.forward = partial(forward, module)
    try:
        yield
    finally:
        del module.forward
        if own is not None:  # another wrapper had replaced the forward before
            module.forward = own


def innermost(model: Any) -> Any:
    """The transformers model inside of adapters and wrappers."""
    while hasattr(model, "module") or hasattr(model, "get_base_model"):
        model = model.module if hasattr(model, "module") else model.get_base_model()
    return model


def _forward_rows(self: Any, *args: Any, predicting_T: Tensor | None = None, **inputs: Any) -> Any:
    """A model's forward that, for a row, computes only the wanted log-probs or rewards from the hidden states.

    It replaces `forward` itself, so that wrappers of the model (adapters, autocast, sharding) still work.
    """
    if predicting_T is None:
        return type(self).forward(self, *args, **inputs)
    target_T = inputs.pop("target_T", None)
    given = {name: value for name, value in inputs.items() if value is not None}
    hidden_TD = self.base_model(*args, **given, use_cache=False).last_hidden_state[0][predicting_T]
    if target_T is None:
        return self.score(hidden_TD)[:, 0].float()
    return self.get_output_embeddings()(hidden_TD, target_T)


def _forward_targets(head: Head, self: Any, hidden_TD: Tensor, target_T: Tensor | None = None) -> Tensor:
    """The output layer's forward that, given targets, computes their log-probs without all logits.

    It runs as a call of the module, so that sharded weights have been gathered; it must read the weights at that time.
    """
    if target_T is None:
        return type(self).forward(self, hidden_TD)
    return token_logps(hidden_TD, replace(head, weight=self.weight, bias=self.bias), target_T)


def _row_outputs(model: Any, batch: CandidateBatch, layout: Layout, *, keep_last: bool) -> Tensor:
    row = lay_out(batch, shared=layout == "shared", keep_last=keep_last)
    row = _to_blocks(row.to(_device(model)))
    return model(
        input_ids=row.ids_L[None],
        attention_mask=row.structure_3L[None, None],
        position_ids=row.structure_3L[2][None],
        predicting_T=row.last_N if keep_last else row.predicting_T,
        **({} if keep_last else {"target_T": row.target_T}),
    )


def _to_blocks(row: PackedRow) -> PackedRow:
    """The row, on CUDA padded to whole blocks by a document that holds no response."""
    missing = -len(row.ids_L) % attention.BLOCK if attention.takes_flex(row.ids_L) else 0
    if not missing:
        return row
    padding = torch.zeros(3, missing, dtype=torch.long, device=row.ids_L.device)
    padding[0], padding[2] = -1, torch.arange(missing, device=row.ids_L.device)
    return PackedRow(
        torch.cat([row.ids_L, padding[1]]),
        torch.cat([row.structure_3L, padding], dim=1),
        row.predicting_T,
        row.target_T,
        row.last_N,
    )


def _weights(model: Any) -> Tensor:
    return next(model.parameters())


def _device(model: Any) -> torch.device:
    return _weights(model).device


def _rows(batch: CandidateBatch) -> list[Tensor]:
    return [
        torch.cat([batch.prompt_ids[b], response])
        for b, response in zip(batch.prompt_N.tolist(), batch.completion_ids, strict=True)
    ]


def _pad(rows: list[Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    input_ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=0)
    lengths = torch.tensor([len(row) for row in rows])
    mask = torch.arange(input_ids.shape[1])[None] < lengths[:, None]
    return input_ids.to(device), mask.long().to(device)


def _response_positions(batch: CandidateBatch, rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    """(row, position) of every response token, completions one after another."""
    device = batch.length_N.device
    row_T = torch.repeat_interleave(torch.arange(len(rows), device=device), batch.length_N)
    starts = torch.tensor([len(row) for row in rows]).to(device) - batch.length_N
    first_T = torch.cumsum(batch.length_N, 0) - batch.length_N
    offset_T = torch.arange(len(row_T), device=device) - first_T[row_T]
    return row_T, starts[row_T] + offset_T
