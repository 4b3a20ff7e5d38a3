"""The keys of chat endpoints: which environment variables are missing, and what to do about them."""

import os

from hasse.data.errors import InputError
from hasse.stages.chat.money.prices import is_on_this_machine
from hasse.stages.chat.settings import ChatSettings


def missing_key(chat: ChatSettings) -> str | None:
    """Say that the key of this endpoint is not set; None if it is set, or if the endpoint is on this machine."""
    variable = chat.api_key_variable
    if os.environ.get(variable, "").strip() or is_on_this_machine(chat.base_url):
        return None
    return (
        f"the environment variable {variable} with the key of the endpoint {chat.base_url or 'of OpenAI'} is not set; "
        "set it, or, for runs that a Prefect server starts, save the key as the Secret block "
        f"{block_name(variable)!r} on the server's page"
    )


def check_key(chat: ChatSettings, *, where: str) -> None:
    """Raises InputError if the key of this endpoint is not set."""
    if problem := missing_key(chat):
        raise InputError(f"{where}: {problem}")


def block_name(variable: str) -> str:
    """The name of the Secret block, on a Prefect server, that holds this variable: lower case with dashes."""
    return variable.lower().replace("_", "-")
