"""The proof that training prompts and held-out prompts share nothing."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

from hasse.data.errors import InputError
from hasse.data.records import Prompt
from hasse.data.rendering import comparison_text
from hasse.data.text import normalise


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitProof:
    """The sizes of two sets of prompts that share no id, no cluster and no normalised text."""

    num_trained: int
    num_held_out: int
    trained_clusters: int
    held_out_clusters: int


def prove_disjoint(trained: Iterable[Prompt], held_out: Iterable[Prompt]) -> SplitProof:
    """Check that no prompt is in both sets, and count them; only ids and digests are kept in memory.

    Raises InputError that names two prompts which share an id, a cluster or a text.
    """
    kinds = {"id": _by_id, "near-duplicate cluster": _by_cluster, "text": _by_text}
    seen: dict[str, dict[str | bytes, str]] = {what: {} for what in kinds}
    num_held_out, num_trained, trained_clusters = 0, 0, set()
    for prompt in held_out:
        num_held_out += 1
        for what, key in kinds.items():
            seen[what][key(prompt)] = prompt.prompt_id
    for prompt in trained:
        num_trained += 1
        trained_clusters.add(prompt.cluster_id)
        for what, key in kinds.items():
            if key(prompt) in seen[what]:
                raise InputError(
                    f"held-out prompt {seen[what][key(prompt)]} shares its {what} with training prompt "
                    f"{prompt.prompt_id}; a score on it would not count"
                )
    return SplitProof(
        num_trained=num_trained,
        num_held_out=num_held_out,
        trained_clusters=len(trained_clusters),
        held_out_clusters=len(seen["near-duplicate cluster"]),
    )


def _by_id(prompt: Prompt) -> str:
    return prompt.prompt_id


def _by_cluster(prompt: Prompt) -> str:
    return prompt.cluster_id


def _by_text(prompt: Prompt) -> bytes:
    text = normalise(comparison_text(prompt.text, prompt.messages))
    return blake2b(text.encode(), digest_size=16).digest()
