"""One training example, from the token ids of a prompt and of its completions."""

from collections.abc import Sequence

from hasse.data.records import Completion, Prompt, TrainingExample


def example_of(
    prompt: Prompt,
    prompt_ids: Sequence[int],
    completions: Sequence[Completion],
    *,
    target: int | None,
    max_length: int,
) -> TrainingExample:
    """The completions after the prompt, without pairs.

    An example whose longest completion does not fit into `max_length` tokens with the prompt is never cut: it has the
    status `filtered` and no completions.
    """
    fits = len(prompt_ids) + max(len(completion.token_ids) for completion in completions) <= max_length
    return TrainingExample(
        prompt_id=prompt.prompt_id,
        cluster_id=prompt.cluster_id,
        prompt_token_ids=tuple(prompt_ids),
        completions=tuple(completions) if fits else (),
        target=target if fits else None,
        status="ok" if fits else "filtered",
        error=None if fits else "prompt and completion do not fit into max_length",
    )
