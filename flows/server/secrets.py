"""Load the keys of endpoints from Prefect's Secret blocks into the environment of this process."""

import os
from typing import Any

from prefect.blocks.system import Secret

from hasse.flows.recipe.endpoints import endpoints
from hasse.flows.run.endpoint_keys import block_name

loaded_keys: set[str] = set()
"""Variables that this process has set from Secret blocks."""


def load_keys(settings: Any) -> None:
    """Set the key variables that are not set and have a Secret block: OPENAI_API_KEY from the block openai-api-key.

    Without such a block the variable stays unset, and `check_ready` says which keys are missing before the run begins.
    """
    for variable in {chat.api_key_variable for chat in endpoints(settings)}:
        if not os.environ.get(variable, "").strip() and (key := _secret(block_name(variable))):
            os.environ[variable] = key
            loaded_keys.add(variable)


def _secret(name: str) -> str | None:
    try:
        block = Secret.load(name, _sync=True)  # type: ignore[call-arg]  which of both ways, as its decorator takes it
    except ValueError:  # there is no block of this name
        return None
    return str(block.get())  # type: ignore[union-attr]
