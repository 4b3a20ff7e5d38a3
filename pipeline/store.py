"""The content-addressed store: store/<stage>/<fingerprint>/{*.parquet, manifest.json}.

An artifact exists when its manifest does. It is built in a work folder beside its place, the manifest is written
last, and one rename publishes the whole. A file that is missing or differs from its digest makes the artifact
invalid: it is never served, and the next run rebuilds it.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self, TypeVar

from data.errors import CorruptFile, InputError, WorkError
from data.parquet import read_records
from pipeline.files import (
    STAMPS,
    disk_errors,
    locked,
    problem,
    read_stamps,
    stamps_of,
    sync_folder,
    write_atomically,
    write_stamps,
)
from pipeline.fingerprint import digest, file_digest
from pipeline.manifest import FileEntry, Labels, Manifest

R = TypeVar("R")

MANIFEST = "manifest.json"
LOGS = "logs"


@dataclass(frozen=True)
class Artifact:
    """A finished artifact on disk.

    step: the step of the plan that it stands for; two steps that come out the same share one artifact.
    labels: those of that step.
    """

    path: Path
    step: str = ""
    labels: Labels = field(default_factory=dict)

    def standing_for(self, step: str, labels: Labels) -> Self:
        """The same artifact as that of a step of a plan."""
        return replace(self, step=step, labels=labels)

    def label(self, name: str) -> str | int:
        """Raises WorkError where the step has no such label."""
        if name not in self.labels:
            raise WorkError(f"step {self.step!r} ({self.ref}) has no label {name!r}, found {dict(self.labels)}")
        return self.labels[name]

    @cached_property
    def manifest(self) -> Manifest:
        return Manifest.read(self.path / MANIFEST)

    @property
    def stage(self) -> str:
        return self.path.parent.name

    @property
    def ref(self) -> str:
        """`stage/fingerprint`, the name by which commands and manifests speak of it."""
        return f"{self.stage}/{self.path.name}"

    @property
    def location(self) -> str:
        """Where the user finds it."""
        return str(self.path)

    def file(self, name: str) -> Path:
        """One of its files or folders, on this machine."""
        return self.path / name

    def table_path(self, record: type) -> Path:
        return self.file(f"{table_name(record)}.parquet")

    def records(self, record: type[R], *, columns: list[str] | None = None) -> Iterator[R]:
        """The rows of the artifact's table of that record."""
        return read_records(self.table_path(record), record, columns=columns)

    def problems(self, *, full: bool = False) -> list[str]:
        """What is wrong with the files behind the manifest; empty when all is well.

        A file whose size and modification time are those of its last check is not read again, unless `full`.
        """
        try:
            files = self.manifest.files
        except CorruptFile as error:
            return [str(error)]
        trusted = {} if full else read_stamps(self.path)
        found = [p for name, entry in files.items() if (p := problem(self.path, name, entry, trusted.get(name)))]
        if not found and stamps_of(self.path, files) != trusted:
            with contextlib.suppress(OSError):
                write_stamps(self.path, files)
        return found


class Store:
    """A folder of artifacts.

    What it offers beyond a folder (`open`, `share`, `gather`) is for a store that several machines see.
    """

    chosen_by = "--store"

    def __init__(self, root: Path | str):
        self.root = Path(root)
        if ":/" in str(root):
            raise InputError(f"{root} is no folder; a store by its URI is opened by `open_store`")

    def __str__(self) -> str:
        return self.location

    @property
    def location(self) -> str:
        """What opens the same store in another process."""
        return str(self.root)

    def check_writable(self) -> None:
        """Raises InputError when nothing can be written there."""
        probe = self.root / f".probe-{os.getpid()}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe.write_text("")
            probe.unlink()
        except OSError as error:
            raise InputError(
                f"the store {self.root} cannot be written ({error.strerror}); choose another with {self.chosen_by}"
            ) from error

    def find(self, stage: str, fingerprint: str) -> Artifact | None:
        """The valid artifact of that key, or None."""
        artifact = Artifact(self.root / stage / fingerprint)
        if not (artifact.path / MANIFEST).exists() or artifact.problems():
            return None
        return artifact

    def open(self, path: Path, step: str = "", labels: Labels | None = None) -> Artifact:
        """The artifact whose path another process has told."""
        return Artifact(path, step, labels or {})

    def refs(self) -> list[str]:
        """Of every artifact with a manifest, oldest first."""
        found = [path for path in self.root.glob(f"*/*/{MANIFEST}") if path.parent.name[0] != "."]
        found.sort(key=lambda path: (path.stat().st_mtime_ns, path))
        return [path.parent.relative_to(self.root).as_posix() for path in found]

    def artifact(self, ref: str) -> Artifact:
        """One of `refs`."""
        return Artifact(self.root / ref)

    def artifacts(self) -> list[Artifact]:
        """Every artifact with a manifest, oldest first."""
        return [self.artifact(ref) for ref in self.refs()]

    def resolve(self, ref: str) -> Artifact:
        """The artifact of a reference: `stage/fingerprint`, a unique beginning of it, or a stage (its newest).

        Raises InputError when there is none or more than one.
        """
        stage, _, prefix = ref.partition("/")
        refs = self.refs()
        matches = [r for r in refs if r.startswith(f"{stage}/{prefix}")]
        if not matches and not prefix:
            matches = [r for r in refs if r.partition("/")[2].startswith(stage)]
        if prefix and len(matches) > 1:
            raise InputError(f"{ref!r} fits {len(matches)} artifacts: {', '.join(matches)}")
        if not matches:
            stages = sorted({r.partition("/")[0] for r in refs})
            raise InputError(f"no artifact {ref!r} in {self}; stages with artifacts: {', '.join(stages) or 'none'}")
        return self.artifact(matches[-1])

    def work_folder(self, stage: str, fingerprint: str) -> Path:
        """Where an artifact is built; it keeps its place over a crash, so that training can resume in it."""
        return self.root / stage / f".work-{fingerprint}"

    def publish(self, work: Path, manifest: Manifest) -> Artifact:
        """Make the work folder the artifact: manifest last, then one rename. An artifact there is replaced."""
        return Artifact(self._settle(work, manifest, self.root / manifest.stage / manifest.fingerprint))

    def _settle(self, work: Path, manifest: Manifest, target: Path) -> Path:
        with disk_errors(self.root):
            write_atomically(work / MANIFEST, manifest.to_json())
            write_stamps(work, manifest.files)
            if target.exists():
                shutil.rmtree(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            work.rename(target)
            sync_folder(target.parent)
        return target

    def share(self, path: Path) -> None:
        """Let other machines see a file that lies below the root."""

    def gather(self, folder: Path, pattern: str) -> None:
        """Bring the files that other machines have shared in a folder below the root."""

    def rows(self) -> list[str]:
        """The folders of row chunks, by name."""
        return self._names("*/rows/*")

    def abandoned(self) -> list[str]:
        """Folders of work that was begun and not finished, by name; some may still be going on."""
        return self._names("*/.work-*")

    def num_bytes(self, name: str) -> int:
        """Of all that lies below a folder of that name."""
        return sum(path.stat().st_size for path in (self.root / name).rglob("*") if path.is_file())

    def delete(self, name: str) -> None:
        """A folder of that name, such as an artifact by its reference."""
        shutil.rmtree(self.root / name)

    def _names(self, pattern: str) -> list[str]:
        return sorted(path.relative_to(self.root).as_posix() for path in self.root.glob(pattern))

    @contextlib.contextmanager
    def lock(self, stage: str, fingerprint: str) -> Iterator[None]:
        """Only one process builds an artifact at a time; the lock goes with its process, however that ends."""
        folder = self.root / ".locks"
        with disk_errors(self.root):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{stage}-{fingerprint}").touch()
        with locked(folder / f"{stage}-{fingerprint}"):
            yield


def table_name(record: type) -> str:
    """The file stem of a record's table: `PartialOrder` -> `partial_order`."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in record.__name__).lstrip("_")


def describe_files(folder: Path) -> dict[str, FileEntry]:
    """Every file below the folder, with its digest; those under `logs/` do not count as content."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in (MANIFEST, STAMPS)):
        name = path.relative_to(folder).as_posix()
        found[name] = FileEntry(
            sha256=file_digest(path), num_bytes=path.stat().st_size, content=not name.startswith(f"{LOGS}/")
        )
    return found


def content_digest(files: dict[str, FileEntry]) -> str:
    return digest({name: entry.sha256 for name, entry in files.items() if entry.content})
