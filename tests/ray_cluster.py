"""A Ray cluster on loopback, for tests of what runs there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from hasse.pipeline.executors.ray import QUIET


@contextmanager
def two_nodes() -> Iterator[tuple[Any, list[Any]]]:
    """(cluster, nodes): a head, and two nodes with one CPU each for workers, whose loss is noticed within seconds."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    os.environ.update(QUIET)
    head = {
        "num_cpus": 0,
        "object_store_memory": 80_000_000,
        "include_dashboard": False,
        "_system_config": {"health_check_period_ms": 500, "health_check_failure_threshold": 3},
    }
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=80_000_000) for _ in range(2)]
    cluster.wait_for_nodes()
    yield cluster, nodes
    ray.shutdown()
    cluster.shutdown()
