"""What a server's headers say about waiting: `retry-after` and the `x-ratelimit-*` family."""

import email.utils
import math
import re
import time
from collections.abc import Mapping

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}
PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ms|s|m|h|d|)")


def seconds(text: str) -> float | None:
    """Of `6m0s`, `1.5s`, `20ms` or a bare number of seconds; None for anything else."""
    parts = PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        return None
    return sum(float(number) * UNITS[unit] for number, unit in parts)


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that the server asks to wait, in milliseconds, in seconds or as a date; 0 where it asks nothing."""
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
    """How many `requests` or `tokens` are left, and seconds until they are refilled; None unless both are said."""
    reset = seconds(headers.get(f"x-ratelimit-reset-{kind}", ""))
    try:
        left = float(headers.get(f"x-ratelimit-remaining-{kind}", ""))
    except ValueError:
        return None
    return None if reset is None or not math.isfinite(left) else (left, reset)
