"""Settings of every list-wise judge: the aspects, how it is asked, and the templates of its questions."""

from pathlib import Path
from typing import Literal

from pydantic import Field, FiniteFloat, model_validator

from hasse.data.errors import SourceError
from hasse.data.settings import Config, Seed, unkeyed
from hasse.pipeline.fingerprint import file_digest
from hasse.stages.judge.list_questions import Aspect

TEMPLATES = Path(__file__).parent / "teachers" / "templates"

ASPECTS = (
    Aspect(name="correctness", description="What it says is true, and its conclusion follows.", weight=2.0),
    Aspect(name="helpfulness", description="It answers what was asked, as fully as was asked."),
    Aspect(name="clarity", description="It is easy to follow and holds nothing superfluous."),
)

SCALE = (1.0, 10.0)


class PanelSettings(Config):
    """The settings that every list-wise judge has."""

    mode: Literal["scores", "ranking", "contextual"] = Field(
        default="scores",
        description="What a reply gives. scores: scores by aspect; ranking: a ranking with ties, whose total is the "
        "share of the other answers that an answer beats, mapped to the scale; contextual: Tuna's question, in which "
        "the judge answers first, leaves out duplicates and scores three aspects from 0 to 5.",
    )
    aspects: tuple[Aspect, ...] = Field(default=ASPECTS, min_length=1, description="What counts.")
    scale: tuple[FiniteFloat, FiniteFloat] = Field(default=SCALE, description="The worst and the best score.")
    template: str | None = unkeyed(
        None, description="Jinja file of the question; its content enters the key. Left out: the shipped one."
    )
    orders: Literal[1, 2] = Field(default=2, description="Presentation orders in which a prompt is asked.")
    pairwise: Literal["never", "disagreements"] = Field(
        default="never", description="disagreements: pairs that the two orders put differently are asked on their own."
    )
    pair_template: str | None = unkeyed(
        None, description="Jinja file of the question on a pair; its content enters the key. Left out: the shipped one."
    )
    seed: Seed = Field(default=0, description="Another seed, other presentation orders.")
    chunk_size: int = unkeyed(50, ge=1, description="Prompts between two commits to the store.")

    @model_validator(mode="after")
    def _fits(self) -> "PanelSettings":
        names = [aspect.name for aspect in self.aspects]
        if len(set(names)) < len(names):
            raise ValueError(f"aspects {', '.join(names)} are not all different")
        if not self.scale[0] < self.scale[1]:
            raise ValueError(f"scale {self.scale}: the worst score must be below the best")
        if self.mode == "contextual":
            self._check_contextual()
        if self.pairwise == "disagreements" and self.orders == 1:
            raise ValueError("pairwise: disagreements compares two presentation orders; set orders: 2")
        return self

    def _check_contextual(self) -> None:
        if self.aspects != ASPECTS or self.scale != SCALE or self.pairwise != "never":
            raise ValueError(
                "mode: contextual has aspects and a scale of its own, and asks about no pairs; leave out aspects, "
                "scale and pairwise"
            )

    @property
    def list_path(self) -> Path:
        names = {"scores": "listwise.j2", "ranking": "ranking.j2", "contextual": "contextual.j2"}
        return Path(self.template or TEMPLATES / names[self.mode])

    @property
    def pair_path(self) -> Path:
        return Path(self.pair_template or TEMPLATES / "pairwise.j2")


def external(settings: PanelSettings) -> dict[str, str]:
    """Digests of the templates. Raises SourceError for a template that does not exist."""
    used = {"template": settings.list_path}
    if settings.pairwise != "never":
        used["pair_template"] = settings.pair_path
    for path in used.values():
        if not path.is_file():
            raise SourceError("there is no such file", file=path)
    return {name: file_digest(path) for name, path in used.items()}
