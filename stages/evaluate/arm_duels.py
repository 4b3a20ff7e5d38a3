"""Stage duel: a judge compares the answers of two arms to the same held-out prompts, for each pair of arms.

A pair of answers is judged as a prompt with two candidates, so every teacher of the stage `judge` can compare them: a
chat model in two presentation orders, a reward model, or a rule. An arm wins where its total is higher in every
presentation order, and orders that disagree make a tie. Equal answers tie without being judged.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice
from typing import Any, Literal

from pydantic import Field

from hasse.data.errors import InputError, WorkError
from hasse.data.parquet import read_records
from hasse.data.records import Candidate, Duel, Evaluation, Judgement, Prompt
from hasse.data.rendering import question_turns
from hasse.data.settings import Config, key_of, registry, unkeyed
from hasse.pipeline.fingerprint import canonical
from hasse.pipeline.manifest import Labels
from hasse.pipeline.row_chunks import Keys, Unit
from hasse.pipeline.rows import PendingItems, map_rows, missing_units
from hasse.pipeline.stage import Job, Stage
from hasse.pipeline.store import Artifact, table_name
from hasse.stages.chat.money.estimate import Planned
from hasse.stages.chat.money.estimate import estimate as estimate_of
from hasse.stages.chat.money.spending import Spending
from hasse.stages.evaluate.elo import DuelOutcome, elo
from hasse.stages.grading import TaskSettings
from hasse.stages.judge import traits
from hasse.stages.judge.traits import module_of
from hasse.stages.models.lazy import LazyModel
from hasse.stages.statistics.comparison import PairComparison, Verdict
from hasse.stages.statistics.win_rate import WinRate, win_rate

Teacher = registry.settings_union(traits.TEACHERS, "teacher")


class DuelSection(Config):
    """The recipe's section `duel`."""

    judge: Teacher = Field(description="Who compares two answers.")  # type: ignore[valid-type]
    against: list[str] = Field(
        default=["student"], min_length=1, description="Arms that every other arm is compared with."
    )
    decoding: Literal["sampled", "greedy"] = Field(
        default="sampled", description="The answers that are compared: the first sampled ones, or the greedy ones."
    )
    limit: int | None = Field(default=None, ge=1, description="Compare on only this many prompts, the first by id.")


class DuelSettings(Config):
    """Settings of the duel stage, with the task that says what is right."""

    duel: DuelSection
    task: TaskSettings
    num_pairs: int = unkeyed(0, description="Pairs of models, for an estimate before there are answers.")
    split: str = unkeyed("test", description="Split of the prompts, for an estimate before there are answers.")
    max_tokens: int = unkeyed(0, description="Tokens of an answer, for an estimate before there are answers.")


@dataclass(frozen=True, slots=True)
class Contestant:
    """A model that was evaluated."""

    arm: str
    seed: int

    @classmethod
    def of(cls, labels: Labels) -> "Contestant":
        """The model that a step with these labels evaluates."""
        return cls(str(labels["arm"]), int(labels.get("seed", 0)))


@dataclass(frozen=True, slots=True)
class Contest:
    """Two answers to one prompt."""

    prompt: Prompt
    one: Contestant
    other: Contestant
    text: str
    other_text: str

    @property
    def is_equal(self) -> bool:
        return self.text.strip() == self.other_text.strip()

    @property
    def item(self) -> tuple[Prompt, list[Candidate]]:
        """The question to a judge. The ids tell nothing about the arms, so that equal pairs are asked about once."""
        texts = {"first": self.text, "second": self.other_text}
        prompt_id = self.prompt.prompt_id
        candidates = [
            Candidate(prompt_id=prompt_id, candidate_id=f"answer-{name}", text=text, source="student")
            for name, text in texts.items()
        ]
        return self.prompt, candidates


def run(job: Job) -> None:
    settings: DuelSettings = job.settings
    teacher = settings.duel.judge
    model = LazyModel(job.input("teacher")) if traits.needs_model(teacher) else None
    spending, asks = Spending(job, planned), traits.asks_endpoint(teacher)
    contests = list(_contests(job))
    units = _units(settings, contests, model)

    def compare(asked: Iterable[Contest]) -> Iterator[list[Duel]]:
        pending = PendingItems(asked)
        items = (contest.item for contest in pending if not contest.is_equal)
        options = {"payer": spending} if asks else {}
        given = items if asks else list(items)
        told = module_of(teacher).judge(given, teacher, settings.task, model, **options)
        for judged in chain(told, [None]):
            while pending.drawn and pending.drawn[0].is_equal:
                yield [_duel(pending.oldest(), "tie", "tie")]
            if judged is not None:
                yield [_judged(pending.oldest(), judged)]

    written = map_rows(job, units, compare, Duel, total=len(contests), chunk_size=teacher.chunk_size, stream=asks)
    module_of(teacher).close()
    job.count(Duel, written.counts)
    job.metrics |= written.metrics
    spending.close(job)
    if not written.units_open:  # else the run stops, and the next one goes on
        job.metrics |= summary(list(_written(job)))


def estimate(job: Job) -> dict[str, Any] | None:
    """The questions and the money of duels that are not in the store; None where no endpoint is asked."""
    return estimate_of(planned(job))


def planned(job: Job) -> Iterator[Planned] | None:
    """The questions of duels that are not in the store; None where no endpoint is asked.

    Before the evaluations there are no answers. Then stand-ins, as long as answers may be, take their place.
    """
    settings: DuelSettings = job.settings
    if not traits.asks_endpoint(settings.duel.judge):
        return None
    if "evaluate" not in job.inputs:
        return module_of(settings.duel.judge).questions(_imagined_items(job), settings.duel.judge)
    asked = missing_units(job, _units(settings, list(_contests(job)), None), Duel)
    items = (unit.item.item for unit in asked if not unit.item.is_equal)
    return module_of(settings.duel.judge).questions(items, settings.duel.judge)


def summary(duels: Sequence[Duel]) -> dict[str, Any]:
    """`duels`: a row for each pair of arms, with the numbers and the win rate over all seeds; `elo`: arm -> rating.

    Raises WorkError for a pair of arms of which no duel has a verdict.
    """
    pairs: dict[tuple[str, str], list[Duel]] = {}
    for duel in duels:
        pairs.setdefault((duel.arm, duel.other), []).append(duel)
    rows = [{"arm": arm, "other": other, **asdict(_win_rate(members))} for (arm, other), members in pairs.items()]
    outcomes = [
        DuelOutcome(arm=d.arm, other=d.other, verdict=verdict, cluster=d.cluster_id)
        for d in duels
        if (verdict := _comparison(d).verdict) is not None
    ]
    return {"duels": rows, "elo": {arm: asdict(rating) for arm, rating in elo(outcomes).items()}}


def _win_rate(duels: Sequence[Duel]) -> WinRate:
    """The win rate of one pair of arms."""
    if all(_comparison(duel).verdict is None for duel in duels):
        reason = next((duel.error for duel in duels if duel.error), "the judge abstains from all of them")
        raise WorkError(
            f"none of the {len(duels)} duels of {duels[0].arm} and {duels[0].other} has a verdict: {reason}"
        )
    return win_rate([_comparison(duel) for duel in duels], clusters=[duel.cluster_id for duel in duels])


def _contests(job: Job) -> Iterator[Contest]:
    """Every pair of answers, sorted by prompt within each pair of arms and seeds."""
    section: DuelSection = job.settings.duel
    answers = {Contestant.of(a.labels): _answers(a, section.decoding) for a in job.inputs["evaluate"]}
    asked = sorted(next(iter(answers.values())))[: section.limit]
    prompts = {p.prompt_id: p for p in job.input("prompts").records(Prompt) if p.prompt_id in set(asked)}
    for one, other in pairs_of(list(answers), section.against):
        for prompt_id in asked:
            texts = [answers[contestant].get(prompt_id) for contestant in (one, other)]
            if None in texts:
                raise InputError(f"{job.name}: {one.arm} or {other.arm} has no {section.decoding} answer to a prompt")
            yield Contest(prompts[prompt_id], one, other, *map(str, texts))


def _imagined_items(job: Job) -> Iterator[tuple[Prompt, list[Candidate]]]:
    settings: DuelSettings = job.settings
    nobody = Contestant("", 0)
    text = "xxxx" * settings.max_tokens
    for number in range(settings.num_pairs):
        prompts = (p for p in job.input("prompts").records(Prompt) if p.status == "ok" and p.split == settings.split)
        for prompt in islice(prompts, settings.duel.limit):
            yield Contest(prompt, nobody, nobody, f"{text} {number}", text).item


def pairs_of(contestants: Sequence[Contestant], against: Sequence[str]) -> Iterator[tuple[Contestant, Contestant]]:
    """Each arm against each arm of `against`, by seeds: a model with one seed meets all seeds of the other arm."""
    seeds: dict[str, list[Contestant]] = {}
    for contestant in contestants:
        seeds.setdefault(contestant.arm, []).append(contestant)
    for number, rival in enumerate(against):
        for arm in seeds:
            if arm == rival or arm in against[:number]:
                continue
            mine, theirs = seeds[arm], seeds[rival]
            for i in range(max(len(mine), len(theirs))):
                yield mine[i % len(mine)], theirs[i % len(theirs)]


def _answers(artifact: Artifact, decoding: str) -> dict[str, str]:
    """prompt_id -> the arm's first answer of this decoding; "" where the prompt did not fit into the context."""
    rows = artifact.records(Evaluation)
    return {row.prompt_id: row.text for row in rows if row.decoding == decoding and row.sample == 0}


def _units(settings: DuelSettings, contests: Iterable[Contest], model: LazyModel | None) -> Iterator[Unit[Contest]]:
    teacher = settings.duel.judge
    identity = model.identity if model else None
    keys = Keys.of(key_of(teacher), key_of(settings.task), identity, traits.external(teacher))
    for c in contests:
        turns = [[m.role, m.content] for m in question_turns(c.prompt)]
        known = [c.prompt.text, turns, c.prompt.reference, c.prompt.label, c.prompt.answers, c.prompt.cluster_id]
        arms = [c.one.arm, c.one.seed, c.other.arm, c.other.seed]
        yield keys.unit(c, c.prompt.prompt_id, canonical([known, arms]).decode(), c.text, c.other_text)


def _judged(contest: Contest, judgements: Sequence[Judgement]) -> Duel:
    """The duel with the verdicts for the first arm when it was shown first and second."""
    one, other = judgements
    status, error = max((one.status, one.error), (other.status, other.error), key=lambda found: found[0] != "ok")
    if status != "ok":
        return _duel(contest, None, None, status=status, error=error)
    verdicts: dict[bool, Verdict | None] = {}
    for mine, theirs in zip(one.presentations, other.presentations, strict=True):
        verdicts[mine.slot < theirs.slot] = _verdict(mine.total, theirs.total)
    if not verdicts:  # the judge scores each answer alone, so that nothing was shown first
        verdicts = dict.fromkeys((True, False), _verdict(one.total, other.total))
    return _duel(contest, verdicts.get(True), verdicts.get(False), reasoning=one.reasoning)


def _verdict(total: float | None, other: float | None) -> Verdict | None:
    if total is None or other is None:
        return None
    return "win" if total > other else "lose" if total < other else "tie"


def _duel(contest: Contest, first: Verdict | None, second: Verdict | None, **fields: Any) -> Duel:
    return Duel(
        prompt_id=contest.prompt.prompt_id,
        cluster_id=contest.prompt.cluster_id,
        arm=contest.one.arm,
        seed=contest.one.seed,
        other=contest.other.arm,
        other_seed=contest.other.seed,
        first=first,
        second=second,
        **fields,
    )


def _comparison(duel: Duel) -> PairComparison:
    return PairComparison(prompt_id=duel.prompt_id, first=duel.first, second=duel.second)  # type: ignore[arg-type]


def _written(job: Job) -> Iterator[Duel]:
    return read_records(job.path / f"{table_name(Duel)}.parquet", Duel)


STAGE = Stage(
    name="duel",
    run=run,
)
