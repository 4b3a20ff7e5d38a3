"""Accuracies and paired differences with intervals, by arm, decoding and group of prompts.

Legend: S seeds, I prompts.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hasse.pipeline.store import Artifact
from hasse.stages.report.answers import MEASURES, SCORE, GradedAnswers, arm_of
from hasse.stages.statistics.bootstrap import Bootstrap, Interval


@dataclass(frozen=True, kw_only=True)
class Result:
    """One arm under one decoding.

    strict, loose, first: three readings of the same answers, over the prompts with a gold answer; None without any.
    score: nearness to the gold answer or to the expert's, where every answer has a score.
    measure: what is compared; the task's reading, `score` where no prompt has a gold answer, None for nothing.
    differences: baseline -> how much higher the arm is, by `measure`.
    by_group: group of prompts -> mean of `measure`.
    pairs: share of a prompt's held-out pairs that the model has in order, where they were measured.
    drift: log-prob of the experts' answers minus the student's, nats per token, where it was measured.
    sequences: completions with their prompts that one training run put through a model; None without training.
    """

    arm: str
    decoding: str
    num_seeds: int
    num_prompts: int
    strict: Interval | None
    loose: Interval | None
    first: Interval | None = None
    score: Interval | None
    measure: str | None = "strict"
    differences: dict[str, Interval]
    by_group: dict[str, Interval]
    pairs: Interval | None
    drift: Interval | None
    sequences: int | None

    @property
    def compared(self) -> Interval | None:
        """The mean of `measure`."""
        return getattr(self, self.measure) if self.measure else None

    @property
    def accuracy(self) -> Interval | None:
        """The share of right answers by the task's reading."""
        return None if self.measure == SCORE else self.compared


def results(
    answers: GradedAnswers,
    *,
    baselines: Sequence[str],
    primary: str,
    num_resamples: int,
    sequences: Mapping[str, int] | None = None,
) -> list[Result]:
    """One result for each decoding and arm, in the order of the arms. primary: the task's reading."""
    measure = answers.measure(primary)
    means = {name: _Means(answers, name, num_resamples) for name in MEASURES if answers.has_measure(name)}
    rows = []
    for decoding in answers.decodings:
        compared = {arm: answers.scores(arm, decoding, measure) for arm in answers.rows} if measure else {}
        for arm, seeds in answers.rows.items():
            mean = {name: each.of(arm, decoding) for name, each in means.items()}
            rivals = [name for name in _rivals(arm, baselines) if name in compared]
            rows.append(
                Result(
                    arm=arm,
                    decoding=decoding,
                    num_seeds=len(seeds),
                    num_prompts=len(answers.measured_by(measure) if measure else answers.prompts),
                    strict=mean.get("strict"),
                    loose=mean.get("loose"),
                    first=mean.get("first"),
                    score=mean.get(SCORE),
                    measure=measure,
                    differences={
                        name: means[measure].bootstrap.difference(compared[arm], compared[name])
                        for name in rivals
                        if measure
                    },
                    by_group=means[measure].by_group(compared[arm]) if measure else {},
                    pairs=_pair_accuracy(answers, arm, num_resamples),
                    drift=_drift(answers, arm, num_resamples),
                    sequences=(sequences or {}).get(arm),
                )
            )
    return rows


def sequences(trained: Sequence[Artifact]) -> dict[str, int]:
    """Arm -> completions that one of its training runs put through a model, those of the reference pass included."""
    total: Counter[str] = Counter()
    seeds: dict[str, set[str | int]] = defaultdict(set)
    for artifact in trained:
        cost = artifact.manifest.metrics.get("cost", {})
        total[arm_of(artifact)] += cost.get("sequences", 0) + cost.get("reference_sequences", 0)
        seeds[arm_of(artifact)].add(artifact.label("seed"))
    return {arm: round(total[arm] / len(seeds[arm])) for arm in total}


class _Means:
    """Means of one measure, resampled by clusters of the prompts that count for the measure."""

    def __init__(self, answers: GradedAnswers, measure: str, num_resamples: int):
        self.answers, self.measure, self.num_resamples = answers, measure, num_resamples
        self.prompts = answers.measured_by(measure)
        self.bootstrap = Bootstrap([row.cluster_id for row in self.prompts], num_resamples=num_resamples)

    def of(self, arm: str, decoding: str) -> Interval:
        return self.bootstrap.mean(self.answers.scores(arm, decoding, self.measure))

    def by_group(self, score_SI: np.ndarray) -> dict[str, Interval]:
        """Group of prompts -> mean."""
        means = {}
        for group in sorted({row.group for row in self.prompts if row.group}):
            members = np.array([row.group == group for row in self.prompts])
            clusters = [row.cluster_id for row in self.prompts if row.group == group]
            means[group] = Bootstrap(clusters, num_resamples=self.num_resamples).mean(score_SI[:, members])
        return means


def _rivals(arm: str, baselines: Sequence[str]) -> list[str]:
    """The baselines that an arm is compared with. Every arm began as the student, so the student has no rivals."""
    return [] if arm == "student" else [name for name in baselines if name != arm]


def _pair_accuracy(answers: GradedAnswers, arm: str, num_resamples: int) -> Interval | None:
    """The mean pair accuracy over the prompts that have held-out pairs."""
    seeds = [{r.prompt_id: r.pair_accuracy for r in rows if r.pair_accuracy is not None} for rows in answers.rows[arm]]
    known = [row for row in answers.prompts if all(row.prompt_id in seed for seed in seeds)]
    if not known:
        return None
    bootstrap = Bootstrap([row.cluster_id for row in known], num_resamples=num_resamples)
    return bootstrap.mean(np.array([[seed[row.prompt_id] for row in known] for seed in seeds]))


def _drift(answers: GradedAnswers, arm: str, num_resamples: int) -> Interval | None:
    drift_SI = answers.drift(arm)
    if drift_SI is None:
        return None
    return Bootstrap([row.cluster_id for row in answers.prompts], num_resamples=num_resamples).mean(
        drift_SI, scale=None
    )
