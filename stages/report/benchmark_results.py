"""The results of benchmarks, by arm and benchmark."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hasse.data.records import Evaluation
from hasse.pipeline.store import Artifact
from hasse.stages.report.answers import arm_of
from hasse.stages.statistics.bootstrap import Bootstrap, Interval


@dataclass(frozen=True, kw_only=True)
class BenchmarkResult:
    """One arm on one benchmark.

    value: the mean over the items of the benchmark's own measure, 0 to 1; numbers: the benchmark's summary, as means
    over the seeds; num_contaminated: items whose text also stands in a training prompt.
    """

    arm: str
    benchmark: str
    value: Interval
    numbers: dict[str, float]
    num_items: int
    num_contaminated: int


def benchmark_results(artifacts: Sequence[Artifact], *, num_resamples: int) -> list[BenchmarkResult]:
    """One result for each arm and benchmark, in the order of the artifacts."""
    groups: dict[tuple[str, str], list[Artifact]] = defaultdict(list)
    for artifact in artifacts:
        groups[arm_of(artifact), str(artifact.label("benchmark"))].append(artifact)
    return [_of_seeds(arm, benchmark, seeds, num_resamples) for (arm, benchmark), seeds in groups.items()]


def _of_seeds(arm: str, benchmark: str, seeds: Sequence[Artifact], num_resamples: int) -> BenchmarkResult:
    rows = [list(artifact.records(Evaluation)) for artifact in seeds]
    score_SI = np.array([[row.score or 0.0 for row in of_seed] for of_seed in rows])
    bootstrap = Bootstrap([row.cluster_id for row in rows[0]], num_resamples=num_resamples)
    summaries = [artifact.manifest.metrics["summary"] for artifact in seeds]
    return BenchmarkResult(
        arm=arm,
        benchmark=benchmark,
        value=bootstrap.mean(score_SI),
        numbers={name: float(np.mean([summary[name] for summary in summaries])) for name in summaries[0]},
        num_items=len(rows[0]),
        num_contaminated=seeds[0].manifest.metrics["contaminated"],
    )
