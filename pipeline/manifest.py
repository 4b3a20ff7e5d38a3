"""What an artifact says of itself: the file `manifest.json`, written last."""

import importlib.metadata
import json
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from data.errors import CorruptFile

PACKAGES = ("hasse", "torch", "transformers", "peft", "accelerate", "trl", "vllm", "pyarrow", "prefect", "scikit-learn")


Labels = Mapping[str, str | int]
"""What a plan says of a step for those who read its results, such as {"arm": "rescue", "seed": 0}; in no key."""


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One file of an artifact. `content` is False for logs, which may differ between equal runs."""

    sha256: str
    num_bytes: int
    content: bool = True


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """`key` holds the parts that were hashed into `fingerprint`; `identity` is what later stages key on:
    the content digest of the files, or a model's weights, tokenizer and template."""

    stage: str
    fingerprint: str
    name: str
    key: dict[str, Any]
    identity: dict[str, str]
    files: dict[str, FileEntry]
    labels: Labels = field(default_factory=dict)
    """Those of the step that made it. Another step with the same key shares the artifact and has labels of its own."""
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """table -> status -> rows"""
    metrics: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, list[str]] = field(default_factory=dict)
    """input name -> references (stage/fingerprint) of the artifacts read"""
    created: str = ""
    """UTC, ISO 8601"""
    seconds: float = 0.0
    """Of this run of the stage: rows found in the store cost nothing."""
    cost_usd: float = 0.0
    git_commit: str | None = None
    packages: dict[str, str] = field(default_factory=dict)
    format: int = 1

    @property
    def open_units(self) -> dict[str, int]:
        """status -> how many input rows have no result yet, so that the next run asks for them again."""
        return self.metrics.get("units_open", {})

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @staticmethod
    def read(path: Path) -> "Manifest":
        """Raises CorruptFile when the file is not a manifest."""
        try:
            values = json.loads(path.read_text())
            values["files"] = {name: FileEntry(**entry) for name, entry in values["files"].items()}
            return Manifest(**values)
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptFile(f"{path} is not a manifest: {error}") from error


@cache
def package_versions() -> dict[str, str]:
    """Installed versions of the packages that can change a result."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def git_commit() -> str | None:
    """The commit of the code that runs, with "-dirty" when it has local changes; None outside a checkout."""
    folder = Path(__file__).parent
    try:
        command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
