"""The key of an endpoint is missing: said before a run begins, with what to do."""

import pytest

from hasse.data.errors import InputError
from hasse.flows.plan.steps import plan
from hasse.flows.recipe.recipe import load_recipe
from hasse.flows.run import preflight
from hasse.pipeline.store import Store
from hasse.stages.chat.settings import ChatSettings
from tests.flows.conftest import TINY

PRICES = {"m": {"free": True}}


def judged_by(url):
    chat = {"model": "m", "base_url": url, "api_key_variable": "HASSE_TEST_NO_KEY", "prices": PRICES, "max_retries": 0}
    return TINY | {"judge": {"teacher": "openai", "chat": chat}, "order": {"strategy": "scores"}}


def test_a_missing_key_is_said_before_anything_is_computed(hasse):
    hasse.write(judged_by("https://host.invalid/v1"))
    said = " ".join(hasse("run", str(hasse.recipe), code=2).split())
    assert (
        "judge: the environment variable HASSE_TEST_NO_KEY with the key of the endpoint https://host.invalid/v1" in said
    )
    assert "Secret block 'hasse-test-no-key'" in said
    assert not list(hasse.store.glob("prompts/*"))
    assert not list(hasse.store.glob("runs/*"))


def test_a_step_that_the_store_has_needs_no_key(finished, monkeypatch):
    """Every step is taken to ask an endpoint."""
    monkeypatch.delenv("HASSE_TEST_NO_KEY", raising=False)
    chat = ChatSettings(model="m", base_url="https://host.invalid/v1", api_key_variable="HASSE_TEST_NO_KEY")
    monkeypatch.setattr(preflight, "endpoints", lambda settings: [chat])
    steps, store = plan(load_recipe(str(finished.recipe), [])), Store(finished.store)
    judge = [step.name for step in steps].index("judge")
    preflight.check_ready(steps, store)
    with pytest.raises(InputError, match=r"^judge: the environment variable HASSE_TEST_NO_KEY"):
        preflight.check_ready(steps, store, first=judge, anew=True)
