"""What the evaluations say: accuracies and paired differences with intervals, by arm, decoding and group."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hasse.data.errors import WorkError
from hasse.data.records import Evaluation
from hasse.pipeline.store import Artifact
from hasse.stages.statistics.bootstrap import Bootstrap, Interval

UNKNOWN = "unknown"

SCORE = "score"
"""Nearness to the gold answer, or to the expert's: what is compared where no prompt has a gold answer."""

MEASURES: dict[str, Callable[[Evaluation], float]] = {
    "strict": lambda row: float(bool(row.correct_strict)),
    "loose": lambda row: float(bool(row.correct_loose)),
    "first": lambda row: float(bool(row.correct_first)),
    SCORE: lambda row: row.score or 0.0,
}
"""Of one answer; the readings as in `hasse.stages.grading`."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One arm under one decoding. `strict`, `loose` and `first` are readings of the same answers, over the prompts that

    have a gold answer; None where no prompt has one.
    """

    arm: str
    decoding: str
    num_seeds: int
    num_prompts: int
    strict: Interval | None
    loose: Interval | None
    score: Interval | None
    """Nearness to the gold answer, or to the expert's, where every answer has it."""
    differences: dict[str, Interval]
    """Baseline -> how much higher, by `measure`."""
    pairs: Interval | None
    """Share of a prompt's held-out pairs that the model has in order, where it was measured."""
    sequences: int | None
    """What one training run of the arm put through a model: completions with their prompts; None for no training."""
    drift: Interval | None
    """Log-prob of the experts' answers against the student's, nats a token, where it was measured."""
    by_group: dict[str, Interval]
    """Group of prompts -> mean of `measure`."""
    first: Interval | None = None
    measure: str | None = "strict"
    """What is compared: the reading of the task; `score` where no prompt has a gold answer; None where nothing is."""

    @property
    def accuracy(self) -> Interval | None:
        """By the reading of the task."""
        return None if self.measure == SCORE else self.compared

    @property
    def compared(self) -> Interval | None:
        """The mean of what is compared."""
        return getattr(self, self.measure) if self.measure else None


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Greedy answers of one arm over its seeds: gold label -> stated label, or unknown -> count."""

    arm: str
    counts: dict[str, dict[str, int]]


class Answers:
    """The graded answers of all arms on the same prompts."""

    def __init__(self, evaluations: Sequence[Artifact]):
        self.rows: dict[str, list[list[Evaluation]]] = defaultdict(list)
        for artifact in evaluations:
            self.rows[arm_of(artifact)].append(list(artifact.records(Evaluation)))
        first = next(iter(self.rows.values()))[0]
        self.prompts = sorted({row.prompt_id: row for row in first}.values(), key=lambda row: row.prompt_id)
        self.graded = [row for row in self.prompts if row.correct_strict is not None]
        """The prompts that have a gold answer."""

    @property
    def decodings(self) -> list[str]:
        return list(dict.fromkeys(row.decoding for rows in self.rows.values() for row in rows[0]))

    def measured_by(self, measure: str) -> list[Evaluation]:
        """The prompts that a measure is taken over: all for the score, for a reading those with a gold answer."""
        return self.prompts if measure == SCORE else self.graded

    def measure(self, reading: str) -> str | None:
        """What is compared where answers are read so: the reading, the score without gold answers, or nothing."""
        return reading if self.graded else SCORE if self.has_scores else None

    def scores(self, arm: str, decoding: str, measure: str) -> np.ndarray:
        """[seeds, prompts of the measure]: the mean over a prompt's answers. Raises WorkError if one is missing.

        measure: a reading, the share that is right; score, how near they are to the gold answer or the expert's.
        """
        return np.stack([self._seed(rows, arm, decoding, measure) for rows in self.rows[arm]])

    @property
    def has_scores(self) -> bool:
        asked = [row for rows in self.rows.values() for row in rows[0] if row.status != "filtered"]
        return bool(asked) and all(row.score is not None for row in asked)

    def drift(self, arm: str) -> np.ndarray | None:
        """[seeds, prompts]: log-prob of the expert's answer minus the student's, nats a token; None if not measured."""
        if "student" not in self.rows or arm == "student":
            return None
        base = _reference_logprobs(self.rows["student"][0])
        seeds = [_reference_logprobs(rows) for rows in self.rows[arm]]
        known = [row.prompt_id for row in self.prompts if row.prompt_id in base]
        if len(known) < len(self.prompts) or any(i not in seed for seed in seeds for i in known):
            return None
        return np.array([[seed[i] - base[i] for i in known] for seed in seeds])

    def confusion(self, arm: str, reading: str) -> Confusion:
        """By the reading of the task, over the prompts that have a gold label."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for row in (row for rows in self.rows[arm] for row in rows):
            if row.decoding == "greedy" and row.gold is not None:
                counts[row.gold][getattr(row, f"label_{reading}") or UNKNOWN] += 1
        return Confusion(arm=arm, counts={gold: dict(found) for gold, found in sorted(counts.items())})

    def _seed(self, rows: list[Evaluation], arm: str, decoding: str, measure: str) -> np.ndarray:
        position = {row.prompt_id: i for i, row in enumerate(self.measured_by(measure))}
        right, asked = np.zeros(len(position)), np.zeros(len(position))
        for row in rows:
            if row.decoding == decoding and row.prompt_id in position:
                right[position[row.prompt_id]] += MEASURES[measure](row)
                asked[position[row.prompt_id]] += 1
        if not asked.all():
            raise WorkError(f"arm {arm} has no {decoding} answer to {int((asked == 0).sum())} of the prompts")
        return right / asked


def _reference_logprobs(rows: list[Evaluation]) -> dict[str, float]:
    """Nats a token."""
    return {
        row.prompt_id: row.reference_logprob / row.reference_tokens
        for row in rows
        if row.reference_logprob is not None and row.reference_tokens
    }


def arm_of(artifact: Artifact) -> str:
    """The arm that the artifact's step belongs to. Raises WorkError where its step has no such label."""
    return str(artifact.label("arm"))


def sequences(trained: Sequence[Artifact]) -> dict[str, int]:
    """Arm -> completions put through a model in one of its training runs: all its steps, and the reference pass."""
    total: Counter[str] = Counter()
    seeds: dict[str, set[str | int]] = defaultdict(set)
    for artifact in trained:
        spent = artifact.manifest.metrics.get("cost", {})
        total[arm_of(artifact)] += spent.get("sequences", 0) + spent.get("reference_sequences", 0)
        seeds[arm_of(artifact)].add(artifact.label("seed"))
    return {arm: round(total[arm] / len(seeds[arm])) for arm in total}


def results(
    answers: Answers,
    *,
    baselines: Sequence[str],
    primary: str,
    num_resamples: int,
    sequences: Mapping[str, int] | None = None,
) -> list[Result]:
    """One result an arm and decoding, in the order of the arms. primary: the reading of the task."""
    measure = answers.measure(primary)
    means = {name: _Means(answers, name, num_resamples) for name in MEASURES if _is_measured(answers, name)}
    found = []
    for decoding in answers.decodings:
        compared = {arm: answers.scores(arm, decoding, measure) for arm in answers.rows} if measure else {}
        for arm, rows in answers.rows.items():
            mean = {name: each.of(arm, decoding) for name, each in means.items()}
            rivals = [name for name in _rivals(arm, baselines) if name in compared]
            found.append(
                Result(
                    arm=arm,
                    decoding=decoding,
                    num_seeds=len(rows),
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
                    pairs=_over_prompts(answers, arm, num_resamples),
                    sequences=(sequences or {}).get(arm),
                    drift=_drift(answers, arm, num_resamples),
                    by_group=means[measure].by_group(compared[arm]) if measure else {},
                )
            )
    return found


class _Means:
    """Means of one measure over the prompts that it is taken over, resampled by their clusters."""

    def __init__(self, answers: Answers, measure: str, num_resamples: int):
        self.answers, self.measure, self.num_resamples = answers, measure, num_resamples
        self.prompts = answers.measured_by(measure)
        self.bootstrap = Bootstrap([row.cluster_id for row in self.prompts], num_resamples=num_resamples)

    def of(self, arm: str, decoding: str) -> Interval:
        return self.bootstrap.mean(self.answers.scores(arm, decoding, self.measure))

    def by_group(self, score_SP: np.ndarray) -> dict[str, Interval]:
        """Group of prompts -> its mean, from [seeds, prompts]."""
        found = {}
        for group in sorted({row.group for row in self.prompts if row.group}):
            members = np.array([row.group == group for row in self.prompts])
            clusters = [row.cluster_id for row in self.prompts if row.group == group]
            found[group] = Bootstrap(clusters, num_resamples=self.num_resamples).mean(score_SP[:, members])
        return found


def _is_measured(answers: Answers, measure: str) -> bool:
    return answers.has_scores if measure == SCORE else bool(answers.graded)


def _drift(answers: Answers, arm: str, num_resamples: int) -> Interval | None:
    drift = answers.drift(arm)
    if drift is None:
        return None
    return Bootstrap([row.cluster_id for row in answers.prompts], num_resamples=num_resamples).mean(drift, scale=None)


def _over_prompts(answers: Answers, arm: str, num_resamples: int) -> Interval | None:
    """The mean pair accuracy over the prompts that have pairs."""
    seeds = [{r.prompt_id: r.pair_accuracy for r in rows if r.pair_accuracy is not None} for rows in answers.rows[arm]]
    known = [row for row in answers.prompts if all(row.prompt_id in seed for seed in seeds)]
    if not known:
        return None
    bootstrap = Bootstrap([row.cluster_id for row in known], num_resamples=num_resamples)
    return bootstrap.mean(np.array([[seed[row.prompt_id] for row in known] for seed in seeds]))


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One arm on one benchmark: the mean of its own measure, and the benchmark's numbers, means over the seeds."""

    arm: str
    benchmark: str
    value: Interval
    numbers: dict[str, float]
    num_items: int
    num_contaminated: int


def measured(artifacts: Sequence[Artifact], *, num_resamples: int) -> list[Measured]:
    """One row an arm and benchmark, in their order."""
    groups: dict[tuple[str, str], list[Artifact]] = defaultdict(list)
    for artifact in artifacts:
        groups[arm_of(artifact), str(artifact.label("benchmark"))].append(artifact)
    found = []
    for (arm, benchmark), group in groups.items():
        rows = [list(artifact.records(Evaluation)) for artifact in group]
        score_SI = np.array([[row.score or 0.0 for row in seed] for seed in rows])
        bootstrap = Bootstrap([row.cluster_id for row in rows[0]], num_resamples=num_resamples)
        summaries = [artifact.manifest.metrics["summary"] for artifact in group]
        found.append(
            Measured(
                arm=arm,
                benchmark=benchmark,
                value=bootstrap.mean(score_SI),
                numbers={name: float(np.mean([s[name] for s in summaries])) for name in summaries[0]},
                num_items=len(rows[0]),
                num_contaminated=group[0].manifest.metrics["contaminated"],
            )
        )
    return found


def conclusion(found: Sequence[Result], baselines: Sequence[str]) -> list[str]:
    """One sentence a decoding and baseline: what is above, what is below, what cannot be told apart from it."""
    sentences = []
    for decoding in dict.fromkeys(result.decoding for result in found):
        mine = [result for result in found if result.decoding == decoding]
        for baseline in baselines:
            against = {r.arm: r.differences[baseline] for r in mine if baseline in r.differences}
            if against:
                sentences.append(f"{decoding.capitalize()} answers, against {baseline}: {_verdict(against)}")
    return sentences


def _rivals(arm: str, baselines: Sequence[str]) -> list[str]:
    """The student is where all started, not a rival of what was trained."""
    return [] if arm == "student" else [name for name in baselines if name != arm]


def _verdict(against: dict[str, Interval]) -> str:
    """Means in points, by what their intervals say; the power is that of a typical comparison among these."""
    told = {
        "higher": [_named(arm, d) for arm, d in against.items() if d.low > 0],
        "lower": [_named(arm, d) for arm, d in against.items() if d.high < 0],
        "not told apart": [_named(arm, d) for arm, d in against.items() if not d.excludes_zero],
    }
    detectable = 100 * float(np.median([d.smallest_detectable for d in against.values()]))
    power = f" A true difference of {detectable:.1f} points would be found 4 times in 5." if detectable else ""
    return "; ".join(f"{what} {_listed(names)}" for what, names in told.items() if names) + "." + power


def _named(arm: str, difference: Interval) -> str:
    return f"{arm} {100 * difference.mean:+.1f}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
