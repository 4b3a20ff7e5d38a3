"""Render a prompt: as the conversation that a model is asked, or as one text that people and judges read."""

from collections.abc import Sequence
from dataclasses import replace

from hasse.data.records import Message, Prompt


def question_turns(prompt: Prompt) -> tuple[Message, ...]:
    """The turns of the question, the instruction in the user's first turn, without demonstrations."""
    turns = prompt.messages or (Message(role="user", content=prompt.text),)
    if not prompt.instruction:
        return turns
    first = next(i for i, turn in enumerate(turns) if turn.role == "user")
    return (*turns[:first], _instructed(turns[first], prompt.instruction), *turns[first + 1 :])


def asked_turns(prompt: Prompt) -> tuple[Message, ...]:
    """The whole conversation that a model is asked: system turns, demonstrations, question.

    The instruction stands once, at the start of the user's first turn, which may be that of a demonstration.
    """
    if not prompt.demonstrations:
        return question_turns(prompt)
    turns = prompt.messages or (Message(role="user", content=prompt.text),)
    system = next(i for i, turn in enumerate(turns) if turn.role != "system")
    first, *shown = prompt.demonstrations
    if prompt.instruction:
        first = _instructed(first, prompt.instruction)
    return (*turns[:system], first, *shown, *turns[system:])


def asked_text(prompt: Prompt) -> str:
    """What a model without a chat template is asked: the question, which the answer follows directly.

    With demonstrations, each question and each answer ends with a line break, and an empty line parts two of them.
    """
    if not prompt.demonstrations:
        return prompt_as_text(prompt)
    contents = [turn.content for turn in asked_turns(prompt)]
    shown = [f"{question}\n{answer}\n\n" for question, answer in zip(contents[:-1:2], contents[1::2], strict=True)]
    return "".join(shown) + f"{contents[-1]}\n"


def prompt_as_text(prompt: Prompt) -> str:
    """The prompt as people, judges and templates read it, with its instruction and without demonstrations.

    If it has several turns, each is shown with its role.
    """
    turns = question_turns(prompt)
    return turns[0].content if len(turns) == 1 else turns_as_text(turns)


def turns_as_text(turns: Sequence[Message]) -> str:
    """The turns with their roles, separated by blank lines."""
    return "\n\n".join(f"{turn.role}: {turn.content}" for turn in turns)


def comparison_text(text: str, messages: Sequence[Message] | None) -> str:
    """The text by which near-duplicates and benchmark items are found: all turns, without their roles.

    A context and a question in two turns are then equal to the same context and question in one text.
    """
    return "\n".join(turn.content for turn in messages) if messages else text


def _instructed(turn: Message, instruction: str) -> Message:
    return replace(turn, content=f"{instruction}\n\n{turn.content}")
