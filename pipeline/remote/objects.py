"""Objects below a URI such as s3://bucket/prefix. Each object appears as a whole or not at all."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pyarrow import fs

from hasse.data.errors import HasseError, InputError, StoreError
from hasse.data.settings.registry import unknown

BLOCK_BYTES = 16 << 20

S3_ATTEMPTS = 6
"""The number of attempts, with doubling pauses: a missing endpoint is reported after about 15 seconds."""

CONNECT_SECONDS, SILENCE_SECONDS = 5.0, 20.0

S3_PARAMETERS = ["endpoint_override", "region", "scheme"]

BUCKETS = ("s3", "gs", "gcs")

REFUSALS = (
    "ACCESS_DENIED",
    "INVALID_ACCESS_KEY_ID",
    "SIGNATURE_DOES_NOT_MATCH",
    "_TOKEN",
    "ExpiredToken",
    "HTTP status 403",
)


@dataclass(frozen=True)
class Entry:
    """An object's size and time. modified: seconds since 1970 by the clock of the object store; 0 if unknown."""

    num_bytes: int
    modified: int


class Objects:
    """The objects below one URI. Names are relative to it.

    Raises InputError for an unknown scheme, a missing bucket, or missing credentials.
    """

    def __init__(self, uri: str):
        self.uri = uri.rstrip("/")
        parts = urlsplit(self.uri)
        self.endpoint = _endpoint(parts) or {"s3": "Amazon S3"}.get(parts.scheme, parts.scheme)
        self.base = unquote(f"{parts.netloc}{parts.path}").rstrip("/")
        with self._explained():
            if parts.scheme == "s3":
                self.filesystem = _open_s3(parts)
            else:
                self.filesystem, self.base = _open_other(self.uri)
            if parts.scheme in BUCKETS and self.filesystem.get_file_info(self.bucket).type == fs.FileType.NotFound:
                raise self._no_bucket()

    @property
    def bucket(self) -> str:
        return self.base.partition("/")[0]

    @property
    def has_own_endpoint(self) -> bool:
        """Whether the store is on a server other than Amazon's."""
        return self.endpoint != "Amazon S3"

    @property
    def address(self) -> str:
        """The URI without its parameters."""
        return self.uri.partition("?")[0].rstrip("/")

    @property
    def identity(self) -> str:
        """A name that is the same for all URIs of the same objects."""
        return f"{self.endpoint} {self.base}"

    def list(self, folder: str = "") -> dict[str, Entry]:
        """Name -> entry of all objects below the folder."""
        with self._explained():
            try:
                found = self.filesystem.get_file_info(fs.FileSelector(self._path(folder), recursive=True))
            except FileNotFoundError:
                return {}
        files = [info for info in found if info.type == fs.FileType.File]
        return {info.path[len(self.base) + 1 :]: _entry(info) for info in files}

    def entry(self, name: str) -> Entry:
        """The entry of an existing object."""
        with self._explained():
            return _entry(self.filesystem.get_file_info(self._path(name)))

    def read(self, name: str) -> bytes | None:
        """The content of a small object; None if it does not exist."""
        with self._explained():
            try:
                with self.filesystem.open_input_stream(self._path(name)) as stream:
                    return stream.read()
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        with self._explained(), self.filesystem.open_output_stream(self._path(name)) as stream:
            stream.write(content)

    def get(self, name: str, path: Path) -> str | None:
        """Write the object to a file; returns the sha256 of its content, or None if it does not exist."""
        digest = hashlib.sha256()
        with self._explained():
            try:
                stream = self.filesystem.open_input_stream(self._path(name))
            except FileNotFoundError:
                return None
            with stream, path.open("wb") as file:
                while block := stream.read(BLOCK_BYTES):
                    digest.update(block)
                    file.write(block)
        return digest.hexdigest()

    def put(self, name: str, path: Path) -> None:
        """Send a file in one call, since a stream that fails would leave an object with half of the file."""
        with self._explained():
            fs.copy_files(
                str(path),
                self._path(name),
                source_filesystem=fs.LocalFileSystem(),
                destination_filesystem=self.filesystem,
                chunk_size=BLOCK_BYTES,
            )

    def delete(self, name: str) -> None:
        """Delete the object of this name, or all objects below it."""
        path = self._path(name)
        with self._explained(), contextlib.suppress(FileNotFoundError):
            if self.filesystem.get_file_info(path).type == fs.FileType.File:
                self.filesystem.delete_file(path)
            else:
                self.filesystem.delete_dir(path)

    def _path(self, name: str) -> str:
        return f"{self.base}/{name}".rstrip("/")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Explain errors of the object store. Errors of the local disk, which have an errno, pass unchanged."""
        try:
            yield
        except OSError as error:
            if error.errno is not None:
                raise
            raise self.explanation(str(error)) from error

    def explanation(self, error: str) -> HasseError:
        """The error of the object store, with advice that depends on its text."""
        if "NO_SUCH_BUCKET" in error:
            return self._no_bucket()
        if any(word in error for word in REFUSALS):
            return InputError(
                f"{self.endpoint} refuses access to {self.uri}; give credentials that may list, read, write and delete "
                f"there, by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or by AWS_PROFILE ({error})"
            )
        if "NETWORK_CONNECTION" in error:
            return StoreError(
                f"no answer from {self.endpoint}, where {self.uri} should be; check the network, and AWS_ENDPOINT_URL "
                f"for a store that is not Amazon's. Finished work is kept: run the same command again ({error})"
            )
        return StoreError(f"{self.uri} failed; finished work is kept: run the same command again ({error})")

    def _no_bucket(self) -> InputError:
        return InputError(f"there is no bucket {self.bucket!r} at {self.endpoint}; make it, or give another --store")


def _entry(info: fs.FileInfo) -> Entry:
    return Entry(num_bytes=info.size or 0, modified=(info.mtime_ns or 0) // 10**9)


def _endpoint(parts: SplitResult) -> str | None:
    if parts.scheme != "s3":
        return None
    given = dict(parse_qsl(parts.query)).get("endpoint_override")
    return given or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def _open_s3(parts: SplitResult) -> fs.FileSystem:
    """Open S3. Files are sent part by part, since background writes would hold all of a file in memory."""
    if not parts.netloc:
        raise InputError(f"the store {parts.geturl()} names no bucket; write it as s3://bucket/prefix")
    if "@" in parts.netloc:
        raise InputError("a store's URI must not hold credentials; give them by AWS_ACCESS_KEY_ID or AWS_PROFILE")
    parameters = dict(parse_qsl(parts.query))
    for name in parameters:
        if name not in S3_PARAMETERS:
            raise InputError(f"--store: {unknown(name, S3_PARAMETERS, kind='parameter')}")
    endpoint = _endpoint(parts)
    region = parameters.get("region") or (None if endpoint else fs.resolve_s3_region(parts.netloc))
    attempts = os.environ.get("AWS_MAX_ATTEMPTS") or str(S3_ATTEMPTS)
    if not attempts.isdecimal() or int(attempts) < 1:
        raise InputError(f"AWS_MAX_ATTEMPTS is {attempts!r}; it must be a number from 1")
    return fs.S3FileSystem(
        region=region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
        endpoint_override=endpoint,
        scheme=parameters.get("scheme", "https"),
        allow_delayed_open=True,
        background_writes=False,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=SILENCE_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=int(attempts)),
    )


def _open_other(uri: str) -> tuple[fs.FileSystem, str]:
    try:
        return fs.FileSystem.from_uri(uri)
    except (ValueError, NotImplementedError, ImportError, OSError) as error:
        raise InputError(
            f"the store {uri} cannot be opened ({error}); give a folder, or a URI such as s3://bucket/prefix"
        ) from error
