"""Accuracies with intervals: a bootstrap over clusters of prompts and over training seeds.

Two answers to the same or to near-duplicate prompts are not independent, nor are three samples of one model; so what is
resampled are clusters of prompts and, crossed with them, the seeds of an arm. With three seeds the spread between them
is known only roughly, and nothing here covers the choice of the data or of the student.

Legend: S seeds, I prompts, R resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Array = np.ndarray

LEVEL = 0.95
POWER_Z = 1.959964 + 0.841621
"""Standard errors of a difference that is found 80 times in 100 by a two-sided test at 5 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean with the bounds of its 95 % interval and its standard error."""

    mean: float
    low: float
    high: float
    error: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0

    @property
    def smallest_detectable(self) -> float:
        """The true difference that such an experiment would find in 80 of 100 tries."""
        return POWER_Z * self.error


class Bootstrap:
    """The same resamples of prompt clusters for every arm, so that differences are paired.

    clusters: the cluster of each of the I prompts.
    """

    def __init__(self, clusters: Sequence[str], *, num_resamples: int, seed: int = 0):
        self.seed = seed
        names = {name: i for i, name in enumerate(dict.fromkeys(clusters))}
        self.cluster_I = np.array([names[name] for name in clusters])
        drawn = np.random.default_rng(seed).multinomial(
            len(names), np.full(len(names), 1 / len(names)), size=num_resamples
        )
        self.weight_RI = drawn[:, self.cluster_I].astype(float)

    def mean(self, score_SI: Array) -> Interval:
        """The mean over seeds and prompts."""
        return _interval(score_SI.mean(), self._resampled(score_SI))

    def difference(self, score_SI: Array, baseline_SI: Array) -> Interval:
        """How much higher than the baseline on the same prompts; the seeds of the two are drawn independently."""
        resampled_R = self._resampled(score_SI) - self._resampled(baseline_SI, draw=1)
        return _interval(score_SI.mean() - baseline_SI.mean(), resampled_R)

    def _resampled(self, score_SI: Array, *, draw: int = 0) -> Array:
        """The mean in each resample; `draw` numbers independent draws of the seeds, whatever was asked before."""
        num_seeds = len(score_SI)
        total_RS = self.weight_RI @ score_SI.T / self.weight_RI.sum(1, keepdims=True)
        rng = np.random.default_rng((self.seed, 1 + draw))
        seeds_RS = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=len(total_RS)) / num_seeds
        return (total_RS * seeds_RS).sum(1)


def _interval(mean: float, resampled_R: Array) -> Interval:
    low, high = np.quantile(resampled_R, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(mean=float(mean), low=float(low), high=float(high), error=float(resampled_R.std()))
