"""Render a conversation by a model's chat template, with the same result on every day."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, TemplateError, meta

from hasse.data.errors import InputError
from hasse.data.settings.registry import unknown

Turns = Sequence[dict[str, str]]

DATE = datetime(2024, 7, 26)
"""The date that templates print as today's: the default date of the Llama 3 templates.

Equal keys must mean equal token ids, so the token ids must not depend on the day of the run.
"""
CLOCK = "strftime_now"
"""The function that chat templates call for the date."""
DIRECTIVES = "aAwdbBmyYHIMSfjUWcxXpGuVe"
"""The letters of `strftime` that a template may use."""
PARSER = Environment(extensions=["jinja2.ext.loopcontrols"])
GENERATION = re.compile(r"{%-?\s*(?:end)?generation\s*-?%}")
"""A tag that only transformers knows: it marks the answers in a training text."""
NOT_OPTIONS = {"messages", "tools", "documents", "add_generation_prompt", "raise_exception", "range", CLOCK}
"""Names in templates that are not values of the user's."""


@dataclass(frozen=True, kw_only=True)
class TemplateOptions:
    """What a model's chat template is given beside the conversation: values by name, and the date of today."""

    kwargs: Mapping[str, Any] = field(default_factory=dict)
    date: datetime = DATE

    def as_text(self) -> str | None:
        """The options as JSON; None for those that a template gets by default."""
        if self == TemplateOptions():
            return None
        return json.dumps({"kwargs": dict(self.kwargs), "date": self.date.date().isoformat()}, sort_keys=True)

    @staticmethod
    def of_text(text: str | None) -> "TemplateOptions":
        """The options that `as_text` wrote."""
        given = json.loads(text) if text else {"kwargs": {}, "date": DATE.isoformat()}
        return TemplateOptions(kwargs=given["kwargs"], date=datetime.fromisoformat(given["date"]))


def with_options(tokenizer: Any, options: TemplateOptions) -> Any:
    """The tokenizer, which from now on renders every conversation with these options; they are not saved with it.

    Raises InputError for a value that the template never reads.
    """
    for name in options.kwargs:
        known = _names_read(tokenizer)
        if name not in known:
            raise InputError(f"student.chat_template_kwargs: {unknown(name, known, kind='name in the chat template')}")
    tokenizer.template_options = options
    return tokenizer


def _names_read(tokenizer: Any) -> list[str]:
    """The names of values that a caller may give to the chat template."""
    if not tokenizer.chat_template:
        raise InputError("student.chat_template_kwargs: the model has no chat template that could take them")
    template = GENERATION.sub("", tokenizer.get_chat_template())
    return sorted(meta.find_undeclared_variables(PARSER.parse(template)) - NOT_OPTIONS)


def render_chat(tokenizer: Any, turns: Turns, *, add_generation_prompt: bool) -> str:
    """The text of a conversation. Raises InputError where the template refuses the conversation."""
    options = getattr(tokenizer, "template_options", TemplateOptions())
    try:
        return tokenizer.apply_chat_template(
            list(turns),
            chat_template=dated(tokenizer.get_chat_template(), options.date),
            add_generation_prompt=add_generation_prompt,
            tokenize=False,
            **options.kwargs,
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


def dated(template: str, date: datetime = DATE) -> str:
    """The template with a fixed date instead of today's."""
    if CLOCK not in template:
        return template
    filled = "".join(
        f"|replace({directive!r}, {date.strftime('%' + letter)!r})"
        for letter in DIRECTIVES
        for directive in (f"%-{letter}", f"%{letter}")
    )
    return f"{{% macro {CLOCK}(format) %}}{{{{ format{filled} }}}}{{% endmacro +%}}{template}"
