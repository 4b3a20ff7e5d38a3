"""A store opened for reading: its runs, newest first, and its artifacts by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hasse.data.errors import InputError
from hasse.flows.library.recorded import RecordedRun
from hasse.flows.run.records import find_run, read_runs
from hasse.flows.run.references import find_artifact
from hasse.pipeline.remote import store as stores
from hasse.pipeline.store import Artifact, Store


@dataclass(frozen=True, repr=False)
class StoreReader:
    """Reads a store and changes nothing in it."""

    store: Store

    def runs(self, recipe: str | None = None) -> list[RecordedRun]:
        """Every run, or those of the recipe of that name, newest first. Runs with a broken record are left out."""
        records = reversed(read_runs(self.store))
        return [RecordedRun(one, self.store) for one in records if recipe in (None, one["recipe"]["name"])]

    def run(self, name: str) -> RecordedRun:
        """The newest run of the recipe of that name, or the run with that id or with an id that begins so.

        Raises InputError when no run or more than one has such an id.
        """
        of_recipe = self.runs(recipe=name)
        return of_recipe[0] if of_recipe else RecordedRun(find_run(self.store, name), self.store)

    def artifact(self, name: str) -> Artifact:
        """The artifact of a step, in the newest run that has such a step; or by reference, `stage/fingerprint`.

        Raises InputError when no artifact or more than one has that name.
        """
        return find_artifact(self.store, name)

    def __repr__(self) -> str:
        return f"StoreReader({self.store.location!r})"


def open_store(location: str | Path) -> StoreReader:
    """The store in a folder, or below a URI such as s3://bucket/prefix.

    Raises InputError when there is no such folder, and StoreError when the URI cannot be read.
    """
    store = stores.open_store(location)
    if "://" not in store.location and not store.root.is_dir():
        raise InputError(f"there is no store in {location}; `hasse.run(..., store={str(location)!r})` makes one")
    return StoreReader(store)
