"""Compare mathematical answers by math-verify: 1/2 is 0.5, 2x + 2 is 2(x + 1), {1, 2} is {2, 1}."""

import importlib.util
from functools import lru_cache
from typing import Any


def check_installed() -> None:
    """Raises ValueError when math-verify is missing."""
    if importlib.util.find_spec("math_verify") is None:
        raise ValueError(
            "answers_are: math compares answers by the package math-verify, which is not installed; "
            "pip install 'math-verify[antlr4_13_2]', or leave answers_are out"
        )


def equal(text: str, gold: str) -> bool:
    """Whether the last mathematical expression of the text equals the gold answer; False where there is none."""
    from math_verify import verify

    wanted, found = _gold(gold), _parsed(text)
    return bool(wanted and found) and verify(wanted, found, timeout_seconds=None, raise_on_error=False)


@lru_cache(maxsize=4096)
def _gold(text: str) -> Any:
    """Parse a gold answer, which is a formula as a whole, with or without $ around it."""
    return _parsed(text if "$" in text or "\\boxed" in text else f"${text.strip()}$") or _parsed(text)


def _parsed(text: str) -> Any:
    from math_verify import parse

    return parse(text, parsing_timeout=None, raise_on_error=False)  # type: ignore[arg-type]  None: no time-out
