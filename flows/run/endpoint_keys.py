"""Are the keys of a run's chat endpoints there? Asked before the run begins, not when the first question is due."""

import os
from collections.abc import Sequence

from hasse.data.errors import InputError
from hasse.flows.recipe.endpoints import endpoints
from hasse.pipeline.run import look_up
from hasse.pipeline.stage import Step, producer
from hasse.pipeline.store import Artifact, Store
from hasse.stages.chat.money.prices import is_on_this_machine
from hasse.stages.chat.settings import ChatSettings


def check_keys(steps: Sequence[Step], store: Store, *, anew_from: int) -> None:
    """Raises InputError for a step that will ask an endpoint whose key is not set.

    A step that the store has asks nothing, and an endpoint on this machine needs no key.

    Args:
        steps: In the order in which they run.
        store: Where the finished ones are.
        anew_from: From the step with this number on, steps are computed although the store has them.
    """
    artifacts: dict[str, Artifact] = {}
    for i, step in enumerate(steps):
        inputs = {producer(name) for names in step.inputs.values() for name in names}
        found = look_up(store, step, artifacts) if i < anew_from and inputs <= artifacts.keys() else None
        if found is None:
            for chat in endpoints(step.settings):
                check_key(chat, where=step.name)
        else:
            artifacts[step.name] = found


def check_key(chat: ChatSettings, *, where: str) -> None:
    """Raises InputError for an endpoint whose key is not set."""
    variable = chat.api_key_variable
    if os.environ.get(variable, "").strip() or is_on_this_machine(chat.base_url):
        return
    raise InputError(
        f"{where}: the environment variable {variable} with the key of the endpoint "
        f"{chat.base_url or 'of OpenAI'} is not set; set it, or, for runs that a Prefect server starts, save the key "
        f"as the Secret block {block_name(variable)!r} on the server's page"
    )


def block_name(variable: str) -> str:
    """The Secret block of a Prefect server that holds a variable; names of blocks are lower case with dashes."""
    return variable.lower().replace("_", "-")
