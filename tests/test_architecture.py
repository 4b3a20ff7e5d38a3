"""The shape of the house: imports go one way, heavy libraries stay in their place, plugs are named by their files."""

import ast
import importlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from hasse.data.settings import registry
from tests.test_keys import test_a_key_holds_every_module_that_decides  # noqa: F401  with every change

ROOT = Path(__file__).parent.parent
LAYERS = ["data", "pipeline", "stages", "flows"]

ONLY_IN = {
    "pyarrow": {"data", "pipeline", "flows/run/views.py", "flows/run/query.py", "flows/run/verify.py"},
    "prefect": {"flows"},
    "torch": {"stages"},
    "transformers": {"stages"},
    "peft": {"stages/train/one_run.py", "stages/models/adapters.py"},
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
    "click": {
        "flows/cli/main.py",
        "flows/cli/tools.py",
        "flows/cli/nightly.py",
        "flows/cli/server.py",
        "flows/cli/launch.py",
    },
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


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way_and_libraries_stay_in_their_place(path):
    place = path.relative_to(ROOT)
    above = LAYERS[LAYERS.index(place.parts[0]) + 1 :]
    for name in imports(path):
        top = name.split(".")[0]
        assert top not in above, f"{place} imports {name}"
        allowed = ONLY_IN.get(top)
        assert allowed is None or any(place.as_posix().startswith(a) for a in allowed), f"{place} imports {name}"


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


def test_no_other_distribution_ships_our_package_names():
    """Plain names are convenient and could be taken."""
    for layer in LAYERS:
        found = importlib.metadata.packages_distributions().get(layer, [])
        assert set(found) <= {"hasse"}, f"{layer} is also in {found}"


def test_docker_and_tests_are_no_packages():
    assert not (ROOT / "docker" / "__init__.py").exists()
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_the_command_line_loads_nothing_heavy():
    code = "import sys, data, pipeline, hasse.flows.cli.main; print([m for m in ('torch', 'prefect', 'transformers', 'datasets', 'sklearn') if m in sys.modules])"  # noqa: E501  one line of a program
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert found.stdout.strip() == "[]"


def test_a_dry_run_loads_nothing_heavy(tmp_path):
    code = "import sys; sys.argv = ['hasse', 'run', 'rescue-demo', '--dry-run', '--store', sys.argv[1]]\nfrom hasse.flows.cli.main import main\ntry: main()\nexcept SystemExit: pass\nprint([m for m in ('torch', 'prefect', 'transformers', 'datasets', 'sklearn') if m in sys.modules])"  # noqa: E501  one program
    found = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert found.stdout.strip().splitlines()[-1] == "[]", found.stdout
