"""Suggest what to change in the recipe when an endpoint refuses a field of the request."""

import re
from collections.abc import Iterable

CHANGES = {
    "temperature": "set temperature: null, which sends none",
    "max_completion_tokens": "set token_limit: max_tokens",
    "max_tokens": "set token_limit: max_completion_tokens, or a lower max_tokens",
    "n": "set per_request: 1, which asks for answers one by one",
    "seed": "set seed: null, which sends none",
    "logprobs": "set logprobs: false",
    "response_format": "if it does not know response_format json_schema, set structured: text",
    "top_p": "set top_p: 1, which sends none",
    "stop": "leave out stop",
    "reasoning_effort": "leave out reasoning_effort, or give one of the values that it knows",
}
"""Field of the request -> what to write in the recipe."""


def changes(said: str, sent: Iterable[str]) -> list[str]:
    """Advise a change for each field that was sent and that the server's error names."""
    named = [name for name in sent if re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", said)]
    return [CHANGES.get(name, f"take {name} out of extra_body") for name in named if name not in ("model", "messages")]
