"""Source `letters`: put a few letters in order. Each prompt comes with two drafts that hold mistakes.

    order: d a _ b e          drafts: "a b d c e", "a b c d e"          truth: a b c d e

With `hidden` letters, the prompt alone does not determine the answer, but a draft may. With `mended`, the second draft
is the first with one or two mistakes undone, so that the drafts are similar. The expert's answers in the split
`pretrain` are drafts, so a student trained on them makes such mistakes.
"""

import random
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from hasse.data.errors import SourceError
from hasse.data.raw_prompt import RawPrompt
from hasse.data.settings import Config, Seed
from hasse.data.text import unit_hash

ALPHABET = "abcdefgh"
NUM_LETTERS = 5
SHARES = {"pretrain": 0.3, "train": 0.5, "validation": 0.1, "test": 0.1}
MAX_TRIES = 2000
"""After so many draws without a new prompt, no more different prompts are expected."""


class Settings(Config):
    """The sizes of the splits and the difficulty of the task."""

    kind: Literal["letters"] = "letters"
    num_pretrain: int = Field(
        default=1500, ge=0, description="Prompts whose expert's answer is a draft, to train a student from scratch."
    )
    num_train: int = Field(default=2500, ge=0, description="Prompts with two drafts.")
    num_validation: int = Field(default=300, ge=0, description="Prompts of the split validation.")
    num_test: int = Field(default=500, ge=0, description="Prompts of the split test.")
    hidden: int = Field(default=0, ge=0, lt=NUM_LETTERS, description="How many letters the prompt shows as _.")
    mended: bool = Field(default=False, description="Whether the better draft is the other draft with fewer mistakes.")
    max_mistakes: int = Field(default=5, ge=1, description="A draft has between 1 and this many random edits.")
    seed: Seed = Field(default=0, description="Another seed gives other prompts.")


def digest(settings: Settings) -> str:
    return f"rules, seed {settings.seed}"


def rows(settings: Settings) -> Iterator[RawPrompt]:
    for split in SHARES:
        draw = random.Random(f"{settings.seed} {split} {settings.hidden} {settings.mended} {settings.max_mistakes}")
        seen: set[str] = set()
        tries = 0
        while len(seen) < getattr(settings, f"num_{split}"):
            tries += 1
            if tries > MAX_TRIES:
                raise SourceError(
                    f"the split {split} has fewer than {getattr(settings, f'num_{split}')} different prompts; "
                    f"lower num_{split}",
                    field="source",
                )
            letters = draw.sample(ALPHABET, NUM_LETTERS)
            hidden = draw.sample(range(NUM_LETTERS), settings.hidden)
            text = "order: " + " ".join("_" if i in hidden else letter for i, letter in enumerate(letters))
            drafts = _drafts(sorted(letters), settings, draw)
            if text not in seen and _split_of(text) == split:
                seen.add(text)
                tries = 0
                yield _prompt(text, sorted(letters), drafts, split)


def _prompt(text: str, ordered: list[str], drafts: tuple[str, str], split: str) -> RawPrompt:
    truth = " ".join(ordered)
    return RawPrompt(
        text=text,
        reference=drafts[0] if split == "pretrain" else truth,
        drafts=drafts,
        answers=(truth,),
        split=split,
    )


def _split_of(text: str) -> str:
    """The split by a hash of the text, so that no prompt is in two splits."""
    position = unit_hash("letters", text)
    for split, share in SHARES.items():
        if position < share:
            return split
        position -= share
    return "test"


def _drafts(truth: list[str], settings: Settings, draw: random.Random) -> tuple[str, str]:
    """Two drafts. If the second is mended from the first, it is the better one; otherwise either may be better."""
    edits = [draw.random() for _ in range(draw.randint(1, settings.max_mistakes))]
    first = _edited(truth, edits)
    if settings.mended:
        second = _edited(truth, edits[: max(0, len(edits) - draw.randint(1, 2))])
    else:
        second = _edited(truth, [draw.random() for _ in range(draw.randint(1, settings.max_mistakes))])
    return " ".join(first), " ".join(second)


def _edited(truth: list[str], edits: list[float]) -> list[str]:
    """Apply one edit for each number: swap neighbours (40 %), or replace, delete or insert a letter (20 % each)."""
    letters = list(truth)
    for number in edits:
        draw = random.Random(number)
        kind = draw.random()
        at = draw.randrange(max(len(letters), 1))
        if kind < 0.4 and len(letters) > 1:
            at = min(at, len(letters) - 2)
            letters[at], letters[at + 1] = letters[at + 1], letters[at]
        elif kind < 0.6 and letters:
            letters[at] = draw.choice(ALPHABET)
        elif kind < 0.8 and len(letters) > 1:
            del letters[at]
        else:
            letters.insert(at, draw.choice(ALPHABET))
    return letters
