"""Read the headers about waiting: `retry-after` and the `x-ratelimit-*` family."""

import email.utils
import math
import re
import time
from collections.abc import Mapping

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}
PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ms|s|m|h|d|)")


def seconds(text: str) -> float | None:
    """The seconds in a text such as `6m0s`, `1.5s`, `20ms` or a bare number of seconds; None for another text."""
    parts = PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        return None
    return sum(float(number) * UNITS[unit] for number, unit in parts)


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that the server asks to wait; 0 without such a header. Headers give milliseconds, seconds or a date."""
    if (found := seconds(f"{headers.get('retry-after-ms', '')}ms")) is not None:
        return found
    text = headers.get("retry-after", "")
    if (found := seconds(text)) is not None:
        return found
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError, TypeError, IndexError):
        return 0.0


def remaining(headers: Mapping[str, str], kind: str) -> tuple[float, float] | None:
    """(`requests` or `tokens` that are left, seconds until the refill); None unless the headers give both."""
    reset = seconds(headers.get(f"x-ratelimit-reset-{kind}", ""))
    try:
        left = float(headers.get(f"x-ratelimit-remaining-{kind}", ""))
    except ValueError:
        return None
    return None if reset is None or not math.isfinite(left) else (left, reset)
