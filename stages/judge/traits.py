"""Reads off a teacher's settings how it is run; for several judges, what holds for any of them."""

from types import ModuleType
from typing import Any

from hasse.data.settings import registry

TEACHERS = "hasse.stages.judge.teachers"


def module_of(settings: Any) -> ModuleType:
    """The teacher's module."""
    return registry.load(TEACHERS, settings.teacher, kind="teacher")


def members(settings: Any) -> dict[str, Any]:
    """Name -> settings of each of several judges; empty for a teacher that judges by itself."""
    return module_of(settings).members(settings)


def judges_of(settings: Any) -> dict[str, Any]:
    """Name -> settings of every judge; a single judge has the name ""."""
    return members(settings) or {"": settings}


def needs_model(settings: Any) -> bool:
    """Whether a judge scores by the model in the recipe's section `teacher`."""
    return any(module_of(judge).NEEDS_MODEL for judge in judges_of(settings).values())


def in_child(settings: Any) -> bool:
    """Whether a judge loads a model, so that the stage runs in a process of its own."""
    return any(module_of(judge).IN_CHILD or module_of(judge).NEEDS_MODEL for judge in judges_of(settings).values())


def own_process(settings: Any) -> bool:
    """Whether another process computes, so that the next chunk can be prepared meanwhile."""
    return module_of(settings).own_process(settings)


def needs_tokens(settings: Any) -> bool:
    """Whether the teacher reads the candidates' token ids, beside their texts."""
    return module_of(settings).NEEDS_TOKENS


def asks_endpoint(settings: Any) -> bool:
    """Whether a judge asks a chat endpoint."""
    return any(module_of(judge).questions is not None for judge in judges_of(settings).values())


def repeats(settings: Any) -> bool:
    """Whether a judge may answer the same question differently when it is asked again."""
    return any(module_of(judge).REPEATS for judge in judges_of(settings).values())


def is_audited(settings: Any) -> bool:
    """Whether the judgements are audited; those of a rule are not, for they depend on nothing but the answer."""
    return settings.teacher != "rule"


def external(settings: Any) -> dict[str, str]:
    """Digests of the files and models that the judges read."""
    digests: dict[str, str] = {}
    for name, judge in judges_of(settings).items():
        own = module_of(judge).external(judge)
        digests |= {f"{name}/{what}" if name else what: digest for what, digest in own.items()}
    return digests


def plugs(settings: Any) -> tuple[str, ...]:
    """The modules of the teacher and of its judges, which decide the judgements beside the stage's own modules."""
    modules: dict[str, None] = {}
    for judge in (settings, *members(settings).values()):
        modules |= dict.fromkeys(registry.modules(TEACHERS, judge.teacher))
    return tuple(modules)
