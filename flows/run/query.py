"""SQL over the tables of an artifact, by DuckDB, which gets no access to files, network or extensions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from hasse.data.errors import InputError
from hasse.pipeline.store import Artifact

LOCKED = {
    "python_enable_replacements": False,  # a name in the query is a table, never a variable of this process
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "temp_directory": "",  # a query that does not fit into memory fails; DuckDB writes no files
    "enable_external_access": False,  # no read_csv, no copy, no attach, no install
    "lock_configuration": True,  # a query cannot set any of this again, so this stands last
}


def query(artifact: Artifact, sql: str) -> list[dict[str, Any]]:
    """The query's rows; each Parquet file of the artifact is a table by its name. Raises InputError as `select`."""
    return select({name: artifact.file(file) for name, file in table_files(artifact).items()}, sql).to_pylist()


def select(
    tables: Mapping[str, Path], sql: str, *, views: Mapping[str, str] = MappingProxyType({}), known: Sequence[str] = ()
) -> pa.Table:
    """The query's rows; without columns for a statement that gives none.

    tables: name -> Parquet file. views: name -> SQL over these tables. known: the names that an error lists.
    Raises InputError for a query that DuckDB refuses, and for one that reads or writes anything but these tables.
    """
    import duckdb
    import pyarrow.dataset as ds

    names = ", ".join(known or tables)
    with duckdb.connect() as connection:
        try:
            for name, file in tables.items():
                connection.register(name, ds.dataset(file, format="parquet"))
            for name, view in views.items():
                connection.execute(f'create view "{name}" as {view}')
            for setting, value in LOCKED.items():
                connection.execute(f"set {setting} = {value!r}")
            found = connection.sql(sql)
            return pa.table({}) if found is None else found.to_arrow_table()
        except duckdb.PermissionException as error:
            raise InputError(
                f"the SQL query is refused: {error}. It may read these tables and nothing else: {names}"
            ) from error
        except duckdb.Error as error:
            raise InputError(f"the SQL query fails: {error}. Tables: {names}") from error


def table_files(artifact: Artifact) -> dict[str, str]:
    """Table -> its file in the artifact."""
    return {name.removesuffix(".parquet"): name for name in sorted(artifact.manifest.files) if is_table(name)}


def is_table(name: str) -> bool:
    """Whether a file of an artifact is one of its tables."""
    return name.endswith(".parquet") and "/" not in name
