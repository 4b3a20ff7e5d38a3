"""Which model of a recipe is the latest: one night's model takes the place of another only if it beats it.

    store/latest/<recipe>.json      {"recipe", "terms", "latest": night or null, "nights": [night, ...]}

The file is replaced as a whole, so that the pointer and its history always agree, and carries a digest of itself.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from data.config import key_of
from data.errors import CorruptFile, InputError
from flows.nightly_settings import LATEST
from flows.recipe import Recipe
from pipeline.disk import disk_errors
from pipeline.files import make_folder, write_atomically
from pipeline.fingerprint import differences
from pipeline.sealed import read_sealed, seal
from pipeline.store import Artifact, Store
from stages import student
from stages.results import Answers
from stages.statistics import Bootstrap

FOLDER = "latest"
REMEDY = "restore it, or remove it to begin the nights anew"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How much better tonight's model is on the same prompts; points, with the 95 % interval."""

    metric: str
    gain: float
    low: float
    high: float
    min_gain: float
    num_prompts: int

    @property
    def is_won(self) -> bool:
        return self.low > self.min_gain

    def __str__(self) -> str:
        return f"{self.gain:+.1f} points ({self.low:+.1f} to {self.high:+.1f}) on {self.num_prompts} prompts"


@dataclass(frozen=True, kw_only=True)
class Night:
    """What one night made and what became of it; artifacts by their references.

    rival: `latest`, or `student` while nothing has been promoted; previous: the model that was the latest before.
    """

    night: str
    run: str
    when: str
    promoted: bool
    reason: str
    comparison: Comparison
    checkpoint: str
    evaluation: str
    rival: str
    rival_checkpoint: str
    rival_evaluation: str
    previous: str | None
    prompts: str
    report: str


@dataclass(frozen=True, kw_only=True)
class History:
    """The nights of one recipe, oldest first; terms: what must stay the same from night to night."""

    recipe: str
    terms: dict[str, Any] = field(default_factory=dict)
    nights: tuple[Night, ...] = ()

    @property
    def latest(self) -> Night | None:
        return next((night for night in reversed(self.nights) if night.promoted), None)

    def references(self) -> set[str]:
        """Artifacts that must stay: the latest model, the one before it, and the prompts whose splits are carried."""
        found = {self.nights[-1].prompts} if self.nights else set()
        if self.latest:
            found |= {self.latest.checkpoint, self.latest.evaluation, self.latest.report}
            found |= {self.latest.previous} if self.latest.previous else set()
        return found


def history_path(store: Store, recipe: str) -> Path:
    return store.root / FOLDER / f"{recipe}.json"


def read_history(store: Store, recipe: str) -> History:
    """Without nights when there has been none. Raises CorruptFile."""
    path = history_path(store, recipe)
    store.gather(path.parent, path.name)
    if not path.exists():
        return History(recipe=recipe)
    try:
        values = read_sealed(path, kind="record of nights")
        found = TypeAdapter(History).validate_python({name: values[name] for name in ("recipe", "terms", "nights")})
    except (ValidationError, KeyError) as error:
        raise CorruptFile(f"{path} is not a record of nights: {error}; {REMEDY}") from error
    except CorruptFile as error:
        raise CorruptFile(f"{error}; {REMEDY}") from error
    if found.recipe != recipe:
        raise CorruptFile(f"{path} is the record of the nights of {found.recipe}, under another name; {REMEDY}")
    return found


def read_histories(store: Store) -> tuple[list[History], list[str]]:
    """Of every recipe that has had a night, by name; and what is wrong with records that cannot be read."""
    store.gather(store.root / FOLDER, "*.json")
    found, problems = [], []
    for path in sorted((store.root / FOLDER).glob("*.json")):
        try:
            found.append(read_history(store, path.stem))
        except CorruptFile as error:
            problems.append(str(error))
    return found, problems


def write_history(store: Store, history: History) -> None:
    path = history_path(store, history.recipe)
    latest = asdict(history.latest) if history.latest else None
    values = {"recipe": history.recipe, "terms": history.terms, "latest": latest}
    with disk_errors(store.root):
        make_folder(path.parent)
        write_atomically(path, seal({**values, "nights": [asdict(night) for night in history.nights]}))
    store.share(path)


def pinned(store: Store) -> set[str]:
    """References of the artifacts that no recipe's nights can do without. Raises CorruptFile where they are unknown."""
    histories, problems = read_histories(store)
    if problems:
        raise CorruptFile(problems[0])
    return {ref for history in histories for ref in history.references()}


def terms(recipe: Recipe) -> dict[str, Any]:
    """What a night cannot change without forgetting the nights before."""
    found = {
        "source": {"kind": recipe.source.kind},
        "prompts": {
            "fractions": recipe.prompts.fractions.model_dump(),
            "split_seed": recipe.prompts.split_seed,
        },
    }
    assert recipe.nightly is not None, "a night's recipe has the section"
    if recipe.nightly.start == LATEST:
        found["student"] = key_of(recipe.student) | student.external(recipe.student)
    return found


def check_terms(history: History, recipe: Recipe, *, path: Path) -> None:
    """Raises InputError when the recipe contradicts the nights before."""
    now = terms(recipe)
    common = {name: values for name, values in history.terms.items() if name in now}
    changed = differences(common, {name: now[name] for name in common})
    if changed:
        told = "; ".join(f"{key} was {before!r} and is {after!r}" for key, before, after in changed)
        raise InputError(
            f"{told}. Old prompts keep their splits and the latest model its start; "
            f"undo the change, give the recipe another name, or remove {path} to begin anew"
        )


def compare(contender: Artifact, rival: Artifact, *, metric: str, min_gain: float, num_resamples: int) -> Comparison:
    """Two models' answers to the same prompts, by the paired difference, resampling clusters of prompts."""
    named = {"contender": contender, "rival": rival}
    answers = Answers([model.standing_for(name, {"arm": name}) for name, model in named.items()])
    decoding, _, reading = metric.partition("_")
    prompts = answers.measured_by(reading)
    if not prompts:
        raise InputError(
            f"nightly.metric: {metric} counts right answers, but no held-out prompt has a gold answer; set it to "
            f"{decoding}_score, which compares answers with the experts'"
        )
    bootstrap = Bootstrap([row.cluster_id for row in prompts], num_resamples=num_resamples)
    ours, theirs = (answers.scores(name, decoding, reading) for name in ("contender", "rival"))
    found = bootstrap.difference(ours, theirs)
    return Comparison(
        metric=metric,
        gain=round(100 * found.mean, 3),
        low=round(100 * found.low, 3),
        high=round(100 * found.high, 3),
        min_gain=min_gain,
        num_prompts=len(prompts),
    )


def judge_night(
    recipe: Recipe, artifacts: Mapping[str, Artifact], history: History, *, night: str, run: str, when: str
) -> Night:
    """Promoted or not, with the reason; nothing is written."""
    assert recipe.nightly is not None, "a night's recipe has the section"
    contender = recipe.contender()
    rival = LATEST if history.latest else "student"
    evaluations = [artifacts[f"evaluate/{name}"] for name in (contender, rival)]
    comparison = compare(
        *evaluations,
        metric=recipe.night_metric(),
        min_gain=recipe.nightly.min_gain,
        num_resamples=recipe.report.num_resamples,
    )
    before = history.latest.checkpoint if history.latest else None
    return Night(
        night=night,
        run=run,
        when=when,
        promoted=comparison.is_won,
        reason=_reason(contender, rival, comparison),
        comparison=comparison,
        checkpoint=artifacts[f"train/{contender}"].ref,
        evaluation=evaluations[0].ref,
        rival=rival,
        rival_checkpoint=before or artifacts["student"].ref,
        rival_evaluation=evaluations[1].ref,
        previous=before,
        prompts=artifacts["prompts"].ref,
        report=artifacts["report"].ref,
    )


def _reason(contender: str, rival: str, found: Comparison) -> str:
    against = f"{contender} against {rival}, {found.metric}: {found}"
    if found.is_won:
        return f"promoted: {against}; the lower bound is above {found.min_gain:g}"
    kept = "the latest model stays" if rival == LATEST else "nothing is promoted"
    return f"{kept}: {against}; the lower bound is not above {found.min_gain:g}"


def as_markdown(night: Night) -> str:
    """The verdict as a short page."""
    c = night.comparison
    rows = {
        "verdict": "promoted" if night.promoted else "not promoted",
        "gain, points": f"{c.gain:+.1f} ({c.low:+.1f} to {c.high:+.1f}), must exceed {c.min_gain:g} at the lower bound",
        "measured by": f"{c.metric} on {c.num_prompts} held-out prompts",
        "model": f"`{night.checkpoint}`",
        f"rival ({night.rival})": f"`{night.rival_checkpoint}`",
        "report": f"`{night.report}`",
        "run": f"`{night.run}`",
    }
    return "\n".join([f"# {night.reason}", "", "| | |", "|--|--|", *(f"| {k} | {v} |" for k, v in rows.items())])
