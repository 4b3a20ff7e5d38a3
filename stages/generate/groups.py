"""Reads off a group's settings and its sampler how the group is run."""

from types import ModuleType
from typing import Any

from hasse.data.records import Prompt
from hasse.data.settings import registry
from hasse.stages.models.lazy import LazyModel
from hasse.stages.models.vllm_engine import EngineSettings

SAMPLERS = "hasse.stages.generate.samplers"
Group = registry.settings_union(SAMPLERS, "sampler")
UNLIMITED = 512


def sampler_of(group: Any) -> ModuleType:
    """The group's sampler."""
    return registry.load(SAMPLERS, group.sampler, kind="sampler")


def needs_model(group: Any) -> bool:
    """Whether the group asks a model of the recipe."""
    return sampler_of(group).needs_model(group)


def asks_endpoint(group: Any) -> bool:
    """Whether the group asks a chat endpoint."""
    return sampler_of(group).questions is not None


def engine_of(group: Any) -> EngineSettings | None:
    """The settings of the group's vLLM engine, or None where the training stack answers."""
    return sampler_of(group).engine(group)


def uses_variants(group: Any) -> bool:
    """Whether the one-document variants of a prompt are asked in its place."""
    return getattr(group, "prompt", "whole") == "variants"


def given_answers(group: Any, prompt: Prompt) -> tuple[str, ...]:
    """The answers that the sampler takes from the prompt; only these can change its candidates."""
    return sampler_of(group).answers(prompt, group)


def model_for(group: Any, models: dict[str, LazyModel]) -> Any:
    """The group's model: loaded, unless an engine loads it; None for a group without a model."""
    model = models[group.model] if needs_model(group) else None
    return model if model is None or engine_of(group) else model.loaded


def max_tokens_of(group: Any) -> int:
    """The most tokens of one answer; a sampler whose settings give no limit is taken to stop after `UNLIMITED`."""
    limited = group if hasattr(group, "max_new_tokens") else getattr(group, "chat", None)
    return UNLIMITED if limited is None else limited.max_new_tokens
