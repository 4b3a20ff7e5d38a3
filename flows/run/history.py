"""The nights of each recipe: the latest model, and the verdict of every night.

    store/latest/<recipe>.json      {"recipe", "terms", "latest": night or null, "nights": [night, ...]}

The file is replaced as a whole, so that the pointer to the latest model and the list of nights always agree. The file
holds a digest of itself.
"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from hasse.data.errors import CorruptFile
from hasse.pipeline.sealed import read_sealed, seal
from hasse.pipeline.store import Store

FOLDER = "latest"
REMEDY = "restore the file, or remove it to begin the nights anew"


@dataclass(frozen=True, kw_only=True)
class ModelComparison:
    """The difference between tonight's model and its rival on the same prompts, in points, with the 95 % interval."""

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
    """One night: the references of its artifacts, and the verdict.

    `rival` is `latest`, or `student` if no model has been promoted before. `previous` is the model that was the latest
    before this night.
    """

    night: str
    run: str
    when: str
    promoted: bool
    reason: str
    comparison: ModelComparison
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
    """The nights of one recipe, oldest first. `terms` are the settings that must stay the same from night to night."""

    recipe: str
    terms: dict[str, Any] = field(default_factory=dict)
    nights: tuple[Night, ...] = ()
    version: str | None = field(default=None, compare=False)
    """The version of the record that this history was read from, or None without a record."""

    @property
    def latest(self) -> Night | None:
        return next((night for night in reversed(self.nights) if night.promoted), None)

    def references(self) -> set[str]:
        """Artifacts that later nights need: the latest model, the one before it, and the prompts with their splits."""
        found = {self.nights[-1].prompts} if self.nights else set()
        if self.latest:
            found |= {self.latest.checkpoint, self.latest.evaluation, self.latest.report}
            found |= {self.latest.previous} if self.latest.previous else set()
        return found


def history_path(store: Store, recipe: str) -> Path:
    return store.root / FOLDER / f"{recipe}.json"


def read_history(store: Store, recipe: str) -> History:
    """Read the nights of a recipe: none if there is no record. Raises CorruptFile."""
    path = history_path(store, recipe)
    version = store.refresh(path)
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
    return replace(found, version=version)


def read_histories(store: Store) -> tuple[list[History], list[str]]:
    """The histories of all recipes with nights, and a message for each record that cannot be read."""
    store.gather(store.root / FOLDER, "*.json")
    found, problems = [], []
    for path in sorted((store.root / FOLDER).glob("*.json")):
        try:
            found.append(read_history(store, path.stem))
        except CorruptFile as error:
            problems.append(str(error))
    return found, problems


def write_history(store: Store, history: History) -> None:
    """Write the record. Raises Conflict if the record has changed since the history was read."""
    path = history_path(store, history.recipe)
    latest = asdict(history.latest) if history.latest else None
    values = {"recipe": history.recipe, "terms": history.terms, "latest": latest}
    text = seal({**values, "nights": [asdict(night) for night in history.nights]})
    store.replace(path, text, history.version)


def pinned(store: Store) -> set[str]:
    """References of the artifacts that nights need. Raises CorruptFile if a record cannot be read."""
    histories, problems = read_histories(store)
    if problems:
        raise CorruptFile(problems[0])
    return {ref for history in histories for ref in history.references()}
