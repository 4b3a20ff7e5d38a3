"""Read the kind and the name of a plug from its source, without executing it."""

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

from hasse.data.errors import RecipeError
from hasse.data.settings.plugs.kinds import FROM_OUTSIDE

NAME = re.compile(r"[a-z][a-z0-9_]*")


def find_module(name: str) -> Path | None:
    """The file of a module, which is not imported for that, and neither are the packages around it; None: no file."""
    top, *below = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):  # no name of a module, or a module that has no spec
        return None
    if spec is None:
        return None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    path = Path(spec.origin) if spec.origin else None
    for part in below:
        places = [place for folder in folders for place in (folder / f"{part}.py", folder / part / "__init__.py")]
        path = next((place for place in places if place.is_file()), None)
        folders = [folder / part for folder in folders]
    return path if path is not None and path.suffix == ".py" else None


def tag_in(path: Path, *, where: str) -> tuple[str, str]:
    """(tag field, name) that the class `Settings` states. Raises RecipeError where it states none, or several."""
    found = list(_tags(_parsed(path, where)))
    fields = ", ".join(kind.tag for kind in FROM_OUTSIDE)
    if len(found) != 1:
        what = "no field" if not found else f"the fields {', '.join(tag for tag, _ in found)}"
        raise RecipeError(
            f"plug {where}: its class Settings has {what} to say of which kind it is and what it is called; it needs "
            f'exactly one such as `method: Literal["my_name"] = "my_name"`, called {fields}'
        )
    if not NAME.fullmatch(found[0][1]):
        raise RecipeError(f"plug {where}: the name {found[0][1]!r} is not lower-case letters, digits and _")
    return found[0]


def neighbours(path: Path) -> list[str]:
    """The modules beside a file that it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    beside = {place.stem for place in path.parent.glob("*.py")} | {
        place.parent.name for place in path.parent.glob("*/__init__.py")
    }
    return sorted(beside & {name.partition(".")[0] for name in _imported(tree)})


def _parsed(path: Path, where: str) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise RecipeError(f"plug {where} is not a Python file that can be read: {error}") from error


def _imported(tree: ast.Module) -> Iterator[str]:
    """Relative imports by the name behind the dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from [node.module] if node.module else (alias.name for alias in node.names)


def _tags(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Fields of `Settings` with the name of a tag and one possible value."""
    tags = {kind.tag for kind in FROM_OUTSIDE}
    for node in tree.body:
        for part in node.body if isinstance(node, ast.ClassDef) and node.name == "Settings" else ():
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name) and part.target.id in tags:
                value = _only_value(part.annotation)
                if value is not None:
                    yield part.target.id, value


def _only_value(annotation: ast.expr) -> str | None:
    """`x` of `Literal["x"]`."""
    if not isinstance(annotation, ast.Subscript) or not ast.unparse(annotation.value).endswith("Literal"):
        return None
    value = annotation.slice
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None
