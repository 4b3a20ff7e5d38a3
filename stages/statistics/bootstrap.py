"""Means with intervals: a bootstrap over clusters of prompts and over training seeds.

Answers to the same prompt or to near-duplicate prompts are not independent, nor are several samples of one model. So
the bootstrap resamples clusters of prompts and, crossed with them, the training seeds of an arm. With three seeds the
spread between seeds is known only roughly. The intervals do not cover the choice of the data or of the student.

Where all resamples agree, a bootstrap would claim certainty. With n independent clusters, an event that none of them
showed may still happen at a rate of up to 1 - 0.025^(1/n), the exact bound of Clopper and Pearson. The interval then
uses this bound: for a share of 0 or 1 from that end of the scale, for a difference of 0 in both directions. A single
cluster says nothing about the spread, so its interval is the whole scale.

Legend: S seeds, I prompts, R resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

Array = np.ndarray

LEVEL = 0.95
NORMAL_Z = 1.959964
Scale = tuple[float, float]
"""The lowest and the highest possible value of one answer."""
SHARE: Scale = (0.0, 1.0)
BALANCE: Scale = (-1.0, 1.0)
"""The scale of a difference of two shares, and of wins minus losses."""
POWER_Z = NORMAL_Z + 0.841621
"""A difference of this many standard errors is detected with 80 % power by a two-sided test at 5 %."""

ROUNDING = 1e-12
"""Resamples that differ by less than this are equal."""


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
        """The true difference that such an experiment would detect with 80 % power."""
        return POWER_Z * self.error


class Bootstrap:
    """A bootstrap with the same resamples of prompt clusters for every arm, so that differences are paired.

    clusters: the cluster of each of the I prompts.
    """

    def __init__(self, clusters: Sequence[str], *, num_resamples: int, seed: int = 0):
        self.seed = seed
        self.num_clusters = len(set(clusters))
        names = {name: i for i, name in enumerate(dict.fromkeys(clusters))}
        self.cluster_I = np.array([names[name] for name in clusters])
        drawn = np.random.default_rng(seed).multinomial(
            len(names), np.full(len(names), 1 / len(names)), size=num_resamples
        )
        self.weight_RI = drawn[:, self.cluster_I].astype(float)

    def mean(self, score_SI: Array, *, scale: Scale | None = SHARE) -> Interval:
        """The mean over seeds and prompts. scale: None for a score without bounds, such as a log-prob."""
        return self._interval(score_SI.mean(), self._resampled(score_SI), scale)

    def difference(self, score_SI: Array, baseline_SI: Array) -> Interval:
        """The score minus the baseline on the same prompts; the seeds of the two are resampled independently."""
        resampled_R = self._resampled(score_SI) - self._resampled(baseline_SI, draw=1)
        return self._interval(score_SI.mean() - baseline_SI.mean(), resampled_R, BALANCE)

    def _interval(self, mean: float, resampled_R: Array, scale: Scale | None) -> Interval:
        low, high = np.quantile(resampled_R, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        interval = Interval(mean=float(mean), low=float(low), high=float(high), error=float(resampled_R.std()))
        is_degenerate = np.ptp(resampled_R) < ROUNDING
        return _exact(interval, self.num_clusters, scale) if scale and is_degenerate else interval

    def _resampled(self, score_SI: Array, *, draw: int = 0) -> Array:
        """The mean in each resample, [R]. Each number `draw` gives another, reproducible draw of the seeds."""
        num_seeds = len(score_SI)
        total_RS = self.weight_RI @ score_SI.T / self.weight_RI.sum(1, keepdims=True)
        rng = np.random.default_rng((self.seed, 1 + draw))
        seeds_RS = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=len(total_RS)) / num_seeds
        return (total_RS * seeds_RS).sum(1)


def _exact(interval: Interval, num_clusters: int, scale: Scale) -> Interval:
    """The interval of a mean that is the same in every resample."""
    low, high = scale
    unseen = 1 - ((1 - LEVEL) / 2) ** (1 / num_clusters)
    if num_clusters == 1:
        bounds = scale
    elif abs(interval.mean - low) < ROUNDING:
        bounds = (low, low + (high - low) * unseen)
    elif abs(interval.mean - high) < ROUNDING:
        bounds = (high - (high - low) * unseen, high)
    elif low < 0 and abs(interval.mean) < ROUNDING:
        bounds = (-unseen, unseen)
    else:
        return interval
    return replace(interval, low=bounds[0], high=bounds[1], error=(bounds[1] - bounds[0]) / (2 * NORMAL_Z))
