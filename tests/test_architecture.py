"""The shape of the house: imports go one way, heavy libraries stay in their place, plugs are named by their files."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from hasse.data.settings import registry

ROOT = Path(__file__).parent.parent
LAYERS = ["data", "pipeline", "stages", "flows"]

ROOMS = """
    data < pipeline
    pipeline < stages.grading stages.statistics stages.scoring stages.chat
    stages.scoring stages.chat < stages.models
    stages.grading stages.models < stages.prompts
    stages.chat stages.prompts < stages.generate
    stages.generate < stages.feedback stages.examples
    stages.statistics stages.feedback < stages.judge
    stages.judge < stages.order
    stages.order stages.examples < stages.train
    stages.train < stages.student stages.pit
    stages.student stages.pit < stages.evaluate
    stages.evaluate < stages.report
    stages.report < flows.recipe
    flows.recipe < flows.plan
    flows.plan < flows.run
    flows.run < flows.nightly flows.library flows.hub
    flows.nightly < flows.server
    flows.server flows.hub < flows.cli
"""
"""`a < b`: b may import a, and whatever a may import."""

MOST_ENTRIES = 20
"""In a folder, without its __init__.py."""

ONLY_IN = {
    "pyarrow": {
        *(
            "data",
            "pipeline",
            "flows/run/artifact_rows.py",
            "flows/run/query.py",
            "flows/run/verify.py",
            "flows/library",
            "flows/hub/cards.py",
        ),
    },
    "prefect": {"flows/server"},
    "torch": {"stages"},
    "transformers": {"stages", "flows/library/models.py"},  # there for types alone
    "peft": {"stages/train/adapter.py", "stages/models/adapter_weights.py"},
    "datasets": {"data/sources/datasets.py", "stages/pit/reinforce.py"},
    "trl": {"stages/pit/reinforce.py"},
    "ray": {"pipeline/executors/ray.py"},
    "openai": {"stages/chat/http/endpoint.py"},
    "rouge_score": {"stages/generate/samplers/diverse.py", "stages/evaluate/benchmarks"},
    "rapidfuzz": {"stages/grading/nearness.py"},
    "math_verify": {"stages/grading/mathematics.py"},
    "sklearn": {"stages/order/strategies/fo_similarity.py", "stages/feedback/queue.py"},
    "sentence_transformers": {"stages/order/strategies/fo_similarity.py"},
    "duckdb": {"flows/run/query.py"},
    "botocore": {"pipeline/remote/conditional.py"},  # pyarrow sends no conditions with a write
    "click": {"flows/cli"},
}

PLUGS = {
    "hasse.data.sources": "kind",
    "hasse.stages.train.methods": "method",
    "hasse.stages.generate.samplers": "sampler",
    "hasse.stages.judge.teachers": "teacher",
    "hasse.stages.order.strategies": "strategy",
    "hasse.stages.feedback.annotators": "annotator",
    "hasse.stages.evaluate.benchmarks": "benchmark",
    "hasse.pipeline.executors": "executor",
}


def sources():
    return [p for layer in LAYERS for p in sorted((ROOT / layer).rglob("*.py"))]


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sources()}


def imports(path):
    """Every module that is imported anywhere in the file, those of the project without the package's name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.removeprefix("hasse.") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            module = node.module.removeprefix("hasse.")
            parts = [f"{module}.{alias.name}" for alias in node.names]
            yield from (part if part in MODULES else module for part in parts)


def room_of(module):
    """data, pipeline, or a folder of stages or flows; modules directly in these two belong to no room."""
    top, *below = module.split(".")
    path = MODULES[module]
    if top in ("data", "pipeline"):
        return top
    is_room = below and (len(path.relative_to(ROOT).parts) > 2)
    return f"{top}.{below[0]}" if is_room else module


def may_import():
    """Room -> the rooms that it may import."""
    below: dict[str, set[str]] = {}
    for line in ROOMS.split("\n"):
        if line.strip():
            lower, upper = (part.split() for part in line.split("<"))
            for room in upper:
                below.setdefault(room, set()).update(lower)
    todo = True
    while todo:
        wider = {room: under.union(*(below.get(name, set()) for name in under)) for room, under in below.items()}
        todo, below = wider != below, wider
    return below


def arrows():
    """(room, room that it imports) -> the modules between which the arrow runs."""
    found: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for module, path in MODULES.items():
        for name in imports(path):
            if name in MODULES and room_of(name) != room_of(module):
                found.setdefault((room_of(module), room_of(name)), set()).add((module, name))
    return found


def test_arrows_between_rooms_only_go_down():
    below, found = may_import(), arrows()
    print(*(f"{upper} -> {lower}" for upper, lower in sorted(found)), sep="\n")
    up = {(a, b): w for (a, b), w in found.items() if b not in below.get(a, set()) and b != "flows.environment"}
    assert up == {}


def test_every_folder_of_stages_and_flows_is_a_room():
    rooms = {f"{top}.{path.name}" for top in ("stages", "flows") for path in (ROOT / top).iterdir() if path.is_dir()}
    without_code = {"flows.recipes"}
    assert {room for room in rooms if not room.endswith("__pycache__")} - without_code == may_import().keys() - {
        "pipeline"
    }


def test_no_modules_import_each_other_in_a_circle():
    graph = {module: {name for name in imports(path) if name in MODULES} for module, path in MODULES.items()}
    while leaves := {module for module, names in graph.items() if not names & graph.keys() - {module}}:
        graph = {module: names for module, names in graph.items() if module not in leaves}
    assert graph == {}


def test_a_folder_can_be_taken_in_at_a_glance():
    folders = {path.parent for path in sources()} | {ROOT / layer for layer in LAYERS}
    many = {str(f.relative_to(ROOT)): n for f in folders if (n := len(entries(f))) > MOST_ENTRIES}
    assert many == {}


def entries(folder):
    return [p for p in folder.iterdir() if p.name not in ("__init__.py", "__pycache__")]


def test_stages_import_no_face_of_a_room():
    """A face loads all of its room, and would put all of it into the keys of whoever imports it."""
    faces = {f"stages.{path.name}" for path in (ROOT / "stages").iterdir() if (path / "stage.py").exists()}
    found = [(m, n) for m, path in MODULES.items() if m.startswith("stages.") for n in imports(path) if n in faces]
    assert found == []


def test_no_two_public_classes_share_a_name():
    """The `Settings` of plugs excepted: their module is their name."""
    where: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and node.name != "Settings":
                where.setdefault(node.name, []).append(module)
    assert {name: modules for name, modules in where.items() if len(modules) > 1} == {}


def imported_names():
    """(file, module of the project, name) of every `from module import name`, in the tests too; no modules."""
    for path in (*sources(), *sorted((ROOT / "tests").rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hasse."):
                module = node.module.removeprefix("hasse.")
                names = [a.name for a in node.names if f"{module}.{a.name}" not in MODULES]
                yield from ((path.relative_to(ROOT).as_posix(), module, name) for name in names)


def defined_names(path):
    """What the module itself binds, outside of functions and classes: not what it imports."""
    todo, names = list(ast.parse(path.read_text()).body), set()
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        else:
            todo += ast.iter_child_nodes(node)
    return names


def test_no_private_name_is_imported():
    assert [found for found in imported_names() if found[2].startswith("_")] == []


def test_a_name_is_imported_from_the_module_that_defines_it():
    """Or from the `__init__.py` of a room, which is its face."""
    defined = {module: defined_names(path) for module, path in MODULES.items() if path.name != "__init__.py"}
    found = [(file, module, name) for file, module, name in imported_names() if module in defined]
    assert [(f, module, name) for f, module, name in found if name not in defined[module]] == []


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_libraries_stay_in_their_place(path):
    place = path.relative_to(ROOT).as_posix()
    for name in imports(path):
        allowed = ONLY_IN.get(name.split(".")[0])
        assert allowed is None or any(place.startswith(a) for a in allowed), f"{place} imports {name}"


@pytest.mark.parametrize("package", PLUGS)
def test_a_plug_is_named_by_its_file(package):
    tag = PLUGS[package]
    for name in registry.names(package):
        settings = importlib.import_module(f"{package}.{name}").Settings
        assert get_args(settings.model_fields[tag].annotation) == (name,)


@pytest.mark.parametrize("package", PLUGS)
def test_every_setting_has_a_description(package):
    for name in registry.names(package):
        settings = importlib.import_module(f"{package}.{name}").Settings
        missing = [
            k for k, f in settings.model_fields.items() if not f.description and k not in (PLUGS[package], "fields")
        ]
        assert missing == [], f"{package}.{name}"


def test_an_unknown_plug_is_answered_with_the_known_ones():
    with pytest.raises(Exception, match="unknown method 'resceu'; did you mean 'rescue'"):
        registry.load("hasse.stages.train.methods", "resceu", kind="method")


def test_docker_and_tests_are_no_packages():
    assert not (ROOT / "docker" / "__init__.py").exists()
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_the_command_line_loads_nothing_heavy():
    code = "import sys, hasse.data, hasse.pipeline, hasse.flows.cli.main; print([m for m in ('torch', 'prefect', 'transformers', 'datasets', 'sklearn') if m in sys.modules])"  # noqa: E501  one line of a program
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert found.stdout.strip() == "[]"


def test_a_dry_run_loads_nothing_heavy(tmp_path):
    code = "import sys; sys.argv = ['hasse', 'run', 'rescue-demo', '--dry-run', '--store', sys.argv[1]]\nfrom hasse.flows.cli.main import main\ntry: main()\nexcept SystemExit: pass\nprint([m for m in ('torch', 'prefect', 'transformers', 'datasets', 'sklearn') if m in sys.modules])"  # noqa: E501  one program
    found = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert found.stdout.strip().splitlines()[-1] == "[]", found.stdout
