"""List-wise judging by a chat model: one question shows all answers to a prompt. Whoever asks the model uses this.

The answers are scored by aspects, or ranked. Each prompt is asked in one or two presentation orders. With two orders,
totals are means, and the total in each order is kept in `presentations`. A prompt has no totals if one of its orders
gave no usable reply, and a candidate has none if one order abstains from it: a total from one order alone would carry
the judge's preference for a place. With `pairwise: disagreements`, the pairs that the two orders put differently are
asked about on their own, in both orders, and the totals are moved until they respect the verdicts.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import permutations
from statistics import fmean
from typing import Any

from hasse.data.records import AspectScore, Candidate, Judgement, PairVerdict, Presentation, Prompt
from hasse.pipeline.row_chunks import OPEN
from hasse.stages.chat.json_replies import ParsedReply, Question, Talk, ask_once, ask_twice
from hasse.stages.grading import TaskSettings, stated
from hasse.stages.judge import list_contextual
from hasse.stages.judge.list_contextual import contextual_schema, duplicates, read_contextual
from hasse.stages.judge.list_questions import CandidateScore, presentation_orders, read_scores, render, scores_schema
from hasse.stages.judge.list_ranks import ranking_schema, read_ranking
from hasse.stages.judge.pair_questions import SCHEMA, Pair, decide, read_verdict, reversed_pairs, settle
from hasse.stages.judge.panel_settings import PanelSettings


@dataclass(kw_only=True)
class Panel:
    """A prompt with its presentation orders, the parsed reply to each of them, and the verdicts on its pairs."""

    prompt: Prompt
    candidates: list[Candidate]
    orders: list[list[Candidate]]
    answers: list[ParsedReply[list[CandidateScore]]] = field(default_factory=list)
    verdicts: dict[Pair, str] = field(default_factory=dict)
    """(candidate shown first, candidate shown second) -> verdict, as in PairVerdict."""

    @property
    def marks(self) -> list[dict[str, CandidateScore]]:
        """Give, for each list, candidate_id -> mark; empty where the reply is unusable."""
        shown = zip(self.orders, self.answers, strict=True)
        return [{c.candidate_id: m for c, m in zip(order, a.value or [], strict=False)} for order, a in shown]

    @property
    def duplicates(self) -> dict[str, str]:
        """Candidate -> the candidate that it repeats, where the judge looks for duplicates and every list has it so."""
        lists = [
            {name: name if m.duplicate_of is None else order[m.duplicate_of].candidate_id for name, m in marks.items()}
            for order, marks in zip(self.orders, self.marks, strict=True)
        ]
        return duplicates([c.candidate_id for c in self.candidates], lists)

    @property
    def totals(self) -> list[dict[str, float]]:
        """Give, for each list, candidate_id -> total of the candidates that have a total in every list."""
        given = [{name: m.total for name, m in marks.items() if m.total is not None} for marks in self.marks]
        common = [c.candidate_id for c in self.candidates if all(c.candidate_id in found for found in given)]
        return [{name: found[name] for name in common} for found in given]


def conversation(
    prompt: Prompt, candidates: list[Candidate], settings: PanelSettings, task: TaskSettings, *, teacher: str
) -> Talk[list[Judgement]]:
    """Ask about one prompt; gives one judgement for each candidate, in the name of `teacher`."""
    panel = _panel(prompt, candidates, settings)
    panel.answers = yield from ask_twice([_list_question(prompt, order, settings) for order in panel.orders])
    if settings.pairwise == "disagreements" and len(panel.orders) == 2:
        panel.verdicts = yield from _verdicts(panel, settings)
    return _judgements(panel, task, teacher)


def questions(
    items: Iterable[tuple[Prompt, list[Candidate]]], settings: PanelSettings
) -> Iterator[tuple[Question[Any], bool]]:
    """(question, whether it is certain to be asked): each list, and each pair, which is only asked on disagreement."""
    for prompt, candidates in items:
        panel = _panel(prompt, candidates, settings)
        for order in panel.orders:
            yield _list_question(prompt, order, settings), True
        if settings.pairwise == "disagreements" and len(panel.orders) == 2:
            for a, b in permutations(candidates, 2):
                yield _pair_question(panel, (a.candidate_id, b.candidate_id), settings), False


def _panel(prompt: Prompt, candidates: list[Candidate], settings: PanelSettings) -> Panel:
    return Panel(prompt=prompt, candidates=candidates, orders=_orders(prompt, candidates, settings))


def _orders(prompt: Prompt, candidates: list[Candidate], settings: PanelSettings) -> list[list[Candidate]]:
    """The presentation orders; none where a single candidate would be ranked."""
    if settings.mode == "ranking" and len(candidates) == 1:
        return []
    return presentation_orders(prompt.prompt_id, candidates, num_orders=settings.orders, seed=settings.seed)


def _list_question(prompt: Prompt, order: list[Candidate], settings: PanelSettings) -> Question[list[CandidateScore]]:
    if settings.mode == "contextual":
        return _contextual_question(prompt, order, settings)
    low, high = (f"{bound:g}" for bound in settings.scale)
    text = render(settings.list_path, prompt, order, aspects=settings.aspects, low=low, high=high)
    if settings.mode == "ranking":
        read = partial(read_ranking, num_candidates=len(order), scale=settings.scale)
        return Question(text=text, schema=ranking_schema(len(order)), read=read)
    schema = scores_schema(len(order), settings.aspects, settings.scale)
    read = partial(read_scores, num_candidates=len(order), aspects=settings.aspects, scale=settings.scale)
    return Question(text=text, schema=schema, read=read)


def _contextual_question(
    prompt: Prompt, order: list[Candidate], settings: PanelSettings
) -> Question[list[CandidateScore]]:
    low, high = (f"{bound:g}" for bound in list_contextual.SCALE)
    text = render(settings.list_path, prompt, order, kinds=list_contextual.KINDS, low=low, high=high)
    read = partial(read_contextual, num_candidates=len(order))
    return Question(text=text, schema=contextual_schema(len(order)), read=read)


def _verdicts(panel: Panel, settings: PanelSettings) -> Talk[dict[Pair, str]]:
    """Ask about each pair that the lists put differently, with either candidate shown first."""
    pairs = [pair for a, b in reversed_pairs(*panel.totals) for pair in ((a, b), (b, a))]
    answers = yield from ask_once([_pair_question(panel, pair, settings) for pair in pairs])
    return {pair: answer.value or answer.status for pair, answer in zip(pairs, answers, strict=True)}


def _pair_question(panel: Panel, pair: Pair, settings: PanelSettings) -> Question[str]:
    by_id = {candidate.candidate_id: candidate for candidate in panel.candidates}
    shown = [by_id[name] for name in pair]
    text = render(settings.pair_path, panel.prompt, shown, aspects=settings.aspects)
    return Question(text=text, schema=SCHEMA, read=read_verdict)


def _judgements(panel: Panel, task: TaskSettings, teacher: str) -> list[Judgement]:
    decided = {
        (a, b): decide((a, b), said, panel.verdicts[b, a])
        for (a, b), said in list(panel.verdicts.items())[::2]  # every second entry is the same pair turned round
    }
    totals, given = panel.totals, panel.marks
    final = settle(totals[0], totals[-1], decided) if totals else {}
    return [_judgement(candidate, panel, given, final, task, teacher) for candidate in panel.candidates]


def _judgement(
    candidate: Candidate,
    panel: Panel,
    given: list[dict[str, CandidateScore]],
    final: dict[str, float],
    task: TaskSettings,
    teacher: str,
) -> Judgement:
    name = candidate.candidate_id
    label, correct = stated(candidate.text, panel.prompt, task)
    unusable = _unusable(panel)
    original = panel.duplicates.get(name)
    found = [marks.get(name) for marks in given]
    marks = [mark for mark in found if mark is not None]
    return Judgement(
        prompt_id=candidate.prompt_id,
        candidate_id=name,
        teacher=teacher,
        aspects=_mean(marks) if name in final else (),
        total=final.get(name) if original is None else None,
        label=label,
        correct=correct,
        rationale=next((mark.rationale for mark in marks if mark.rationale), None),
        reasoning="\n\n".join(answer.reasoning for answer in panel.answers if answer.reasoning) or None,
        presentation_order=tuple(c.candidate_id for c in panel.orders[0]) if panel.orders else (),
        presentations=tuple(
            Presentation(slot=order.index(candidate) + 1, total=mark and mark.total, num_asks=answer.num_asks)
            for order, mark, answer in zip(panel.orders, found, panel.answers, strict=True)
        ),
        verdicts=tuple(PairVerdict(other=b, verdict=said) for (a, b), said in panel.verdicts.items() if a == name),
        status=unusable.status if unusable else "duplicate" if original else "ok",  # type: ignore[arg-type]  a status
        error=unusable.error if unusable else f"it says the same as {original}" if original else None,
    )


def _unusable(panel: Panel) -> ParsedReply | None:
    """The reply that keeps the prompt from being judged, if any; one that the next run will ask again comes first."""
    if "budget_stopped" in panel.verdicts.values():
        return ParsedReply(value=None, status="budget_stopped", error="not all of its pairs were asked")
    found = [answer for answer in panel.answers if answer.value is None]
    return min(found, key=lambda answer: answer.status not in OPEN, default=None)


def _mean(marks: Sequence[CandidateScore]) -> tuple[AspectScore, ...]:
    """The mean score of each aspect; the lists have other aspects where they find the question of another kind."""
    scores: dict[str, list[float]] = {}
    for aspect in (aspect for mark in marks for aspect in mark.aspects):
        scores.setdefault(aspect.name, []).append(aspect.score)
    return tuple(AspectScore(name=name, score=fmean(given)) for name, given in scores.items())
