"""The commands that the pages show, run on a small finished run where they take seconds."""

import shlex

import pytest

from hasse.flows.recipe.recipe import load_recipe, shipped_recipes
from tests.pages import ALL

LOOK = {"explain", "fetch", "inspect", "ls", "preview", "prune", "replies", "show", "verify"}
NEED_NO_STORE = {"golden", "methods", "recipes"}
SENTENCES = [words.split()[1:] for page in ALL for words in page.words() if words.startswith("hasse ")]
SHORT = [a for a in SENTENCES if a[0] in NEED_NO_STORE or (a[0] == "fetch" and len(a) > 1)]
"""Commands inside of sentences that need nothing else."""
COMMANDS = {shlex.join(a): a for a in [*SHORT, *(arguments for page in ALL for arguments in page.commands())]}


def _is_quick(arguments: list[str]) -> bool:
    if arguments[0] == "run":
        if "--dry-run" not in arguments or arguments[1] not in shipped_recipes():
            return False
        return load_recipe(arguments[1]).student.model is None  # one from a hub is not at hand
    return arguments[0] in LOOK | NEED_NO_STORE and not {"--yes", "--plugin"} & set(arguments)


@pytest.mark.parametrize("command", sorted(command for command in COMMANDS if _is_quick(COMMANDS[command])))
def test_a_documented_command_works(finished, command):
    assert finished(*COMMANDS[command])
