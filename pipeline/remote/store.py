"""A store below a URI, for several machines. The object store decides; a folder on this machine holds copies.

There:  <stage>/<fingerprint>/<sha256>/<file>, and <stage>/<fingerprint>/manifest.json, written last;
        <stage>/rows/<code digest>/<chunk>.parquet, runs/<run id>.json
Here:   .artifacts/<digest of the manifest>/<stage>/<fingerprint>/<file>; work folders, chunks and runs as in any store

The name of an object holds the digest of its content, so two machines that publish the same artifact at once cannot mix
their files: either manifest names a complete set. A folder on this machine belongs to one manifest, so the files that a
stage reads do not change even if another machine publishes the artifact anew.
"""

import contextlib
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import unquote, urlsplit

from hasse.data.errors import CorruptFile, InputError
from hasse.pipeline.disk import disk_errors
from hasse.pipeline.files import locked, make_folder, remove, set_aside, write_atomically
from hasse.pipeline.fingerprint import digest
from hasse.pipeline.manifest import Labels, Manifest
from hasse.pipeline.remote.artifact import RemoteArtifact, in_parallel
from hasse.pipeline.remote.conditional import ConditionalObjects
from hasse.pipeline.remote.lease import lease
from hasse.pipeline.remote.objects import Entry, Objects
from hasse.pipeline.store import MANIFEST, Artifact, Store

MIRROR = ".artifacts"
ROWS = "rows"

ABANDONED_SECONDS = 24 * 3600
"""An artifact without a manifest counts as an abandoned upload this long after its last file."""


def open_store(location: Path | str) -> Store:
    """The store in a folder, or below a URI such as s3://bucket/prefix. Raises InputError and StoreError."""
    text = str(location)
    _check_local(text)
    if text.startswith("file://"):
        return Store(unquote(urlsplit(text).path))
    return RemoteStore(text) if "://" in text else Store(text)


def _check_local(text: str) -> None:
    """Raises InputError for a name that looks like that of an object store or a share, and would become a folder."""
    if found := re.match(r"(s3|gs|gcs|hdfs|abfss?|file|https?):(?!//)/?", text, re.IGNORECASE):
        scheme = found[1].lower()
        near = f"{scheme}://{'/' if scheme == 'file' else ''}{text[found.end() :].lstrip('/')}"
        raise InputError(f"the store {text!r} is no URI; write it as {near}, or as ./{text} if a folder is meant")
    if re.match(r"\\\\|[A-Za-z]:\\", text):
        near = f"/mnt/{PureWindowsPath(text).name or 'share'}"
        raise InputError(f"the store {text!r} is a Windows name; give the folder where it is mounted, such as {near}")


def absolute(location: Path | str) -> str:
    """The path or URI that opens the same store from any working directory."""
    return str(location) if "://" in str(location) else str(Path(location).absolute())


class RemoteStore(Store):
    """A store in an object store. `root` is its folder on this machine, below HASSE_CACHE or ~/.cache/hasse."""

    chosen_by = "HASSE_CACHE"

    def __init__(self, uri: str):
        self.objects = Objects(uri)
        super().__init__(_cache(self.objects))

    @property
    def location(self) -> str:
        return self.objects.uri

    def check_writable(self) -> None:
        super().check_writable()
        self.objects.write(".writable", b"")

    def find(self, stage: str, fingerprint: str) -> Artifact | None:
        """The valid artifact with this fingerprint, or None. Files that only this machine has are sent again."""
        ref = f"{stage}/{fingerprint}"
        standing = self._standing(ref)
        artifact = standing or self._unsent(ref)
        if artifact is None:
            return None
        try:
            lacking = artifact.lacking()
        except CorruptFile:
            return None
        if artifact.absent(lacking):
            return None
        artifact.send(lacking, manifest=standing is None)
        return artifact

    def open(self, path: Path, step: str = "", labels: Labels | None = None) -> RemoteArtifact:
        return RemoteArtifact(path, step, labels or {}, objects=self.objects)

    def refs(self) -> list[str]:
        """The references of all artifacts with a manifest, oldest first by the clock of the object store."""
        return self._refs(self.objects.list())

    def artifact(self, ref: str) -> Artifact:
        artifact = self._standing(ref)
        if artifact is None:
            raise InputError(f"{ref} is no longer in {self}")
        return artifact

    def artifacts(self) -> list[Artifact]:
        return [artifact for artifact in in_parallel(self._standing, self.refs()) if artifact is not None]

    def manifest_files(self) -> dict[str, str]:
        return {artifact.ref: str(artifact.path / MANIFEST) for artifact in self.artifacts()}

    def publish(self, work: Path, manifest: Manifest) -> Artifact:
        """Turn the work folder into the artifact here, then send it. `find` resumes an upload that stopped."""
        place = self._mirror(f"{manifest.stage}/{manifest.fingerprint}", manifest.to_json().encode())
        artifact = self.open(self._settle(work, manifest, place))
        artifact.send(artifact.lacking(), manifest=True)
        return artifact

    def share(self, path: Path) -> None:
        """Send a file, and give it the time of the object, so that `gather` sees later writes by other machines."""
        name = path.relative_to(self.root).as_posix()
        self.objects.put(name, path)
        modified = self.objects.entry(name).modified
        os.utime(path, (modified, modified))

    def refresh(self, path: Path) -> str | None:
        found = self._conditional.read(path.relative_to(self.root).as_posix())
        with disk_errors(self.root):
            make_folder(path.parent)
            if found is None:
                remove(path)
            elif not _holds(path, found[0]):
                write_atomically(path, found[0].decode(errors="surrogateescape"))
        return found[1] if found else None

    def replace(self, path: Path, text: str, version: str | None) -> None:
        self._conditional.write(path.relative_to(self.root).as_posix(), text.encode(), version)
        with disk_errors(self.root):
            make_folder(path.parent)
            write_atomically(path, text)

    @contextlib.contextmanager
    def lease(self, name: str) -> Iterator[None]:
        with lease(self._conditional, f".leases/{name}.json"):
            yield

    @cached_property
    def _conditional(self) -> ConditionalObjects:
        return ConditionalObjects(self.objects)

    def bring_again(self, path: Path) -> bool:
        name = path.relative_to(self.root).as_posix()
        there = self.objects.get(name, temporary := path.with_name(f".{path.name}.part")) is not None
        if there:
            temporary.replace(path)
        return there

    def withdraw(self, path: Path) -> None:
        self.objects.delete(path.relative_to(self.root).as_posix())
        path.unlink(missing_ok=True)

    def gather(self, folder: Path, pattern: str) -> None:
        """Fetch the shared files, and send those that only this machine has, e.g. after a failed upload."""
        name = folder.relative_to(self.root).as_posix()
        with disk_errors(self.root):
            make_folder(folder)
            with locked(folder / ".lock"):
                found = {n.removeprefix(f"{name}/"): entry for n, entry in self.objects.list(name).items()}
                there = {folder / n: entry for n, entry in found.items() if "/" not in n and fnmatch(n, pattern)}
                newer = [path for path, entry in there.items() if _is_newer(entry, path)]
                in_parallel(lambda path: self._fetch(path, there[path]), newer)
                in_parallel(self.share, [p for p in folder.glob(pattern) if p not in there and p.is_file()])

    def rows(self) -> list[str]:
        parts = [name.split("/") for name in self.objects.list()]
        there = {"/".join(part[:3]) for part in parts if len(part) == 4 and part[1] == ROWS}
        return sorted(there.union(super().rows()))

    def abandoned(self) -> list[str]:
        """List abandoned work as a local store does, uploads stopped a day ago, and copies of deleted artifacts."""
        found = self.objects.list()
        latest: dict[str, int] = {}
        for name, entry in found.items():
            ref, parts = "/".join(name.split("/")[:2]), name.split("/")
            if len(parts) > 3 and parts[1] != ROWS:
                latest[ref] = max(latest.get(ref, 0), entry.modified)
        before = time.time() - ABANDONED_SECONDS
        stopped = [ref for ref in latest.keys() - set(self._refs(found)) if latest[ref] < before]
        standing = {artifact.path for artifact in self.artifacts()}
        copies = [name for name in self._names(f"{MIRROR}/*/*/*") if self.root / name not in standing]
        return sorted([*super().abandoned(), *stopped, *copies])

    def num_bytes(self, name: str) -> int:
        """The size of the objects or, if there are none, of the files on this machine."""
        return sum(entry.num_bytes for entry in self.objects.list(name).values()) or super().num_bytes(name)

    def delete(self, name: str) -> None:
        """Delete the objects, the manifest first, and the copies on this machine."""
        self.objects.delete(f"{name}/{MANIFEST}")
        self.objects.delete(name)
        for path in [self.root / name, *self.root.glob(f"{MIRROR}/*/{name}")]:
            shutil.rmtree(path, ignore_errors=True)

    def _refs(self, found: dict[str, Entry]) -> list[str]:
        manifests = [name for name in found if name.count("/") == 2 and name.endswith(f"/{MANIFEST}")]
        manifests.sort(key=lambda name: (found[name].modified, name))
        return [str(PurePosixPath(name).parent) for name in manifests]

    def _standing(self, ref: str) -> RemoteArtifact | None:
        """The artifact whose manifest is in the object store; None if there is none."""
        content = self.objects.read(f"{ref}/{MANIFEST}")
        if content is None:
            return None
        path = self._mirror(ref, content)
        if not _holds(path / MANIFEST, content):
            with disk_errors(self.root):
                make_folder(path)
                if (path / MANIFEST).is_dir():
                    set_aside(path / MANIFEST)
                temporary = path / f".{MANIFEST}-{os.getpid()}"
                temporary.write_bytes(content)
                temporary.replace(path / MANIFEST)
        return self.open(path)

    def _unsent(self, ref: str) -> RemoteArtifact | None:
        """The newest complete copy, on this machine, of an artifact that was not sent or was deleted there."""
        here = sorted(self.root.glob(f"{MIRROR}/*/{ref}/{MANIFEST}"), key=lambda path: path.stat().st_mtime_ns)
        whole = [path.parent for path in here if not Artifact(path.parent).problems()]
        return self.open(whole[-1]) if whole else None

    def _mirror(self, ref: str, manifest: bytes) -> Path:
        return self.root / MIRROR / hashlib.sha256(manifest).hexdigest()[:24] / ref

    def _fetch(self, path: Path, entry: Entry) -> None:
        temporary = path.with_name(f".{path.name}.part")
        if self.objects.get(path.relative_to(self.root).as_posix(), temporary) is not None:
            os.utime(temporary, (entry.modified, entry.modified))
            temporary.replace(path)


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:  # the file is missing, or cannot be read
        return False


def _is_newer(entry: Entry, path: Path) -> bool:
    if not path.exists():
        return True
    stat = path.stat()
    here = int(stat.st_mtime)
    return entry.modified > here or (entry.modified == here and entry.num_bytes != stat.st_size)


def _cache(objects: Objects) -> Path:
    """The folder of the copies. Its name is readable, and differs for each endpoint."""
    folder = Path(os.environ.get("HASSE_CACHE") or Path.home() / ".cache" / "hasse").expanduser().absolute()
    name = re.sub(r"[^\w.-]+", "-", objects.base).strip("-.")[:60]
    return folder / f"{name}-{digest(objects.identity)[:12]}"
