"""The same rows from every executor, here and on a cluster of two nodes on loopback that loses one."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hasse.data.errors import InputError, WorkError
from hasse.pipeline.executors import Computation, local
from hasse.pipeline.executors import ray as on_ray
from tests.ray_cluster import two_nodes

PARTS = 12


@dataclass(frozen=True)
class Unit:
    item: int


def parts(number: int = PARTS) -> list[list[Unit]]:
    return [[Unit(10 * p + i) for i in range(3)] for p in range(number)]


def doubled(items: list[int]) -> list[list[int]]:
    return [[item, 2 * item] for item in items]


EXPECTED = {tuple(u.item for u in part): doubled([u.item for u in part]) for part in parts()}


def as_dict(found) -> dict:
    return {tuple(u.item for u in part): rows for part, rows in found}


@pytest.mark.parametrize("ahead", [0, 2])
def test_here_parts_come_in_order(ahead):
    found = list(local.computed(iter(parts()), Computation(compute=doubled, ahead=ahead), local.Settings()))
    assert [part for part, _ in found] == parts()
    assert as_dict(found) == EXPECTED


@pytest.fixture(scope="module")
def cluster():
    with two_nodes() as found:
        yield found


def settings(cluster, **changes) -> on_ray.Settings:
    return on_ray.Settings(address=cluster.address, **{"gpus": 0, "workers": 2, **changes})


def test_a_cluster_gives_the_same_and_is_not_flooded(cluster):
    taken = []

    def counted() -> Iterator[list[Unit]]:
        for part in parts():
            taken.append(part)
            yield part

    found = []
    for done in on_ray.computed(counted(), Computation(compute=doubled, ahead=1), settings(cluster[0])):
        found.append(done)
        assert len(taken) - len(found) <= 2 * 2
    assert as_dict(found) == EXPECTED


def test_errors_come_back_as_they_were(cluster):
    def refuse(items):
        raise InputError(f"no {items[0]}")

    with pytest.raises(InputError, match=r"^no 0$"):
        list(on_ray.computed(iter(parts()), Computation(compute=refuse), settings(cluster[0], workers=1)))
    with pytest.raises(WorkError, match="ZeroDivisionError"):
        list(on_ray.computed(iter(parts()), Computation(compute=lambda items: [items[0] / 0]), settings(cluster[0])))


def test_what_the_cluster_cannot_hold_is_refused(cluster):
    with pytest.raises(InputError, match=r"a worker wants 1 GPUs and the cluster .* has 0; set execution.gpus"):
        list(on_ray.computed(iter(parts()), Computation(compute=doubled, gpus=1), settings(cluster[0], gpus=1)))
    with pytest.raises(InputError, match="a worker wants 9 CPUs"):
        list(on_ray.computed(iter(parts()), Computation(compute=doubled), settings(cluster[0], cpus=9)))


def test_a_chunk_that_kills_its_workers_ends_the_stage(cluster):
    def deadly(items):
        if items[0] == 20:
            os.kill(os.getpid(), signal.SIGKILL)
        return doubled(items)

    with pytest.raises(WorkError, match="a chunk took 2 workers with it"):
        list(on_ray.computed(iter(parts()), Computation(compute=deadly), settings(cluster[0], tries=2)))


def test_killed_workers_and_a_lost_node_lose_nothing(cluster, tmp_path: Path):
    """Last, because it takes a node away."""
    whole, nodes = cluster

    def slow(items):
        mark = tmp_path / f"{items[0]}-{os.getpid()}"
        mark.touch()
        time.sleep(0.5)
        mark.with_suffix(".done").touch()
        return doubled(items)

    def busy() -> int:
        """A worker in the middle of a part."""
        while True:
            begun, done = (set(tmp_path.glob(pattern)) for pattern in ("*-*[0-9]", "*.done"))
            if at_work := begun - {path.with_suffix("") for path in done}:
                return int(at_work.pop().name.split("-")[1])

    found = []
    for done in on_ray.computed(iter(parts()), Computation(compute=slow), settings(whole, tries=9)):
        found.append(done)
        if len(found) == 2:
            os.kill(busy(), signal.SIGKILL)
        if len(found) == 5:
            whole.remove_node(nodes[1], allow_graceful=False)
    assert len(found) == PARTS
    assert as_dict(found) == EXPECTED
    begun = [int(path.name.split("-")[0]) for path in tmp_path.glob("*-*[0-9]")]
    assert len(begun) > len(set(begun)), "nothing was computed again, so nothing was lost"
