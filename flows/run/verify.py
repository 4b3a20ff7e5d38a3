"""Check every file of a store: against its digest, or by its form if it has no digest."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hasse.data.errors import CorruptFile, InputError
from hasse.flows.run.history import FOLDER, read_histories
from hasse.flows.run.records import RUNS, read_record, record_files
from hasse.flows.run.replies import file_of
from hasse.pipeline.files import is_held
from hasse.pipeline.row_chunks import chunk_problem
from hasse.pipeline.sealed import read_json
from hasse.pipeline.store import WORK, Artifact, Store
from hasse.stages.chat.cache.file import num_damaged

Row = dict[str, Any]


def verify(store: Store) -> list[Row]:
    """One row for each artifact, folder of row chunks and work folder; one for the runs, the nights, the replies."""
    found = store.artifacts()
    refs = {artifact.ref for artifact in found}
    artifacts = [_row(a.ref, _num_files(a), [*a.problems(full=True), *_missing_base(a, refs)]) for a in found]
    return [
        *artifacts,
        *map(_chunks(store), store.rows()),
        *_work(store),
        *_runs(store),
        *_nights(store),
        *_replies(store),
    ]


def _row(ref: str, num_files: int, problems: list[str]) -> Row:
    return {"ref": ref, "files": num_files, "problems": problems}


def _num_files(artifact: Artifact) -> int:
    try:
        return len(artifact.manifest.files)
    except CorruptFile:
        return 0


def _missing_base(artifact: Artifact, refs: set[str]) -> list[str]:
    """The problem of an adapter whose base is neither in the store nor a folder on this machine."""
    try:
        base = artifact.manifest.metrics.get("adapter_on")
    except CorruptFile:
        return []
    return (
        [] if base is None or base in refs or Path(base).is_dir() else [f"it is an adapter on {base}, which is missing"]
    )


def _chunks(store: Store) -> Callable[[str], Row]:
    def of(name: str) -> Row:
        store.gather(store.root / name, "*.parquet")
        paths = sorted((store.root / name).glob("*.parquet"))
        said = [f"{path.name}: {problem}" for path in paths if (problem := chunk_problem(path, again=True))]
        return _row(name, len(paths), said)

    return of


def _work(store: Store) -> Iterator[Row]:
    """Work folders that no process uses now. A run that continues from such a folder checks what it takes."""
    for name in store.abandoned():
        stage, _, folder = name.partition("/")
        if folder.startswith(WORK) and not is_held(store.root / ".locks" / f"{stage}-{folder.removeprefix(WORK)}"):
            paths = sorted(path for path in (store.root / name).rglob("*") if not path.is_dir())
            yield _row(name, len(paths), [f"{path.name}: {said}" for path in paths if (said := _form_problem(path))])


def _form_problem(path: Path) -> str | None:
    """Describe a fault in the form of a file that has no digest yet, or give None."""
    try:
        if path.suffix == ".json":
            read_json(path, kind="JSON file")
        elif path.suffix == ".parquet":
            pq.ParquetFile(path, page_checksum_verification=True).read()
        else:
            path.read_bytes()
    except CorruptFile as error:
        return str(error)
    except (pa.ArrowInvalid, OSError) as error:
        return f"cannot be read: {error}"
    return None


def _runs(store: Store) -> Iterator[Row]:
    files = record_files(store)
    if files:
        yield _row(RUNS, len(files), [said for path in files if (said := _record_problem(Path(path)))])


def _record_problem(path: Path) -> str | None:
    try:
        read_record(path)
    except CorruptFile as error:
        return str(error)
    return None


def _nights(store: Store) -> Iterator[Row]:
    found, problems = read_histories(store)
    if found or problems:
        yield _row(FOLDER, len(found) + len(problems), problems)


def _replies(store: Store) -> Iterator[Row]:
    path = file_of(store)
    if path.exists():
        try:
            found = num_damaged(path)
            problems = [f"{path.name}: {found} replies are damaged; they are asked for again"] if found else []
        except InputError as error:
            problems = [str(error)]
        yield _row(path.parent.name, 1, problems)
