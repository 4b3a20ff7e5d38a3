"""A run whose chunks are computed on a Ray cluster of two nodes on loopback, one of which goes away."""

import os
import subprocess
import sys
import threading
import time

import pytest

from hasse.data.records import Candidate, Judgement, PartialOrder, TrainingExample
from hasse.pipeline.store import Store
from tests.ray_cluster import two_nodes

TABLES = {"generate": Candidate, "judge": Judgement, "order": PartialOrder, "reference": TrainingExample}


@pytest.fixture(scope="module")
def cluster():
    with two_nodes() as found:
        yield found


def rows(hasse, steps):
    store = Store(hasse.store)
    return {name: list(store.resolve(steps[name]["ref"]).records(record)) for name, record in TABLES.items()}


@pytest.mark.slow
def test_a_run_on_ray_that_loses_a_node_equals_the_local_one_and_goes_on_from_it(tmp_path, make_hasse, cluster):
    whole, nodes = cluster
    recipe = make_hasse(tmp_path).tiny
    recipe["train"] |= {"steps": 1, "arms": {"dpo": {"method": "dpo"}}}
    recipe["report"] |= {"baselines": ["student"]}
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    here, there = (make_hasse(tmp_path / name) for name in ("here", "there"))
    on = {"executor": "ray", "address": whole.address, "gpus": 0, "workers": 2}
    for hasse, execution in ((here, {"executor": "local"}), (there, on)):
        hasse.write({**recipe, "execution": execution})
    expected = rows(here, here.run())
    begun = Store(there.store).root / "generate" / "rows"

    def lose_a_node() -> None:
        while not list(begun.glob("*/*.parquet")):
            time.sleep(0.02)
        whole.remove_node(nodes[1], allow_graceful=False)

    thread = threading.Thread(target=lose_a_node)
    thread.start()
    steps = there.run()
    thread.join()
    assert rows(there, steps) == expected
    there.write({**recipe, "execution": {"executor": "local"}})
    assert all(step["cached"] for step in there.run().values()), "who computes is no part of a key"


@pytest.mark.slow
def test_a_run_that_was_stopped_here_goes_on_there(tmp_path, make_hasse, cluster):
    recipe = make_hasse(tmp_path).tiny
    recipe["generate"] |= {"chunk_size": 4}
    on = {"executor": "ray", "address": cluster[0].address, "gpus": 0, "workers": 1}
    hasse = make_hasse(tmp_path)
    hasse.write(recipe)
    begun = Store(hasse.store).root / "generate" / "rows"
    running = hasse.start("run", str(hasse.recipe))
    while len(list(begun.glob("*/*.parquet"))) < 2:
        assert running.poll() is None
        time.sleep(0.02)
    running.kill()
    running.communicate()
    assert not list(begun.parent.parent.glob("*/manifest.json"))
    hasse.write({**recipe, "execution": on})
    found = Store(hasse.store).resolve(hasse.run()["generate"]["ref"]).manifest.metrics
    assert found["units_found"] >= 8
    assert found["units_found"] + found["units_computed"] == found["units"]
    assert found["units_computed"] > 0


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_named(hasse):
    hasse.write({**hasse.tiny, "execution": {"executor": "ray", "address": "127.0.0.1:1"}})
    assert "no Ray cluster at '127.0.0.1:1'" in hasse("run", str(hasse.recipe), code=2)


PLUG = """
from typing import Literal
from pydantic import Field
from hasse.data.settings import Config

class Settings(Config):
    strategy: Literal["elsewhere"] = "elsewhere"
    chunk_size: int = Field(default=5, description="Prompts between two commits.")

def orders(items, settings):
    import os
    yield from (os.getpid() for _ in items)
"""

PROGRAM = """
import os, sys
from types import SimpleNamespace
from hasse.data.settings import registry
from hasse.pipeline.executors import Computation, ray

strategies = "hasse.stages.order.strategies"
strategy = registry.load(strategies, "elsewhere", kind="strategy")
settings = registry.settings_of(strategies, "elsewhere")()
work = Computation(compute=lambda items: [[pid] for pid in strategy.orders(items, settings)])
on = ray.Settings(address=sys.argv[1], gpus=0, workers=1)
((_, ((pid,),)),) = ray.computed([[SimpleNamespace(item=1)]], work, on)
print("elsewhere" if pid != os.getpid() else "here")
"""


@pytest.mark.slow
def test_an_actor_loads_a_plug_from_outside(tmp_path, cluster):
    (tmp_path / "plug.py").write_text(PLUG)
    command = [sys.executable, "-c", PROGRAM, cluster[0].address]
    environment = {**os.environ, "HASSE_PLUGINS": str(tmp_path / "plug.py")}
    found = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert found.stdout.split() == ["elsewhere"], found.stderr
