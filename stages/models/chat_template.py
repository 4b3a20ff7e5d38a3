"""Render a conversation by a model's chat template, with the same result on every day."""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from hasse.data.errors import InputError

Turns = Sequence[dict[str, str]]

DATE = datetime(2024, 7, 26)
"""The date that templates print as today's: the default date of the Llama 3 templates.

Equal keys must mean equal token ids, so the token ids must not depend on the day of the run.
"""
CLOCK = "strftime_now"
"""The function that chat templates call for the date."""
DIRECTIVES = "aAwdbBmyYHIMSfjUWcxXpGuVe"
"""The letters of `strftime` that a template may use."""


def render_chat(tokenizer: Any, turns: Turns, *, add_generation_prompt: bool) -> str:
    """The text of a conversation. Raises InputError where the template refuses the conversation."""
    try:
        template = dated(tokenizer.get_chat_template())
        return tokenizer.apply_chat_template(
            list(turns), chat_template=template, add_generation_prompt=add_generation_prompt, tokenize=False
        )
    except (TemplateError, TypeError, ValueError) as error:
        roles = ", ".join(turn["role"] for turn in turns)
        raise InputError(f"the model's chat template does not take a conversation of {roles}: {error}") from error


def template_in(folder: Path) -> str:
    """The chat template beside a model's weights, without loading the tokenizer; "" if the folder has none."""
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    config = folder / "tokenizer_config.json"
    template = json.loads(config.read_text(encoding="utf-8")).get("chat_template") if config.is_file() else None
    return template if isinstance(template, str) else json.dumps(template or "")


def dated(template: str) -> str:
    """The template with a fixed date instead of today's."""
    if CLOCK not in template:
        return template
    filled = "".join(
        f"|replace({directive!r}, {DATE.strftime('%' + letter)!r})"
        for letter in DIRECTIVES
        for directive in (f"%-{letter}", f"%{letter}")
    )
    return f"{{% macro {CLOCK}(format) %}}{{{{ format{filled} }}}}{{% endmacro +%}}{template}"
