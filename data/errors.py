"""All errors that hasse raises on purpose, as a small tree.

HasseError
├── InputError      the user's input or recipe is wrong; exit code 2, nothing was changed
│   ├── SourceError     a source file is wrong; the message names the file, the row and the field
│   ├── SchemaError     a Parquet file has another schema than the one expected
│   └── RecipeError     a recipe is wrong; the message names the key, and what would be accepted
└── WorkError       the work failed although the input was fine; exit code 1, finished work is kept
    ├── StoreError      the store cannot be written or read
    ├── CorruptFile     a stored file is truncated, missing or differs from its digest
    │   └── DamagedArtifact     a step read a damaged artifact; the run makes it anew
    └── ChildDied       a child process ended without a result
"""

NOT_IN_KEYS = "it only names errors"


class HasseError(Exception):
    """The base of every error that this package raises on purpose. The command line exits with `exit_code`."""

    exit_code = 1


class InputError(HasseError):
    exit_code = 2


class SourceError(InputError):
    """A source cannot be read as asked. The message starts with `file, row N, field 'x'`, as far as these are known."""

    def __init__(self, problem: str, *, file: object = None, row: int | None = None, field: str | None = None):
        place = [str(file)] if file is not None else []
        place += [f"row {row}"] if row is not None else []
        place += [f"field {field!r}"] if field is not None else []
        message = f"{', '.join(place)}: {problem}" if place else problem
        super().__init__(message.encode("utf-8", "backslashreplace").decode("utf-8"))
        self.problem, self.file, self.row, self.field = problem, file, row, field


class SchemaError(InputError):
    pass


class RecipeError(InputError):
    pass


class WorkError(HasseError):
    pass


class StoreError(WorkError):
    pass


class CorruptFile(WorkError):
    pass


class DamagedArtifact(CorruptFile):
    pass


class ChildDied(WorkError):
    pass
