"""A stage is a function of (settings, input artifacts) that writes rows. A step is one use of a stage in a plan."""

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
"""Called with (done, total), in units of the stage."""


@dataclass(frozen=True)
class Stage:
    """A stage. `run` fills a job's folder; the code of its module, and of all that this imports, is in the stage's key.

    version: must be raised if results change although that code does not, because of a module that is in no key, or of
    a library. The number is in the key of the stage and in the keys of its rows.
    beside_rows: modules of a map stage that decide no single row, but results of all rows (an audit, a metric). They
    are in the key of the artifact and not in the keys of rows, so that a change of them asks no endpoint again.
    assets: other files of the code that decide the result (a page's template), by their path from the code's root.
    in_child: whether the stage runs in a process of its own; stages with a model do, so that their memory is freed.
    identity: makes, from the job's folder, the digests that the keys of later stages hold; None: the digest of all
    content. Digests whose name starts with "part:" stand for parts on which a step may depend alone.
    estimate: makes the estimate of a run from the same job, whose folder is deleted afterwards. estimate_in_child:
    whether this loads a model. imagine: fills such a folder with the known rows and with stand-ins for the others, so
    that later stages can estimate; models among the job's inputs may be missing.
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
        """All modules that decide the result of this stage with these plugs."""
        return modules_behind((self.run.__module__, *plugs))

    def row_code(self, plugs: tuple[str, ...]) -> dict[str, str]:
        """The stage's version, and the digests of the code that decides one row of a map stage with these plugs."""
        own = modules_behind((self.run.__module__,), beside=self.beside_rows) - set(self.beside_rows)
        return {"version": str(self.version)} | code_digests(own | modules_behind(plugs))


@dataclass(frozen=True, kw_only=True)
class Step:
    """One node of a plan.

    inputs: input name -> earlier steps. With "prompts:test", the key depends on the part `test` of the step `prompts`
    alone, so a change of its other parts changes nothing here. external: digests of files outside the store.
    plugs: modules other than the stage's own whose code decides the result (a method, a sampler, a teacher).
    labels: arm, seed and round, by which a report finds the step's result; they are in no key.
    executor: settings of the executor of chunks, which does not change results.
    check: raises WorkError if the result is not good enough to be published; it does not change the result.
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
        """The stage's version, and the digests of all code that decides the result."""
        version = {"version": str(self.stage.version)}
        return version | code_digests(self.stage.modules(self.plugs)) | asset_digests(self.stage.assets)


def producer(step: str) -> str:
    """The name of the step in an input such as "prompts:test"."""
    return step.partition(":")[0]


def _identity(artifacts: Mapping[str, Artifact], step: str) -> dict[str, str]:
    identity = artifacts[producer(step)].manifest.identity
    part = step.partition(":")[2]
    return {part: identity[f"part:{part}"]} if part else identity


def fingerprint(key: Mapping[str, Any]) -> str:
    """The first 24 hex digits of the digest of a key."""
    return digest(key)[:24]


@dataclass
class Job:
    """The argument of a stage function: settings, inputs, a folder to fill, and a callback for progress."""

    name: str
    settings: Any
    inputs: Mapping[str, list[Artifact]]
    path: Path
    store: Store
    progress: Progress
    code: str
    """The digest of the code that decides a row, for row keys."""
    refresh: bool = False
    """Whether rows are computed anew even if they are in the store."""
    executor: Any = field(default_factory=local.Settings)
    """The settings of the executor of map stages."""
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)

    def input(self, name: str) -> Artifact:
        """The only artifact of this input."""
        (artifact,) = self.inputs[name]
        return artifact

    def write(self, rows: Iterable[R], record: type[R]) -> dict[str, int]:
        """Write and count the artifact's table of this record; returns its rows by status."""
        counts: Counter[str] = Counter()
        with disk_errors(self.store.root):
            write_records(self.path / f"{table_name(record)}.parquet", _counted(rows, counts), record)
        return self.count(record, counts)

    def count(self, record: type, counts: Mapping[str, int]) -> dict[str, int]:
        """Record how many rows of each status the table of this record holds."""
        self.counts[table_name(record)] = dict(sorted(counts.items()))
        return self.counts[table_name(record)]

    def conserve(self, what: str, *, expected: int, found: int) -> None:
        """Raises WorkError if anything was lost between stages: in = out + not ok."""
        if expected != found:
            raise WorkError(f"{self.name}: {expected} {what} went in but {found} came out; nothing is published")


def _counted(rows: Iterable[R], counts: Counter[str]) -> Iterator[R]:
    for row in rows:
        counts[getattr(row, "status", "ok")] += 1
        yield row
