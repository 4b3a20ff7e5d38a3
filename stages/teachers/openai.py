"""Teacher `openai`: a chat model scores all answers to a prompt in one question, by aspects.

Each prompt is asked in one or two presentation orders; with two, scores are means, and what each order gave is kept in
`presentations`. A prompt one of whose orders gave no usable scores has no totals: half of a balanced design would carry
the judge's preference for a place. With `pairwise: disagreements`, pairs on which the two orders contradict each other
are asked on their own, in both orders, and the totals are moved until they respect the verdicts.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import permutations
from pathlib import Path
from statistics import fmean
from typing import Literal

from pydantic import Field, FiniteFloat, model_validator

from data.config import Config, unkeyed
from data.errors import SourceError
from data.records import AspectScore, Candidate, Judgement, PairVerdict, Presentation, Prompt
from pipeline.fingerprint import file_digest
from pipeline.rows import OPEN
from stages.chat import ChatSettings
from stages.chat_estimate import Planned
from stages.grading import TaskSettings, stated
from stages.json_replies import SYSTEM, Answer, Question, ask_once, ask_twice
from stages.listwise import Aspect, Scores, presentation_orders, read_scores, render, weighted_mean
from stages.pairwise import Pair, decide, read_verdict, reversed_pairs, settle

NEEDS_MODEL = False
MODULES = ("stages.listwise", "stages.pairwise", "stages.json_replies", "stages.win_rate")
TEMPLATES = Path(__file__).parent / "templates"

ASPECTS = (
    Aspect(name="correctness", description="What it says is true, and its conclusion follows.", weight=2.0),
    Aspect(name="helpfulness", description="It answers what was asked, as fully as was asked."),
    Aspect(name="clarity", description="It is easy to follow and holds nothing superfluous."),
)


class Settings(Config):
    teacher: Literal["openai"] = "openai"
    chat: ChatSettings = Field(
        description="Which model is asked; its max_tokens must hold the scores of all candidates."
    )
    aspects: tuple[Aspect, ...] = Field(
        default=ASPECTS, min_length=1, description="What is scored; the total is the weighted mean."
    )
    scale: tuple[FiniteFloat, FiniteFloat] = Field(default=(1, 10), description="The worst and the best score.")
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
    seed: int = Field(default=0, description="Another seed, other presentation orders.")
    chunk_size: int = unkeyed(500, ge=1, description="Prompts between two commits to the store.")

    @model_validator(mode="after")
    def _fits(self) -> "Settings":
        names = [aspect.name for aspect in self.aspects]
        if len(set(names)) < len(names):
            raise ValueError(f"aspects {', '.join(names)} are not all different")
        if not self.scale[0] < self.scale[1]:
            raise ValueError(f"scale {self.scale}: the worst score must be below the best")
        if self.pairwise == "disagreements" and self.orders == 1:
            raise ValueError("pairwise: disagreements compares two presentation orders; set orders: 2")
        return self

    @property
    def list_path(self) -> Path:
        return Path(self.template or TEMPLATES / "listwise.j2")

    @property
    def pair_path(self) -> Path:
        return Path(self.pair_template or TEMPLATES / "pairwise.j2")


@dataclass(kw_only=True)
class Panel:
    """A prompt with its lists, each with what was answered to it, and what was said of its pairs."""

    prompt: Prompt
    candidates: list[Candidate]
    orders: list[list[Candidate]]
    answers: list[Answer[list[Scores]]] = field(default_factory=list)
    verdicts: dict[Pair, str] = field(default_factory=dict)
    """(shown first, shown second) -> as in PairVerdict."""

    @property
    def usable(self) -> bool:
        return all(answer.value is not None for answer in self.answers)


def external(settings: Settings) -> dict[str, str]:
    """Digests of the templates. Raises SourceError when one does not exist."""
    used = {"template": settings.list_path}
    if settings.pairwise != "never":
        used["pair_template"] = settings.pair_path
    for path in used.values():
        if not path.is_file():
            raise SourceError("there is no such file", file=path)
    return {name: file_digest(path) for name, path in used.items()}


def judge(
    items: Sequence[tuple[Prompt, list[Candidate]]], settings: Settings, task: TaskSettings, model: None
) -> Iterator[list[Judgement]]:
    """One judgement a candidate; all lists of a chunk are asked together, then all pairs."""
    panels = [_panel(prompt, candidates, settings) for prompt, candidates in items]
    _ask_lists(panels, settings)
    if settings.pairwise == "disagreements":
        _ask_pairs(panels, settings)
    for panel in panels:
        yield _judgements(panel, settings, task)


def questions(items: Iterable[tuple[Prompt, list[Candidate]]], settings: Settings) -> Iterator[Planned]:
    """The lists, and all pairs, of which those are asked on which the lists turn out to disagree."""
    for prompt, candidates in items:
        panel = _panel(prompt, candidates, settings)
        for order in panel.orders:
            text = _list_question(prompt, order, settings).text
            yield Planned(question=(SYSTEM, text), chat=settings.chat)
        if settings.pairwise == "disagreements" and len(panel.orders) == 2:
            for a, b in permutations(candidates, 2):
                text = _pair_question(panel, (a.candidate_id, b.candidate_id), settings).text
                yield Planned(question=(SYSTEM, text), chat=settings.chat, sure=False)


def _panel(prompt: Prompt, candidates: list[Candidate], settings: Settings) -> Panel:
    orders = presentation_orders(prompt.prompt_id, candidates, num_orders=settings.orders, seed=settings.seed)
    return Panel(prompt=prompt, candidates=candidates, orders=orders)


def _ask_lists(panels: list[Panel], settings: Settings) -> None:
    shown = [(panel, order) for panel in panels for order in panel.orders]
    questions = [_list_question(panel.prompt, order, settings) for panel, order in shown]
    for (panel, _), answer in zip(shown, ask_twice(questions, settings.chat), strict=True):
        panel.answers.append(answer)


def _list_question(prompt: Prompt, order: list[Candidate], settings: Settings) -> Question[list[Scores]]:
    low, high = (f"{bound:g}" for bound in settings.scale)
    text = render(settings.list_path, prompt, order, aspects=settings.aspects, low=low, high=high)
    read = partial(read_scores, num_candidates=len(order), aspects=settings.aspects, scale=settings.scale)
    return Question(text=text, read=read)


def _ask_pairs(panels: list[Panel], settings: Settings) -> None:
    asked: list[tuple[Panel, Pair]] = []
    for panel in panels:
        if panel.usable and len(panel.orders) == 2:
            for a, b in reversed_pairs(*_totals(panel, settings)):
                asked += [(panel, (a, b)), (panel, (b, a))]
    questions = [_pair_question(panel, pair, settings) for panel, pair in asked]
    for (panel, pair), answer in zip(asked, ask_once(questions, settings.chat), strict=True):
        panel.verdicts[pair] = answer.value or answer.status


def _pair_question(panel: Panel, pair: Pair, settings: Settings) -> Question[str]:
    by_id = {candidate.candidate_id: candidate for candidate in panel.candidates}
    shown = [by_id[name] for name in pair]
    text = render(settings.pair_path, panel.prompt, shown, aspects=settings.aspects)
    return Question(text=text, read=read_verdict)


def _totals(panel: Panel, settings: Settings) -> list[dict[str, float]]:
    """Of each usable list: candidate_id -> total; all in the candidates' own order."""
    found = []
    for order, answer in zip(panel.orders, panel.answers, strict=True):
        total = {
            candidate.candidate_id: weighted_mean({a.name: a.score for a in scores.aspects}, settings.aspects)
            for candidate, scores in zip(order, answer.value or [], strict=bool(answer.value))
        }
        found.append({c.candidate_id: total[c.candidate_id] for c in panel.candidates} if total else {})
    return found


def _judgements(panel: Panel, settings: Settings, task: TaskSettings) -> list[Judgement]:
    totals = _totals(panel, settings)
    final: dict[str, float] = {}
    if panel.usable:
        decided = {
            (a, b): decide((a, b), said, panel.verdicts[b, a])
            for (a, b), said in list(panel.verdicts.items())[::2]  # each pair stands there twice, turned round
        }
        final = settle(totals[0], totals[-1], decided)
    return [_judgement(candidate, panel, totals, final, task) for candidate in panel.candidates]


def _judgement(
    candidate: Candidate, panel: Panel, totals: list[dict[str, float]], final: dict[str, float], task: TaskSettings
) -> Judgement:
    name = candidate.candidate_id
    label, correct = stated(candidate.text, panel.prompt, task)
    unusable = _unusable(panel)
    scores = [
        answer.value[order.index(candidate)]
        for order, answer in zip(panel.orders, panel.answers, strict=True)
        if answer.value
    ]
    return Judgement(
        prompt_id=candidate.prompt_id,
        candidate_id=name,
        teacher="openai",
        aspects=_mean(scores) if final else (),
        total=final.get(name),
        label=label,
        correct=correct,
        rationale=next((s.rationale for s in scores if s.rationale), None),
        presentation_order=tuple(c.candidate_id for c in panel.orders[0]),
        presentations=tuple(
            Presentation(slot=order.index(candidate) + 1, total=total.get(name), num_asks=answer.num_asks)
            for order, total, answer in zip(panel.orders, totals, panel.answers, strict=True)
        ),
        verdicts=tuple(PairVerdict(other=b, verdict=said) for (a, b), said in panel.verdicts.items() if a == name),
        status=unusable.status if unusable else "ok",  # type: ignore[arg-type]  one of the statuses
        error=unusable.error if unusable else None,
    )


def _unusable(panel: Panel) -> Answer | None:
    """What keeps the prompt from being judged: first of all what was not asked, for that is asked by the next run."""
    if "budget_stopped" in panel.verdicts.values():
        return Answer(value=None, status="budget_stopped", error="not all of its pairs were asked")
    found = [answer for answer in panel.answers if answer.value is None]
    return min(found, key=lambda answer: answer.status not in OPEN, default=None)


def _mean(scores: Sequence[Scores]) -> tuple[AspectScore, ...]:
    columns = zip(*(s.aspects for s in scores), strict=True)
    return tuple(AspectScore(name=column[0].name, score=fmean(a.score for a in column)) for column in columns)
