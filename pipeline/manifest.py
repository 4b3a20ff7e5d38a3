"""The file `manifest.json`, which describes an artifact and is written last.

A manifest holds its own digest, and is valid only in its own folder. Manifests of format 1 have no digest; they are
still valid, and only their form, folder and fingerprint are checked.
"""

import importlib.metadata
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from hasse.data.errors import CorruptFile
from hasse.pipeline.fingerprint import digest
from hasse.pipeline.sealed import SEALED_SINCE, read_sealed, seal

PACKAGES = (
    "hasse-llm",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "trl",
    "vllm",
    "pyarrow",
    "prefect",
    "scikit-learn",
)


Labels = Mapping[str, str | int]
"""A plan's labels of a step, such as {"arm": "rescue", "seed": 0}, for readers of its results. They are in no key."""


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One file of an artifact. `content` is False for logs, which may differ between equal runs."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    sha256: str
    num_bytes: int
    content: bool = True


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """`fingerprint` is the hash of `key`. The keys of later steps hold `identity`: the digest of all content, or the
    digests of a model's weights, tokenizer and template."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    stage: str
    fingerprint: str
    name: str
    key: dict[str, Any]
    identity: dict[str, str]
    files: dict[str, FileEntry]
    labels: Labels = field(default_factory=dict)
    """The labels of the step that made the artifact. Other steps with the same key share it under their own labels."""
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """table -> status -> rows"""
    metrics: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, list[str]] = field(default_factory=dict)
    """input name -> references (stage/fingerprint) of the artifacts read"""
    created: str = ""
    """UTC, ISO 8601"""
    seconds: float = 0.0
    """The duration of this run of the stage, in which rows from the store cost no time."""
    cost_usd: float = 0.0
    row_code: str = ""
    """The digest of the code that decides a row. The folder of row chunks has this name."""
    git_commit: str | None = None
    packages: dict[str, str] = field(default_factory=dict)
    format: int = SEALED_SINCE

    @property
    def open_units(self) -> dict[str, int]:
        """Status -> number of input rows that the next run computes again."""
        return self.metrics.get("units_open", {})

    @property
    def num_bytes(self) -> int:
        """The size of all files together."""
        return sum(entry.num_bytes for entry in self.files.values())

    def to_json(self) -> str:
        return seal(asdict(self))

    @staticmethod
    def read(path: Path) -> "Manifest":
        """Read a manifest. Raises CorruptFile for a file that is not the manifest of its folder."""
        values = read_sealed(path, kind="manifest")
        try:
            found = _adapter().validate_python(values)
            found._check(path.parent)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            raise CorruptFile(f"{path} is not a manifest: {field}: {first['msg']}") from error
        except ValueError as error:
            raise CorruptFile(f"{path} is not the manifest of its folder: {error}") from error
        return found

    def _check(self, folder: Path) -> None:
        """Raises ValueError if this is the manifest of another folder, or if a file name leads out of the folder."""
        stands, says = f"{folder.parent.name}/{folder.name}", f"{self.stage}/{self.fingerprint}"
        if stands != says:
            raise ValueError(f"it is that of {says} and stands in {stands}; was a folder moved or renamed?")
        if digest(self.key)[:24] != self.fingerprint:
            raise ValueError("its key does not give its fingerprint; was it edited?")
        for name in self.files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"it names a file that no artifact may have: {name!r}")
        if not isinstance(self.open_units, dict):
            raise ValueError("metrics.units_open is no table of statuses")


@cache
def _adapter() -> TypeAdapter[Manifest]:
    return TypeAdapter(Manifest)


@cache
def package_versions() -> dict[str, str]:
    """The installed versions of the packages that can change a result."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def git_commit() -> str | None:
    """The commit of this code, with "-dirty" if it has local changes; None outside a checkout."""
    folder = Path(__file__).parent
    try:
        command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
