"""Stage order: a partial order over the candidates of every prompt."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from pydantic import Field

from hasse.data.joins import CANDIDATE_COLUMNS, join
from hasse.data.parquet import total_length
from hasse.data.records import Candidate, Judgement, PartialOrder, Prompt
from hasse.data.settings import Config, key_of, registry
from hasse.pipeline.fingerprint import canonical, text_digest
from hasse.pipeline.row_chunks import Unit
from hasse.pipeline.rows import map_rows
from hasse.pipeline.stage import Job, Stage
from hasse.stages.order.judged import JudgedPrompt, shuffled

STRATEGIES = "hasse.stages.order.strategies"
Strategy = registry.settings_union(STRATEGIES, "strategy")

JUDGEMENT_COLUMNS = ["prompt_id", "candidate_id", "teacher", "total", "label", "correct", "status"]


class OrderSettings(Config):
    """Settings of the order stage."""

    strategy: Strategy = Field(description="What makes one candidate better than another.")  # type: ignore[valid-type]


def external(settings: OrderSettings) -> dict[str, str]:
    """Digests of the files that the strategy reads."""
    strategy = registry.load(STRATEGIES, settings.strategy.strategy, kind="strategy")
    return strategy.external(settings.strategy)


def run(job: Job) -> None:
    settings: OrderSettings = job.settings
    strategy = registry.load(STRATEGIES, settings.strategy.strategy, kind="strategy")
    start = canonical([key_of(settings.strategy), external(settings)]).decode()
    columns = ["prompt_id", "candidate_id", "teacher"]
    judgements = Counter(j.prompt_id for j in job.input("judgements").records(Judgement, columns=columns))
    num_judged: list[int] = []
    written = map_rows(
        job,
        (Unit(_row_key(start, item), item) for item in _counted(_shuffled(job, settings), num_judged)),
        lambda chunk: [[order] for order in _with_status(chunk, strategy.orders(chunk, settings.strategy))],
        PartialOrder,
        total=len(judgements),
        chunk_size=settings.strategy.chunk_size,
    )
    job.count(PartialOrder, written.counts)
    job.conserve("judgements", expected=judgements.total(), found=sum(num_judged))
    num_pairs, num_dropped = (total_length(written.path, column) for column in ("pairs", "dropped"))
    job.metrics |= written.metrics | {"pairs": num_pairs, "dropped_pairs": num_dropped}


def _with_status(items: Sequence[JudgedPrompt], orders: Iterable[PartialOrder]) -> Iterator[PartialOrder]:
    """Give an order without a pair the status that says why. Such an order may have a target, which SFT imitates."""
    for (_, judged), order in zip(items, orders, strict=True):
        if order.pairs or order.status != "ok":
            yield order
        elif not any(j is not None and j.status == "ok" for _, j in judged):
            yield replace(order, status="unjudged")
        else:
            yield replace(order, status="single" if len(judged) == 1 else "unordered")


def _shuffled(job: Job, settings: OrderSettings) -> Iterator[JudgedPrompt]:
    seed = getattr(settings.strategy, "shuffle_labels", None)
    return _items(job) if seed is None else (shuffled(item, seed) for item in _items(job))


def _counted(items: Iterable[JudgedPrompt], num_judged: list[int]) -> Iterator[JudgedPrompt]:
    """The items, unchanged; the number of judged candidates of each is appended to `num_judged`."""
    for item in items:
        num_judged.append(len(item[1]))
        yield item


def _items(job: Job) -> Iterator[JudgedPrompt]:
    """Every prompt that has a judged candidate, with its judged candidates."""
    prompts = (p for p in job.input("prompts").records(Prompt) if p.status == "ok")
    candidates = job.input("candidates").records(Candidate, columns=CANDIDATE_COLUMNS)
    judgements = job.input("judgements").records(Judgement, columns=JUDGEMENT_COLUMNS)
    for prompt, answers, judgements_of in join(prompts, candidates, judgements):
        verdicts = {j.candidate_id: j for j in judgements_of}
        if verdicts:
            yield prompt, [(c, verdicts[c.candidate_id]) for c in answers if c.candidate_id in verdicts]


def _row_key(start: str, item: JudgedPrompt) -> str:
    prompt, judged = item
    parts = [start, prompt.prompt_id]
    for candidate, j in judged:
        verdict = f"{j.total} {j.label} {j.correct} {j.status}" if j else ""
        parts += [candidate.candidate_id, candidate.source, candidate.text, verdict]
    return text_digest(*parts)


STAGE = Stage(
    name="order",
    run=run,
)
