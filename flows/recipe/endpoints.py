"""The chat endpoints that a recipe asks, wherever they stand in its settings."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from hasse.stages.chat.settings import ChatSettings


def endpoints(settings: Any) -> Iterator[ChatSettings]:
    """The chat endpoints anywhere in these settings."""
    if isinstance(settings, ChatSettings):
        yield settings
    elif isinstance(settings, BaseModel):
        for name in type(settings).model_fields:
            yield from endpoints(getattr(settings, name))
    elif isinstance(settings, (list, tuple, dict)):
        for value in settings.values() if isinstance(settings, dict) else settings:
            yield from endpoints(value)
