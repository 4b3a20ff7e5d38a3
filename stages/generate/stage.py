"""Stage generate: K candidates for each prompt, from one or more groups, each with one sampler."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any
from uuid import uuid4

from pydantic import Field, field_validator

from hasse.data.errors import InputError
from hasse.data.parquet import batched
from hasse.data.records import SPLITS, Candidate, Prompt
from hasse.data.rendering import asked_turns
from hasse.data.settings import Config, key_of, registry, unkeyed
from hasse.pipeline.fingerprint import canonical
from hasse.pipeline.row_chunks import Keys, Unit
from hasse.pipeline.rows import RowTable, imagine_rows, missing_units
from hasse.pipeline.stage import Job, Stage
from hasse.stages.chat.money.estimate import Planned
from hasse.stages.chat.money.estimate import estimate as estimate_of
from hasse.stages.chat.money.spending import Spending
from hasse.stages.generate import engine_parity
from hasse.stages.generate.groups import (
    Group,
    asks_endpoint,
    engine_of,
    given_answers,
    max_tokens_of,
    model_for,
    needs_model,
    sampler_of,
    uses_variants,
)
from hasse.stages.models.lazy import LazyModel
from hasse.stages.models.vllm_engine import close_pools

SamplingRequest = tuple[int, Prompt]
"""(position of the group, prompt)"""


class GenerateSettings(Config):
    groups: list[Group] = Field(min_length=1, description="Sampling groups; each adds its candidates to every prompt.")  # type: ignore[valid-type]
    splits: list[str] = Field(default=["train"], description="Splits whose prompts get candidates.")
    chunk_size: int = unkeyed(512, ge=1, description="Prompts and groups between two commits to the store.")

    @field_validator("groups")
    @classmethod
    def _names_differ(cls, groups: list[Any]) -> list[Any]:
        names = [group.name for group in groups]
        if len(set(names)) < len(names):
            raise ValueError(f"every group needs a name of its own, found {', '.join(names)}")
        return groups

    @field_validator("splits")
    @classmethod
    def _splits_exist(cls, splits: list[str]) -> list[str]:
        for split in splits:
            if split not in SPLITS:
                raise ValueError(registry.unknown(split, list(SPLITS), kind="split"))
        return splits

    def models(self) -> set[str]:
        """The names of the recipe's models that the groups ask."""
        return {group.model for group in self.groups if needs_model(group)}

    def asks_endpoint(self) -> bool:
        """Whether a sampler asks a chat endpoint."""
        return any(map(asks_endpoint, self.groups))

    def num_candidates(self) -> int:
        """K, the largest number of candidates of a prompt."""
        return sum(sampler_of(group).num_candidates(group) for group in self.groups)


def run(job: Job) -> None:
    settings: GenerateSettings = job.settings
    models = _models(job)
    prompts = _prompts(job)
    check_templates(prompts, models)
    units = list(sampling_units(settings, prompts, models))
    spending = Spending(job, planned)
    rows = RowTable(job, Candidate, total=len(units))
    asking = {g for g, group in enumerate(settings.groups) if asks_endpoint(group)}
    rows.add(
        (unit for unit in units if unit.item[0] not in asking),
        partial(_sample, settings=settings, models=models),
        chunk_size=settings.chunk_size,
        ahead=int(any(engine_of(group) for group in settings.groups)),
        gpus=int(any(needs_model(group) for group in settings.groups)),
    )
    for g in sorted(asking):  # after the groups that cost nothing
        own = (unit for unit in units if unit.item[0] == g)
        ask = partial(_ask, group=settings.groups[g], models=models, chunk_size=settings.chunk_size, spending=spending)
        rows.add(own, ask, chunk_size=settings.chunk_size, stream=True)
    written = rows.write([unit.key for unit in units])
    job.count(Candidate, written.counts)
    job.metrics |= written.metrics
    spending.close(job)
    job.metrics["prompts"] = len(prompts)
    close_pools()
    if written.units_computed:
        _check_parity(job, settings, models)


def check_templates(prompts: Iterable[Prompt], models: Mapping[str, LazyModel]) -> None:
    """Raise InputError if a prompt is a conversation and a model, the student among them, has no chat template.

    Without this check each answer of that model would be refused, after other models' answers have been paid for.
    """
    conversation = next((prompt for prompt in prompts if prompt.messages), None)
    for name, model in models.items():
        if conversation is not None and not model.tokenizer.chat_template:
            raise InputError(
                f"prompt {conversation.prompt_id} is a list of messages, but the tokenizer of the model {name!r} has "
                "no chat template; save one with it, or give prompts as text"
            )


def estimate(job: Job) -> dict[str, Any] | None:
    """The questions and the money that missing candidates would take; None where no endpoint is asked."""
    return estimate_of(planned(job))


def planned(job: Job) -> Iterator[Planned] | None:
    """The questions to endpoints that missing candidates would take; None where no endpoint is asked."""
    settings: GenerateSettings = job.settings
    if not settings.asks_endpoint():
        return None
    by_group: defaultdict[int, list[Prompt]] = defaultdict(list)
    for unit in missing_units(job, sampling_units(settings, _prompts(job), _models(job)), Candidate):
        by_group[unit.item[0]].append(unit.item[1])
    return chain.from_iterable(
        sampler_of(settings.groups[g]).questions(prompts, settings.groups[g])
        for g, prompts in by_group.items()
        if asks_endpoint(settings.groups[g])
    )


def imagine(job: Job) -> None:
    """Fill the job's folder for an estimate: missing candidates are as long as they may be, four letters a token."""
    settings: GenerateSettings = job.settings
    units = sampling_units(settings, _prompts(job), _models(job))
    imagine_rows(job, units, lambda request: _stand_ins(settings.groups[request[0]], request[1]), Candidate)


def _stand_ins(group: Any, prompt: Prompt) -> list[Candidate]:
    texts = given_answers(group, prompt)
    if not texts:
        tokens = max_tokens_of(group)
        texts = ("x" * 4 * tokens,) * sampler_of(group).num_candidates(group)
    return [
        Candidate(prompt_id=prompt.prompt_id, candidate_id=f"{group.name}-{i}", text=text, source="student")
        for i, text in enumerate(texts)
    ]


def _models(job: Job) -> dict[str, LazyModel]:
    """Name -> model, for each model that is an input of the step."""
    return {name: LazyModel(job.input(name)) for name in job.inputs if name != "prompts"}


def _prompts(job: Job) -> list[Prompt]:
    splits = job.settings.splits
    return [p for p in job.input("prompts").records(Prompt) if p.status == "ok" and p.split in splits]


def sampling_units(
    settings: GenerateSettings, prompts: list[Prompt], models: dict[str, LazyModel]
) -> Iterator[Unit[SamplingRequest]]:
    keys = [Keys.of(key_of(group), _model_key(group, models)) for group in settings.groups]
    for prompt in prompts:
        for g, group in enumerate(settings.groups):
            if sampler_of(group).has_work(prompt, group):
                yield keys[g].unit((g, prompt), *key_parts(group, prompt))


def _check_parity(job: Job, settings: GenerateSettings, models: dict[str, LazyModel]) -> None:
    """Compare the log-probs of engines with those of the training stack; raises WorkError where they disagree."""
    groups = [(group, engine.max_gap) for group in settings.groups if (engine := engine_of(group))]
    if groups:
        job.metrics["parity"] = engine_parity.check(job, groups, models)


def _model_key(group: Any, models: dict[str, LazyModel]) -> Any:
    """The identity of the group's model: None without a model, and a random key for a model that is not made yet."""
    if not needs_model(group):
        return None
    return models[group.model].identity if group.model in models else uuid4().hex


def key_parts(group: Any, prompt: Prompt) -> list[str]:
    """The parts of a prompt that can change its candidates in this group."""
    messages = [[m.role, m.content] for m in asked_turns(prompt)]
    asked = [prompt.text, messages, prompt.variants if uses_variants(group) else (), given_answers(group, prompt)]
    return [prompt.prompt_id, canonical(asked).decode()]


def _ask(
    requests: Iterable[SamplingRequest], group: Any, models: dict[str, LazyModel], chunk_size: int, spending: Spending
) -> Iterator[list[Candidate]]:
    """The candidates of each prompt; a sampler that can read a stream gets all prompts at once, others get chunks."""
    sampler, model = sampler_of(group), model_for(group, models)
    prompts = (prompt for _, prompt in requests)
    for part in [prompts] if sampler.STREAMS else batched(prompts, chunk_size):
        yield from sampler.sample(part, group, model, payer=spending)


def _sample(
    chunk: list[SamplingRequest], settings: GenerateSettings, models: dict[str, LazyModel]
) -> Iterator[list[Candidate]]:
    """One list of candidates for each request, in order; the prompts of a group go to its sampler together."""
    by_group: defaultdict[int, list[Prompt]] = defaultdict(list)
    for g, prompt in chunk:
        by_group[g].append(prompt)
    results: dict[int, Iterator[list[Candidate]]] = {}
    for g, prompts in by_group.items():
        group = settings.groups[g]
        results[g] = iter(list(sampler_of(group).sample(prompts, group, model_for(group, models))))
    for g, _ in chunk:
        yield next(results[g])


STAGE = Stage(
    name="generate",
    run=run,
    beside_rows=("hasse.stages.generate.engine_parity",),
    in_child=True,
    imagine=imagine,
)
