"""Artifacts in an object store. A file is fetched and checked when it is first needed."""

import contextlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeVar

from hasse.data.errors import CorruptFile, DamagedArtifact, HasseError
from hasse.pipeline.disk import disk_errors
from hasse.pipeline.files import file_problem, locked, read_stamps, write_stamps
from hasse.pipeline.remote.objects import Objects
from hasse.pipeline.store import MANIFEST, Artifact

A = TypeVar("A")
B = TypeVar("B")

TRANSFERS = 8
"""The number of transfers at a time, each with one block of its file in memory."""

PICKLED = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")
"""Suffixes of files that run code when they are read. Stages publish none, so such a file comes from somebody else."""


@dataclass(frozen=True)
class RemoteArtifact(Artifact):
    """`path` holds the manifest, and the files that this machine published or fetched."""

    objects: Objects = field(kw_only=True)

    @property
    def store_location(self) -> str:
        return self.objects.uri

    @property
    def location(self) -> str:
        return f"{self.objects.address}/{self.ref}"

    def file(self, name: str) -> Path:
        """Fetch the file, or the files of the folder. Raises CorruptFile; the next run then makes the artifact anew."""
        if self._absent_below(name):
            with disk_errors(self.path), locked(self.path / ".lock"):
                in_parallel(self._fetch, self._absent_below(name))
                write_stamps(self.path, [n for n in self.manifest.files if (self.path / n).exists()])
        return self.path / name

    def problems(self, *, full: bool = False) -> list[str]:
        """The problems of the artifact's objects, found by their sizes or, with `full`, by reading all objects."""
        try:
            lacking = self.lacking()
        except CorruptFile as error:
            return [str(error)]
        rest = [name for name in self.manifest.files if full and name not in lacking]
        differ = [name for name, good in zip(rest, in_parallel(self._is_good, rest), strict=True) if not good]
        return [*lacking.values(), *(f"{name} differs from its digest" for name in differ)]

    def lacking(self) -> dict[str, str]:
        """File -> the problem of its object, which is missing or has another size. Raises CorruptFile."""
        there = self.objects.list(self.ref)
        found = {}
        for name, file in self.manifest.files.items():
            entry = there.get(self._object(name))
            if entry is None:
                found[name] = f"{name} is missing"
            elif entry.num_bytes != file.num_bytes:
                found[name] = f"{name} has {entry.num_bytes} bytes instead of {file.num_bytes}"
        return found

    def absent(self, names: Iterable[str], *, to_read: bool = False) -> list[str]:
        """The files of which this machine has no good copy. to_read: check the copies by reading, once in a process."""
        stamps = {} if to_read else read_stamps(self.path)
        return [n for n in names if file_problem(self.path, n, self.manifest.files[n], trusted=stamps.get(n))]

    def send(self, names: Iterable[str], *, manifest: bool) -> None:
        """Send files of which this machine has good copies and then, if asked, the manifest."""
        in_parallel(lambda name: self.objects.put(self._object(name), self.path / name), list(names))
        if manifest:
            self.objects.put(f"{self.ref}/{MANIFEST}", self.path / MANIFEST)

    def _absent_below(self, name: str) -> list[str]:
        names = [n for n in self.manifest.files if n == name or n.startswith(f"{name}/")]
        return self.absent(names, to_read=True)

    def _is_good(self, name: str) -> bool:
        return self.objects.get(self._object(name), Path(os.devnull)) == self.manifest.files[name].sha256

    def _fetch(self, name: str) -> None:
        """Fetch a file. An object that twice differs from its digest is deleted, so the artifact is incomplete."""
        source, path = self._object(name), self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.part")
        for _ in range(2):
            if self.objects.get(source, temporary) == self.manifest.files[name].sha256:
                temporary.replace(path)
                return
        with contextlib.suppress(HasseError):
            self.objects.delete(source)
        raise DamagedArtifact(
            f"{self.location}: {name} is missing or differs from its digest; run the same command again to make it anew"
        )

    def _object(self, name: str) -> str:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or path.suffix in PICKLED:
            raise CorruptFile(f"{self.location} names a file that no artifact may have: {name!r}")
        return f"{self.ref}/{self.manifest.files[name].sha256}/{name}"


def in_parallel(function: Callable[[A], B], items: list[A]) -> list[B]:
    """Apply the function to all items in threads; returns the results in order."""
    if len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(min(TRANSFERS, len(items))) as pool:
        return list(pool.map(function, items))
