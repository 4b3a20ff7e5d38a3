"""A prompt as one text, with every turn of its conversation."""

from collections.abc import Sequence

from hasse.data.records import Message, Prompt


def prompt_as_text(prompt: Prompt) -> str:
    """For people, for models that judge and for templates: of several turns, each with its role."""
    turns = prompt.messages or ()
    return turns_as_text(turns) if len(turns) > 1 else prompt.text


def turns_as_text(turns: Sequence[Message]) -> str:
    """Every turn with its role, a blank line between two."""
    return "\n\n".join(f"{turn.role}: {turn.content}" for turn in turns)


def comparison_text(text: str, messages: Sequence[Message] | None) -> str:
    """For the search for near-duplicates and for benchmark items: the texts of all turns, without their roles.

    So a context and a question in two turns are found like the same context and question in one text.
    """
    return "\n".join(turn.content for turn in messages) if messages else text
