"""The kinds of plugs: what a recipe calls them, where the built-in ones are, and what each has to define."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

F = TypeVar("F", bound=Callable)

OPTIONAL = "is_optional"
"""The attribute of a Protocol's function that a plug may leave out and that then is None."""


def optional(function: F) -> F:
    """Mark a function of a Protocol that a plug may leave out, where to define it means an ability."""
    setattr(function, OPTIONAL, True)
    return function


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of plug.

    tag: the field of `Settings` that holds the plug's name. package: the folder with the built-in plugs.
    protocol: the class in the package's `__init__` that says what a plug of this kind defines. fields: what `Settings`
    must have beside the tag. group: the group of entry points through which an installed distribution offers plugs of
    this kind; None where plugs from outside are not accepted.
    """

    word: str
    tag: str
    package: str
    protocol: str
    fields: tuple[str, ...] = ()
    group: str | None = None


KINDS = (
    Kind(word="source", tag="kind", package="hasse.data.sources", protocol="SourcePlug", group="hasse.sources"),
    Kind(
        word="sampler",
        tag="sampler",
        package="hasse.stages.generate.samplers",
        protocol="SamplerPlug",
        fields=("name",),
        group="hasse.samplers",
    ),
    Kind(
        word="teacher",
        tag="teacher",
        package="hasse.stages.judge.teachers",
        protocol="TeacherPlug",
        fields=("chunk_size",),
        group="hasse.teachers",
    ),
    Kind(
        word="strategy",
        tag="strategy",
        package="hasse.stages.order.strategies",
        protocol="StrategyPlug",
        fields=("chunk_size",),
        group="hasse.orders",
    ),
    Kind(
        word="annotator",
        tag="annotator",
        package="hasse.stages.feedback.annotators",
        protocol="AnnotatorPlug",
        group="hasse.annotators",
    ),
    Kind(
        word="method",
        tag="method",
        package="hasse.stages.train.methods",
        protocol="MethodPlug",
        group="hasse.methods",
    ),
    Kind(
        word="benchmark",
        tag="benchmark",
        package="hasse.stages.evaluate.benchmarks",
        protocol="BenchmarkPlug",
        fields=("max_tokens",),
        group="hasse.benchmarks",
    ),
    Kind(word="executor", tag="executor", package="hasse.pipeline.executors", protocol="ExecutorPlug"),
)

BY_PACKAGE = {kind.package: kind for kind in KINDS}
FROM_OUTSIDE = tuple(kind for kind in KINDS if kind.group)
