"""SQL over the tables of an artifact, by DuckDB without access to files, network or extensions."""

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
    """Run a query over the artifact's tables and return its rows. Raises InputError as `select` does."""
    return select({name: artifact.file(file) for name, file in table_files(artifact).items()}, sql).to_pylist()


def select(
    tables: Mapping[str, Path], sql: str, *, views: Mapping[str, str] = MappingProxyType({}), known: Sequence[str] = ()
) -> pa.Table:
    """Run a query over Parquet files and return its rows. A statement without rows gives a table without columns.

    Raises InputError for a query that DuckDB refuses, and for a query that reads or writes anything else.

    Args:
        tables: Name -> Parquet file.
        views: Name -> SQL over these tables.
        known: The names that an error message lists.
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
    """Name -> file of every table of an artifact."""
    return {name.removesuffix(".parquet"): name for name in sorted(artifact.manifest.files) if is_table(name)}


def is_table(name: str) -> bool:
    """Whether a file of an artifact is one of its tables."""
    return name.endswith(".parquet") and "/" not in name
