"""SQL over the tables of an artifact, by DuckDB, which gets no access to files, network or extensions."""

from typing import Any

import pyarrow.dataset as ds

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
    """The query's rows; each Parquet file of the artifact is a table by its name.

    Raises InputError for a query that DuckDB refuses, and for one that reads or writes anything but these tables.
    """
    import duckdb

    files = {name.removesuffix(".parquet"): name for name in sorted(artifact.manifest.files) if is_table(name)}
    tables = {name: ds.dataset(artifact.file(file), format="parquet") for name, file in files.items()}
    with duckdb.connect() as connection:
        try:
            for name, table in tables.items():
                connection.register(name, table)
            for setting, value in LOCKED.items():
                connection.execute(f"set {setting} = {value!r}")
            found = connection.sql(sql)  # None after a statement without rows
            return [] if found is None else found.to_arrow_table().to_pylist()
        except duckdb.PermissionException as error:
            raise InputError(
                f"--sql: {error} A query reads the artifact's tables and nothing else: {', '.join(tables)}"
            ) from error
        except duckdb.Error as error:
            raise InputError(f"--sql: {error}. Tables: {', '.join(tables)}") from error


def is_table(name: str) -> bool:
    """Whether a file of an artifact is one of its tables."""
    return name.endswith(".parquet") and "/" not in name
