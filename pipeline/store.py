"""The content-addressed store: store/<stage>/<fingerprint>/{*.parquet, manifest.json}.

An artifact exists when its manifest does. It is built in a work folder beside its place, the manifest is written
last, and one rename publishes the whole. A file that is missing or differs from its digest makes the artifact
invalid: it is never served, and the next run rebuilds it.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from data.errors import CorruptFile, InputError, StoreError
from data.parquet import read_records
from pipeline.fingerprint import digest, file_digest
from pipeline.manifest import FileEntry, Manifest

R = TypeVar("R")

MANIFEST = "manifest.json"
STAMPS = "stamps.json"
LOGS = "logs"


@dataclass(frozen=True)
class Artifact:
    """A finished artifact on disk.

    step: the step of the plan that it stands for; two steps that come out the same share one artifact.
    """

    path: Path
    step: str = ""

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

    def table_path(self, record: type) -> Path:
        return self.path / f"{table_name(record)}.parquet"

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
        trusted = {} if full else _read_stamps(self.path)
        found = [p for name, entry in files.items() if (p := _problem(self.path, name, entry, trusted.get(name)))]
        if not found and _stamps(self.path, files) != trusted:
            with contextlib.suppress(OSError):
                _write_stamps(self.path, files)
        return found


class Store:
    """A folder of artifacts."""

    def __init__(self, root: Path | str):
        self.root = Path(root)

    def check_writable(self) -> None:
        """Raises InputError when nothing can be written there."""
        probe = self.root / f".probe-{os.getpid()}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe.write_text("")
            probe.unlink()
        except OSError as error:
            raise InputError(
                f"the store {self.root} cannot be written ({error.strerror}); choose another with --store"
            ) from error

    def find(self, stage: str, fingerprint: str) -> Artifact | None:
        """The valid artifact of that key, or None."""
        artifact = Artifact(self.root / stage / fingerprint)
        if not (artifact.path / MANIFEST).exists() or artifact.problems():
            return None
        return artifact

    def artifacts(self) -> list[Artifact]:
        """Every artifact with a manifest, oldest first."""
        found = [Artifact(path.parent) for path in self.root.glob(f"*/*/{MANIFEST}") if path.parent.name[0] != "."]
        return sorted(found, key=lambda artifact: ((artifact.path / MANIFEST).stat().st_mtime_ns, artifact.ref))

    def resolve(self, ref: str) -> Artifact:
        """The artifact of a reference: `stage/fingerprint`, a unique beginning of it, or a stage (its newest).

        Raises InputError when there is none or more than one.
        """
        stage, _, prefix = ref.partition("/")
        matches = [a for a in self.artifacts() if a.stage == stage and a.path.name.startswith(prefix)]
        if not matches and not prefix:
            matches = [a for a in self.artifacts() if a.path.name.startswith(stage)]
        if prefix and len(matches) > 1:
            raise InputError(f"{ref!r} fits {len(matches)} artifacts: {', '.join(a.ref for a in matches)}")
        if not matches:
            stages = sorted({a.stage for a in self.artifacts()})
            raise InputError(
                f"no artifact {ref!r} in {self.root}; stages with artifacts: {', '.join(stages) or 'none'}"
            )
        return matches[-1]

    def work_folder(self, stage: str, fingerprint: str) -> Path:
        """Where an artifact is built; it keeps its place over a crash, so that training can resume in it."""
        return self.root / stage / f".work-{fingerprint}"

    def publish(self, work: Path, manifest: Manifest) -> Artifact:
        """Make the work folder the artifact: manifest last, then one rename. A broken artifact there is replaced."""
        target = self.root / manifest.stage / manifest.fingerprint
        with disk_errors(self.root):
            write_atomically(work / MANIFEST, manifest.to_json())
            _write_stamps(work, manifest.files)
            if target.exists():
                shutil.rmtree(target)
            work.rename(target)
            _sync_folder(target.parent)
        return Artifact(target)

    @contextlib.contextmanager
    def lock(self, stage: str, fingerprint: str) -> Iterator[None]:
        """Only one process builds an artifact at a time; the lock goes with its process, however that ends."""
        folder = self.root / ".locks"
        with disk_errors(self.root):
            folder.mkdir(parents=True, exist_ok=True)
            file = (folder / f"{stage}-{fingerprint}").open("w")
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
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


def write_atomically(path: Path, text: str) -> None:
    """The whole text or, after a crash, the former file; never a part."""
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@contextlib.contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """Turn a full or failing disk into a StoreError that says what is kept."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO):
            raise
        raise StoreError(
            f"the store {root} could not be written: {error.strerror}. Finished chunks and artifacts are kept; "
            "make room (`hasse prune` shows what can go) and run the same command again"
        ) from error


def _problem(folder: Path, name: str, entry: FileEntry, stamp: list[int] | None) -> str | None:
    path = folder / name
    if not path.exists():
        return f"{name} is missing"
    stat = path.stat()
    if stat.st_size != entry.num_bytes:
        return f"{name} has {stat.st_size} bytes instead of {entry.num_bytes}"
    if stamp != [stat.st_size, stat.st_mtime_ns] and file_digest(path) != entry.sha256:
        return f"{name} differs from its digest"
    return None


def _stamps(folder: Path, files: Iterable[str]) -> dict[str, list[int]]:
    stats = {name: (folder / name).stat() for name in files}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


def _read_stamps(folder: Path) -> dict[str, list[int]]:
    try:
        return json.loads((folder / STAMPS).read_text())
    except (OSError, ValueError):
        return {}


def _write_stamps(folder: Path, files: Iterable[str]) -> None:
    write_atomically(folder / STAMPS, json.dumps(_stamps(folder, files)))


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
