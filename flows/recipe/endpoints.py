"""Settings of one kind, such as chat endpoints, wherever they stand inside other settings."""

from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel

from hasse.stages.chat.settings import ChatSettings

S = TypeVar("S", bound=BaseModel)


def endpoints(settings: Any) -> Iterator[ChatSettings]:
    """The chat endpoints anywhere in these settings."""
    return settings_of_kind(settings, ChatSettings)


def settings_of_kind(settings: Any, kind: type[S]) -> Iterator[S]:
    """The settings of this kind anywhere in these settings."""
    if isinstance(settings, kind):
        yield settings
    elif isinstance(settings, BaseModel):
        for name in type(settings).model_fields:
            yield from settings_of_kind(getattr(settings, name), kind)
    elif isinstance(settings, (list, tuple, dict)):
        for value in settings.values() if isinstance(settings, dict) else settings:
            yield from settings_of_kind(value, kind)
