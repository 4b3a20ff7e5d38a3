"""Source `entailment`: riddles of who is taller, older or faster than whom, made by rules that know the truth.

    premise: Ann is taller than Bob. Bob is taller than Cal.
    hypothesis: Cal is taller than Ann.
    answer: Ann is taller than Bob and Bob is taller than Cal, so Ann is taller than Cal.
            label: contradiction

In the split `pretrain`, a share of the answers has a wrong explanation and label: a student trained on them is a fluent
beginner. Each premise belongs to one split, by a hash of its facts. Each split has its own random numbers, so a larger
number of prompts leaves the first prompts unchanged.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from hasse.data.errors import SourceError
from hasse.data.raw_prompt import RawPrompt
from hasse.data.settings import Config, Seed
from hasse.data.text import unit_hash

LABELS = ("entailment", "neutral", "contradiction")
NAMES = ("Ann", "Bob", "Cal", "Dan", "Eve", "Fay", "Gus", "Hal", "Ida", "Jon", "Kim", "Leo")
RELATIONS = ("taller", "older", "faster", "richer", "braver", "wiser")
SHARES = {"pretrain": 0.55, "train": 0.25, "validation": 0.1, "test": 0.1}
"""The share of the premises in each split."""

SINGLE_FACTS = 0.35
"""The share of premises with one fact, which a beginner learns first."""

ODD_CLAIMS = 0.3
"""The share of claims that may be of any relation, and the share that may name a person not in the premise."""

MAX_TRIES = 5000
"""After so many draws without a new prompt, no more different prompts are expected."""

INSTRUCTION = (
    "Does the hypothesis follow from the premise (entailment), contradict it (contradiction), or neither (neutral)? "
    "Say why in one sentence, then end with a line of its own that states the label, such as `label: neutral`."
)


class Settings(Config):
    """The sizes of the splits and the difficulty of the riddles."""

    kind: Literal["entailment"] = "entailment"
    num_pretrain: int = Field(
        default=6000, ge=0, description="Prompts with partly wrong answers, to train a student from scratch."
    )
    num_train: int = Field(default=1200, ge=0, description="Prompts of the split train.")
    num_validation: int = Field(default=500, ge=0, description="Prompts of the split validation.")
    num_test: int = Field(default=500, ge=0, description="Prompts of the split test.")
    noise: float = Field(
        default=0.3, ge=0, le=1, description="The share of pretraining answers with a wrong label and explanation."
    )
    num_names: int = Field(
        default=5, ge=4, le=len(NAMES), description="The number of people. More people make the task larger and harder."
    )
    seed: Seed = Field(default=0, description="Another seed gives other prompts.")


@dataclass(frozen=True)
class Riddle:
    """One fact (greater, lesser), or two that share a person, and a claim, maybe of another relation or person."""

    relation: str
    facts: tuple[tuple[str, str], ...]
    claim: tuple[str, str]
    claimed: str

    @property
    def label(self) -> str:
        known = set(self.facts) | {(a, d) for a, b in self.facts for c, d in self.facts if b == c}
        greater, lesser = self.claim
        if self.claimed != self.relation or not known & {(greater, lesser), (lesser, greater)}:
            return "neutral"
        return "entailment" if (greater, lesser) in known else "contradiction"

    @property
    def cluster_key(self) -> str:
        return f"{self.relation} {sorted(self.facts)}"

    @property
    def text(self) -> str:
        premise = " ".join(f"{_sentence(fact, self.relation)}." for fact in self.facts)
        return f"premise: {premise}\nhypothesis: {_sentence(self.claim, self.claimed)}."

    def answer(self, label: str) -> str:
        """An explanation that leads to this label, and the label. The explanation is true if the label is."""
        greater, lesser = self.claim
        reason = {
            "entailment": self._explanation(greater, lesser),
            "contradiction": self._explanation(lesser, greater),
            "neutral": f"the premise does not say who of {greater} and {lesser} is {self.claimed}.",
        }[label]
        return f"{reason}\nlabel: {label}"

    def _explanation(self, greater: str, lesser: str) -> str:
        """The facts from which the claim follows; the same words if it does not follow."""
        between = next((name for fact in self.facts for name in fact if name not in self.claim), None)
        if (greater, lesser) in self.facts or between is None:
            return f"the premise says {_sentence((greater, lesser), self.claimed)}."
        steps = f"{_sentence((greater, between), self.claimed)} and {_sentence((between, lesser), self.claimed)},"
        return f"{steps} so {_sentence((greater, lesser), self.claimed)}."


def rows(settings: Settings) -> Iterator[RawPrompt]:
    numbers = {
        "pretrain": settings.num_pretrain,
        "train": settings.num_train,
        "validation": settings.num_validation,
        "test": settings.num_test,
    }
    for split, number in numbers.items():
        yield from _stream(split, number, settings)


def instruction(settings: Settings) -> str:
    return INSTRUCTION


def digest(settings: Settings) -> str:
    return ""


def split_of(riddle: Riddle) -> str:
    """The split of a riddle by a hash of its facts, independent of the settings."""
    position = unit_hash("entailment split", riddle.cluster_key)
    for split, share in SHARES.items():
        if position < share:
            return split
        position -= share
    return "test"


def _stream(split: str, number: int, settings: Settings) -> Iterator[RawPrompt]:
    """Different prompts of one split, with the labels in turn. Raises SourceError if there are too few."""
    draw = random.Random(f"{settings.seed} {split} {settings.num_names}")
    seen: set[str] = set()
    for i in range(number):
        riddle = _fresh(draw, LABELS[i % 3], split, seen, settings.num_names)
        if riddle is None:
            raise SourceError(
                f"the split {split} has fewer than {number} different prompts; raise num_names", field="source"
            )
        seen.add(riddle.text)
        wrong = split == "pretrain" and draw.random() < settings.noise
        stated = draw.choice([label for label in LABELS if label != riddle.label]) if wrong else riddle.label
        yield RawPrompt(
            text=riddle.text,
            reference=riddle.answer(stated),
            label=riddle.label,
            cluster_key=riddle.cluster_key,
            split=split,
        )


def _fresh(draw: random.Random, label: str, split: str, seen: set[str], num_names: int) -> Riddle | None:
    for _ in range(MAX_TRIES):
        riddle = _draw(draw, num_names)
        if riddle.label == label and riddle.text not in seen and split_of(riddle) == split:
            return riddle
    return None


def _draw(draw: random.Random, num_names: int) -> Riddle:
    """One fact, a chain a > b > c, a fork (a > b, a > c) or a join (a > c, b > c). Most claims are about its people."""
    a, b, c, stranger = draw.sample(NAMES[:num_names], 4)
    single = draw.random() < SINGLE_FACTS
    facts = [(a, b)] if single else draw.choice([[(a, b), (b, c)], [(a, b), (a, c)], [(a, c), (b, c)]])
    draw.shuffle(facts)
    relation = draw.choice(RELATIONS)
    claimed = draw.choice(RELATIONS) if draw.random() < ODD_CLAIMS else relation
    known = sorted({name for fact in facts for name in fact})
    greater, lesser = draw.sample([*known, stranger] if draw.random() < ODD_CLAIMS else known, 2)
    return Riddle(relation, tuple(facts), (greater, lesser), claimed)


def _sentence(fact: tuple[str, str], relation: str) -> str:
    return f"{fact[0]} is {relation} than {fact[1]}"
