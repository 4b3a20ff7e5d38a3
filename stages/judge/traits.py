"""What a teacher's settings say of how it is run; of several judges, what any of them says."""

from types import ModuleType
from typing import Any

from hasse.data.settings import registry

TEACHERS = "hasse.stages.judge.teachers"


def module_of(settings: Any) -> ModuleType:
    return registry.load(TEACHERS, settings.teacher, kind="teacher")


def members(settings: Any) -> dict[str, Any]:
    """Name -> settings of each of several judges; empty for a teacher that judges itself."""
    module = module_of(settings)
    return module.members(settings) if hasattr(module, "members") else {}


def judging(settings: Any) -> dict[str, Any]:
    """Name -> settings of those that really judge; one alone has the name ""."""
    return members(settings) or {"": settings}


def needs_model(settings: Any) -> bool:
    """Whether it judges by the recipe's `teacher`."""
    return any(module_of(one).NEEDS_MODEL for one in judging(settings).values())


def in_child(settings: Any) -> bool:
    """Whether a model is loaded, so that it runs in a process of its own."""
    return any(_trait(one, "IN_CHILD") or module_of(one).NEEDS_MODEL for one in judging(settings).values())


def own_process(settings: Any) -> bool:
    """Whether another process computes, so that the next chunk may be prepared meanwhile."""
    module = module_of(settings)
    return module.own_process(settings) if hasattr(module, "own_process") else _trait(settings, "OWN_PROCESS")


def needs_tokens(settings: Any) -> bool:
    """Whether it reads the candidates' tokens, beside their texts."""
    return _trait(settings, "NEEDS_TOKENS")


def asks(settings: Any) -> bool:
    """Whether it asks a chat endpoint."""
    return any(hasattr(module_of(one), "questions") for one in judging(settings).values())


def repeats(settings: Any) -> bool:
    """Whether the same question, asked again, may be answered otherwise."""
    return any(_trait(one, "REPEATS") for one in judging(settings).values())


def is_audited(settings: Any) -> bool:
    """A rule needs none: it says the same whatever stands beside an answer."""
    return settings.teacher != "rule"


def external(settings: Any) -> dict[str, str]:
    """Digests of files and models that it reads."""
    found = {}
    for name, one in judging(settings).items():
        digests = module_of(one).external(one) if hasattr(module_of(one), "external") else {}
        found |= {f"{name}/{what}" if name else what: digest for what, digest in digests.items()}
    return found


def plugs(settings: Any) -> tuple[str, ...]:
    """The modules, beside the stage's own, that decide what it says."""
    found: dict[str, None] = {}
    for one in (settings, *members(settings).values()):
        found |= dict.fromkeys(registry.modules(TEACHERS, one.teacher))
    return tuple(found)


def _trait(settings: Any, name: str) -> bool:
    return getattr(module_of(settings), name, False)
