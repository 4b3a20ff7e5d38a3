"""Render a prompt, with all turns of its conversation, as one text."""

from collections.abc import Sequence

from hasse.data.records import Message, Prompt


def prompt_as_text(prompt: Prompt) -> str:
    """The prompt as people, judges and templates read it. If it has several turns, each is shown with its role."""
    turns = prompt.messages or ()
    return turns_as_text(turns) if len(turns) > 1 else prompt.text


def turns_as_text(turns: Sequence[Message]) -> str:
    """The turns with their roles, separated by blank lines."""
    return "\n\n".join(f"{turn.role}: {turn.content}" for turn in turns)


def comparison_text(text: str, messages: Sequence[Message] | None) -> str:
    """The text by which near-duplicates and benchmark items are found: all turns, without their roles.

    A context and a question in two turns are then equal to the same context and question in one text.
    """
    return "\n".join(turn.content for turn in messages) if messages else text
