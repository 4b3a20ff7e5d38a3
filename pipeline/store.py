"""The content-addressed store: store/<stage>/<fingerprint>/{*.parquet, manifest.json}.

An artifact exists when its manifest does. It is built in a work folder beside its final place, the manifest is written
last, and one rename publishes the whole. An artifact is invalid if a file is missing or differs from its digest, or if
the manifest was edited or belongs to another folder. Invalid artifacts are never used; the next run makes them anew.

A look-up trusts files whose stamp (size, times and inode number) is that of their last check. A process checks a file
against its digest when it first reads the file, so that changes that leave no trace in the stamp are found too.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self, TypeVar

from hasse.data.errors import CorruptFile, DamagedArtifact, InputError, StoreError, WorkError
from hasse.data.parquet import read_records
from hasse.pipeline.disk import FULL, disk_errors, disk_message
from hasse.pipeline.files import (
    CORRUPT,
    STAMPS,
    digest_once,
    file_problem,
    locked,
    locked_if_free,
    make_folder,
    read_stamps,
    remove,
    stamps_of,
    sync_folder,
    write_atomically,
    write_stamps,
)
from hasse.pipeline.fingerprint import digest, file_digest
from hasse.pipeline.manifest import FileEntry, Labels, Manifest
from hasse.pipeline.remote.conditional import Conflict

R = TypeVar("R")

MANIFEST = "manifest.json"
WORK = ".work-"
"""The beginning of the name of a folder in which an artifact is built."""
LOGS = "logs"
SET_ASIDE = ("*/*", ".locks/*", "*/rows/*/*")
"""The places of files that are renamed when they are found damaged."""


@dataclass(frozen=True)
class Artifact:
    """A finished artifact on disk.

    step, labels: the step of the plan that the artifact stands for, and its labels. Equal steps share one artifact.
    """

    path: Path
    step: str = ""
    labels: Labels = field(default_factory=dict)

    def standing_for(self, step: str, labels: Labels) -> Self:
        """Give the same artifact, standing for this step of a plan."""
        return replace(self, step=step, labels=labels)

    def label(self, name: str) -> str | int:
        """The value of a label of the step. Raises WorkError if the step has no such label."""
        if name not in self.labels:
            raise WorkError(f"step {self.step!r} ({self.ref}) has no label {name!r}, found {dict(self.labels)}")
        return self.labels[name]

    @cached_property
    def manifest(self) -> Manifest:
        try:
            return Manifest.read(self.path / MANIFEST)
        except CorruptFile as error:
            raise DamagedArtifact(str(error)) from error

    @property
    def stage(self) -> str:
        return self.path.parent.name

    @property
    def ref(self) -> str:
        """`stage/fingerprint`, the artifact's name in commands and manifests."""
        return f"{self.stage}/{self.path.name}"

    @property
    def store_location(self) -> str:
        """The path or URI that opens the artifact's store."""
        return str(self.path.parents[1])

    @property
    def location(self) -> str:
        """The place of the artifact, for the user."""
        return str(self.path)

    def file(self, name: str) -> Path:
        """A file or folder of the artifact, on this machine. Raises DamagedArtifact; the next run makes it anew."""
        self._check_read(name)
        return self.path / name

    def table_path(self, record: type) -> Path:
        return self.file(f"{table_name(record)}.parquet")

    def records(self, record: type[R], *, columns: list[str] | None = None) -> Iterator[R]:
        """Stream the rows of the artifact's table of this record."""
        return read_records(self.table_path(record), record, columns=columns)

    def problems(self, *, full: bool = False) -> list[str]:
        """The problems of the artifact's files; an empty list for a valid artifact.

        full: read all files, even those whose stamp is that of their last check.
        """
        try:
            files = self.manifest.files
        except CorruptFile as error:
            return [str(error)]
        trusted = {} if full else read_stamps(self.path)
        found = [
            problem
            for name, entry in files.items()
            if (problem := file_problem(self.path, name, entry, trusted=trusted.get(name), again=full))
        ]
        with contextlib.suppress(OSError):  # stamps only save reading
            if not found and stamps_of(self.path, files) != trusted:
                write_stamps(self.path, files)
        return found

    def _check_read(self, name: str) -> None:
        """Check the file, or all files of the folder, unless this process has done so and nothing has changed since."""
        files = self.manifest.files
        for part in [name] if name in files else [n for n in files if n.startswith(f"{name}/")]:
            if problem := file_problem(self.path, part, files[part]):
                remove(self.path / STAMPS)  # so that the next look-up reads all files
                raise DamagedArtifact(f"{self.location}: {problem}; run the same command again to make it anew")


class Imagined(Artifact):
    """Stand-ins for an artifact that does not exist yet, in a folder without a manifest."""

    def _check_read(self, name: str) -> None:
        pass


class Store:
    """A folder of artifacts.

    The methods for files that several machines share (`open`, `share`, `gather` and others) do nothing here;
    `RemoteStore` implements them.
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
        """The path or URI that opens the same store in another process."""
        return str(self.root)

    def check_writable(self) -> None:
        """Raises InputError if the store cannot be written, and StoreError if the disk is full."""
        probe = self.root / f".probe-{os.getpid()}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe.write_text("")
            probe.unlink()
        except OSError as error:
            if error.errno in FULL:
                raise StoreError(disk_message(f"the store {self.root}", str(error.strerror))) from error
            raise InputError(
                f"the store {self.root} cannot be written ({error.strerror}); choose another with {self.chosen_by}"
            ) from error

    def find(self, stage: str, fingerprint: str) -> Artifact | None:
        """The valid artifact with this fingerprint, or None."""
        artifact = Artifact(self.root / stage / fingerprint)
        if not (artifact.path / MANIFEST).exists() or artifact.problems():
            return None
        return artifact

    def open(self, path: Path, step: str = "", labels: Labels | None = None) -> Artifact:
        """The artifact at a path that another process has passed on."""
        return Artifact(path, step, labels or {})

    def refs(self) -> list[str]:
        """The references of all artifacts with a manifest, oldest first."""
        return sorted(found := self.manifest_times(), key=lambda ref: (found[ref], ref))

    def manifest_files(self) -> dict[str, str]:
        """Reference -> path of the manifest on this machine, for all artifacts, oldest first."""
        return {ref: f"{self.root}/{ref}/{MANIFEST}" for ref in self.refs()}

    def manifest_times(self) -> dict[str, int]:
        """Reference -> the time when its manifest was written, in nanoseconds."""
        found = {}
        for stage in _folders(self.root):
            for folder in _folders(stage):
                with contextlib.suppress(OSError):  # there is no manifest, or a link to nowhere
                    found[f"{stage.name}/{folder.name}"] = os.lstat(f"{folder.path}/{MANIFEST}").st_mtime_ns
        return found

    def artifact(self, ref: str) -> Artifact:
        """The artifact of a reference from `refs`."""
        return Artifact(self.root / ref)

    def artifacts(self) -> list[Artifact]:
        """All artifacts with a manifest, oldest first."""
        return [self.artifact(ref) for ref in self.refs()]

    def resolve(self, ref: str) -> Artifact:
        """The artifact of `stage/fingerprint` or of a unique beginning of it; for a stage alone, its newest artifact.

        Raises InputError if no artifact, or more than one, fits.
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
        """The folder in which an artifact is built. A crash leaves it in place, so that training can resume in it."""
        return self.root / stage / f"{WORK}{fingerprint}"

    def publish(self, work: Path, manifest: Manifest) -> Artifact:
        """Turn the work folder into the artifact, in place of any older one: write the manifest last, then rename."""
        return Artifact(self._settle(work, manifest, self.root / manifest.stage / manifest.fingerprint))

    def _settle(self, work: Path, manifest: Manifest, target: Path) -> Path:
        with disk_errors(self.root):
            write_atomically(work / MANIFEST, manifest.to_json())
            write_stamps(work, manifest.files)
            remove(target)
            make_folder(target.parent)
            work.rename(target)
            sync_folder(target.parent)
        return target

    def share(self, path: Path) -> None:
        """Send a file below the root to other machines."""

    def refresh(self, path: Path) -> str | None:
        """Fetch the newest content of a shared file; returns its version for `replace`, or None if there is no file."""
        return file_digest(path) if path.is_file() else None

    def replace(self, path: Path, text: str, version: str | None) -> None:
        """Write a shared file if its version is still this one. Raises Conflict if another process has written it."""
        with disk_errors(self.root):
            make_folder(path.parent)
            with locked(path.with_name(f".{path.name}.lock")):
                if self.refresh(path) != version:
                    raise Conflict(f"{path} was written by another process meanwhile")
                write_atomically(path, text)

    @contextlib.contextmanager
    def lease(self, name: str) -> Iterator[None]:
        """Keep other machines from the work of this name. Raises Leased. Locks do this within one machine."""
        yield

    def bring_again(self, path: Path) -> bool:
        """Fetch a shared file again in place of a damaged copy; returns whether there is one."""
        return False

    def withdraw(self, path: Path) -> None:
        """Delete a damaged file on this machine and where it is shared."""

    def gather(self, folder: Path, pattern: str) -> None:
        """Fetch the files of a folder below the root that other machines have shared."""

    def rows(self) -> list[str]:
        """The folders of row chunks, by name."""
        return self._names("*/rows/*")

    def abandoned(self) -> list[str]:
        """The names of work folders, some of which may still be in use, and of damaged files that were set aside."""
        damaged = [name for pattern in SET_ASIDE for name in self._names(f"{pattern}{CORRUPT}")]
        return sorted([*self._names(f"*/{WORK}*"), *damaged])

    def num_bytes(self, name: str) -> int:
        """The size of all files below the folder of this name."""
        return sum(path.lstat().st_size for path in (self.root / name).rglob("*") if path.is_file())

    def delete(self, name: str) -> None:
        """Delete the folder of this name, such as an artifact by its reference."""
        remove(self.root / name)

    def _names(self, pattern: str) -> list[str]:
        return sorted(path.relative_to(self.root).as_posix() for path in self.root.glob(pattern))

    @contextlib.contextmanager
    def lock(self, stage: str, fingerprint: str) -> Iterator[None]:
        """Hold the lock with which only one process builds an artifact. It ends with the process, however that ends."""
        with self._lock(stage, fingerprint, locked):
            yield

    @contextlib.contextmanager
    def lock_if_free(self, stage: str, fingerprint: str) -> Iterator[bool]:
        """Hold the lock if it is free; yields whether no process on this machine builds or deletes the artifact."""
        with self._lock(stage, fingerprint, locked_if_free) as free:
            yield free

    @contextlib.contextmanager
    def _lock(self, stage: str, fingerprint: str, acquire: Callable[[Path], AbstractContextManager[R]]) -> Iterator[R]:
        with contextlib.ExitStack() as stack:
            with disk_errors(self.root):
                make_folder(self.root / ".locks")
                held = stack.enter_context(acquire(self.root / ".locks" / f"{stage}-{fingerprint}"))
            yield held


def _folders(path: Path | os.DirEntry[str]) -> list[os.DirEntry[str]]:
    """The folders directly below, without hidden ones."""
    try:
        with os.scandir(path) as entries:
            return [entry for entry in entries if entry.name[0] != "." and entry.is_dir()]
    except OSError:  # the folder does not exist, or no longer
        return []


def table_name(record: type) -> str:
    """The file stem of a record's table, e.g. `partial_order` for `PartialOrder`."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in record.__name__).lstrip("_")


def describe_files(folder: Path) -> dict[str, FileEntry]:
    """All files below the folder, with their digests. Files below `logs/` do not count as content."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in (MANIFEST, STAMPS)):
        name = path.relative_to(folder).as_posix()
        found[name] = FileEntry(
            sha256=digest_once(path), num_bytes=path.stat().st_size, content=not name.startswith(f"{LOGS}/")
        )
    return found


def content_digest(files: dict[str, FileEntry]) -> str:
    """The digest of the names and digests of all files that are content."""
    return digest({name: entry.sha256 for name, entry in files.items() if entry.content})
