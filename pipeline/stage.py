"""A stage is a function of (settings, input artifacts) that yields rows; a step is one use of it in a plan."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from hasse.data.errors import WorkError
from hasse.data.parquet import write_records
from hasse.data.settings import key_of
from hasse.pipeline.code import asset_digests, code_digests, modules_behind
from hasse.pipeline.disk import disk_errors
from hasse.pipeline.executors import local
from hasse.pipeline.fingerprint import digest
from hasse.pipeline.manifest import Labels
from hasse.pipeline.store import Artifact, Store, table_name

R = TypeVar("R")

Progress = Callable[[int, int], None]
"""(done, total), in the stage's own unit"""


@dataclass(frozen=True)
class Stage:
    """`run` fills a job's folder. The code of its module, and of all that this imports, is in the stage's key.

    `version`: raise it where results change although that code does not: a module that is in no key was mended, or a
    library decides otherwise than it did. The number is in the key of the stage and of its rows.
    `beside_rows`: modules that decide no single row of a map stage, but what is made of all rows (an audit, a metric).
    They are in the key of the artifact and not in the keys of rows, so that a change of them asks no endpoint again.
    `assets`: other files of the code, by their path from its root, that decide the result (a page's template).
    `in_child`: runs in a process of its own: a stage with a model, so that memory really comes back.
    `identity`: what later stages key on, from the job's folder; None: the digest of all content. Keys that start with
    "part:" are digests of parts on which a step may depend alone.
    `estimate`: what a run would take, from the same job, whose folder is thrown away afterwards; `estimate_in_child`:
    it loads a model. `imagine` fills such a folder with the rows that are known and with stand-ins for the others, so
    that later stages may estimate; models that the job should have may be missing.
    """

    name: str
    run: Callable[["Job"], None]
    beside_rows: tuple[str, ...] = ()
    version: int = 1
    in_child: bool = False
    assets: tuple[str, ...] = ()
    identity: Callable[[Path], dict[str, str]] | None = None
    estimate: Callable[["Job"], dict[str, Any] | None] | None = None
    estimate_in_child: bool = False
    imagine: Callable[["Job"], None] | None = None

    def modules(self, plugs: tuple[str, ...]) -> frozenset[str]:
        """The modules that decide the result of this stage with these plugs."""
        return modules_behind((self.run.__module__, *plugs))

    def row_code(self, plugs: tuple[str, ...]) -> dict[str, str]:
        """The stage's version, and the digests of the code that decides one row of a map stage with these plugs."""
        own = modules_behind((self.run.__module__,), beside=self.beside_rows) - set(self.beside_rows)
        return {"version": str(self.version)} | code_digests(own | modules_behind(plugs))


@dataclass(frozen=True, kw_only=True)
class Step:
    """One node of a plan.

    inputs: input name -> earlier steps; "prompts:test" keys on the part `test` of what the step `prompts` made, so that
    a change of its other parts changes nothing here. external: digests of what lies outside the store.
    plugs: modules, beside the stage's own, whose code decides the result (a method, a sampler, a teacher).
    labels: what a report calls the step's result by (arm, seed, round); they are in no key.
    executor: settings of who computes chunks; it decides nothing about them.
    check: raises WorkError where what the stage made is not good enough to be published; it changes nothing of it.
    """

    name: str
    stage: Stage
    settings: BaseModel
    inputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    external: Mapping[str, str] = field(default_factory=dict)
    plugs: tuple[str, ...] = ()
    labels: Labels = field(default_factory=dict)
    executor: Any = field(default_factory=local.Settings)
    check: Callable[["Job"], None] | None = None

    def key(self, artifacts: Mapping[str, Artifact]) -> dict[str, Any]:
        """The parts of this step's fingerprint, given the artifacts of the steps before it.

        {stage, code: {version, module: digest}, config, inputs: {name: [identity, ...]}, external}; an identity is the
        content digest of an artifact, or the digests of a model's weights, tokenizer and chat template.
        """
        return {
            "stage": self.stage.name,
            "code": self.code(),
            "config": key_of(self.settings),
            "inputs": {name: [_identity(artifacts, step) for step in steps] for name, steps in self.inputs.items()},
            "external": dict(self.external),
        }

    def row_code(self) -> str:
        """The digest of the code that decides one row of a map stage, for the keys of rows."""
        return digest(self.stage.row_code(self.plugs))

    def code(self) -> dict[str, str]:
        """The stage's version, and the digests of the code that decides the result."""
        version = {"version": str(self.stage.version)}
        return version | code_digests(self.stage.modules(self.plugs)) | asset_digests(self.stage.assets)


def producer(step: str) -> str:
    """The step that an input like "prompts:test" comes from."""
    return step.partition(":")[0]


def _identity(artifacts: Mapping[str, Artifact], step: str) -> dict[str, str]:
    identity = artifacts[producer(step)].manifest.identity
    part = step.partition(":")[2]
    return {part: identity[f"part:{part}"]} if part else identity


def fingerprint(key: Mapping[str, Any]) -> str:
    """24 hex digits of the digest of a key."""
    return digest(key)[:24]


@dataclass
class Job:
    """What a stage function gets: settings, inputs, a folder to fill, and where to say how far it is."""

    name: str
    settings: Any
    inputs: Mapping[str, list[Artifact]]
    path: Path
    store: Store
    progress: Progress
    code: str
    """Digest of the code that decides a row, for row keys."""
    refresh: bool = False
    """Compute rows anew even if they are in the store."""
    executor: Any = field(default_factory=local.Settings)
    """Settings of the executor of map stages."""
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)

    def input(self, name: str) -> Artifact:
        """The only artifact of that input."""
        (artifact,) = self.inputs[name]
        return artifact

    def write(self, rows: Iterable[R], record: type[R]) -> dict[str, int]:
        """Write the artifact's table of that record; gives its rows by status."""
        counts: Counter[str] = Counter()
        with disk_errors(self.store.root):
            write_records(self.path / f"{table_name(record)}.parquet", _counted(rows, counts), record)
        return self.count(record, counts)

    def count(self, record: type, counts: Mapping[str, int]) -> dict[str, int]:
        """Record how many rows of each status a table holds."""
        self.counts[table_name(record)] = dict(sorted(counts.items()))
        return self.counts[table_name(record)]

    def conserve(self, what: str, *, expected: int, found: int) -> None:
        """Check that nothing was lost between stages: in = out + not ok. Raises WorkError."""
        if expected != found:
            raise WorkError(f"{self.name}: {expected} {what} went in but {found} came out; nothing is published")


def _counted(rows: Iterable[R], counts: Counter[str]) -> Iterator[R]:
    for row in rows:
        counts[getattr(row, "status", "ok")] += 1
        yield row
