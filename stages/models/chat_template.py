"""A conversation as its model's chat template writes it, the same on every day."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from jinja2 import TemplateError

from hasse.data.errors import InputError

Turns = Sequence[dict[str, str]]

DATE = datetime(2024, 7, 26)
"""What a template prints as today's date: the day that the Llama 3 templates fall back to.

Equal keys must mean equal token ids, so the day of the run may not enter them.
"""
CLOCK = "strftime_now"
"""The function by which chat templates ask for the date."""
DIRECTIVES = "aAwdbBmyYHIMSfjUWcxXpGuVe"
"""Letters of `strftime`, each of which a template may use."""


def render_chat(tokenizer: Any, turns: Turns, *, add_generation_prompt: bool) -> str:
    """Raises InputError where the template refuses the conversation."""
    try:
        template = dated(tokenizer.get_chat_template())
        return tokenizer.apply_chat_template(
            list(turns), chat_template=template, add_generation_prompt=add_generation_prompt, tokenize=False
        )
    except (TemplateError, TypeError, ValueError) as error:
        roles = ", ".join(turn["role"] for turn in turns)
        raise InputError(f"the model's chat template does not take a conversation of {roles}: {error}") from error


def dated(template: str) -> str:
    """The template with a date of its own in the place of today's."""
    if CLOCK not in template:
        return template
    filled = "".join(
        f"|replace({directive!r}, {DATE.strftime('%' + letter)!r})"
        for letter in DIRECTIVES
        for directive in (f"%-{letter}", f"%{letter}")
    )
    return f"{{% macro {CLOCK}(format) %}}{{{{ format{filled} }}}}{{% endmacro +%}}{template}"
