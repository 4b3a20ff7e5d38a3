"""The wheel, installed as a user installs it, beside a project whose packages have the names of hasse's folders.

The environment has the libraries of this one and not its editable hasse, so only what builds a wheel is downloaded.
"""

import os
import site
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.flows.conftest import TINY

ROOT = Path(__file__).parent.parent
FOLDERS = ("data", "pipeline", "stages", "flows")
TINIEST = TINY | {
    "source": {**TINY["source"], "num_train": 8, "num_test": 4},
    "train": {**TINY["train"], "steps": 1, "arms": {"sft": {"method": "sft"}}},
    "report": {**TINY["report"], "baselines": ["student"]},
}
SCRIPT = """
import data, flows, pipeline, stages
import hasse

assert data.MINE and stages.MINE
assert "site-packages" in hasse.__file__, hasse.__file__
run = hasse.run("tiny.yaml", store="store")
print(run.status, sum(step.cached for step in run.steps), len(run.steps))
print(run.sql("select count(*) as n from judge").to_pylist()[0]["n"], len(run.results))
"""


def run(*command: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    found = subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def uv(*arguments: str | Path, cwd: Path) -> None:
    run(sys.executable, "-m", "uv", *arguments, cwd=cwd)


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdist")
    uv("build", "--quiet", "--sdist", "--out-dir", folder, ROOT, cwd=folder)
    (archive,) = folder.glob("*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    uv("build", "--quiet", "--wheel", "--out-dir", folder, ROOT, cwd=folder)
    (archive,) = folder.glob("*.whl")
    return archive


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The `bin` of an environment with the wheel and with the libraries of this environment."""
    folder = tmp_path_factory.mktemp("environment")
    uv("venv", "--quiet", "--python", sys.executable, folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    uv("pip", "install", "--quiet", "--no-deps", "--python", python, wheel, cwd=folder)
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    others = next(path for path in site.getsitepackages() if Path(path, "torch").is_dir())
    (packages / "libraries.pth").write_text(
        others
    )  # its own .pth files, such as that of the editable hasse, are not read
    return python.parent


@pytest.fixture
def project(tmp_path):
    """Somebody's project, with a recipe and packages that are called as folders of hasse are."""
    for name in FOLDERS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("MINE = True\n")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINIEST))
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


def tracked(*endings: str) -> set[str]:
    """Files of the four folders, by their names in the wheel."""
    found = run("git", "ls-files", *FOLDERS, cwd=ROOT).splitlines()
    return {f"hasse/{name}" for name in found if name.endswith(endings)}


def test_the_wheel_holds_the_package_with_all_that_it_reads(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"hasse"}
    assert {"hasse/__init__.py", "hasse/py.typed"} <= names
    files = tracked(".py", ".yaml", ".j2", ".html", ".json", ".txt")
    assert "hasse/flows/recipes/rescue-demo.yaml" in files
    assert "hasse/stages/report/page.html" in files
    assert "hasse/flows/cli/skeletons/method.txt" in files
    assert any(name.endswith(".j2") for name in files)
    assert files - names == set()


def test_a_wheel_of_the_source_archive_is_the_same(sdist, wheel, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    assert not [path for path in source.rglob("*") if path.is_symlink()]
    uv("build", "--quiet", "--wheel", "--out-dir", tmp_path / "dist", source, cwd=tmp_path)
    (again,) = (tmp_path / "dist").glob("*.whl")
    contents = [{info.filename: info.CRC for info in zipfile.ZipFile(path).infolist()} for path in (wheel, again)]
    assert {name for name in contents[0] if not name.endswith("RECORD")} == {
        name for name in contents[1] if not name.endswith("RECORD")
    }
    assert all(contents[1][name] == crc for name, crc in contents[0].items() if name.startswith("hasse/"))


def test_what_the_image_copies_makes_the_same_wheel(wheel, tmp_path):
    context = tmp_path / "app"
    for line in (ROOT / "docker" / "Dockerfile").read_text().splitlines():
        command, *names = line.split() or [""]
        for name in names[:-1] if command == "COPY" else []:
            target = context / names[-1] / ("" if (ROOT / name).is_dir() else Path(name).name)
            run("mkdir", "-p", target.parent, cwd=tmp_path)
            run("cp", "--recursive", "--no-dereference", ROOT / name, target, cwd=tmp_path)  # links stay links
    uv("build", "--quiet", "--wheel", "--out-dir", tmp_path / "dist", context, cwd=tmp_path)
    (again,) = (tmp_path / "dist").glob("*.whl")
    assert set(zipfile.ZipFile(again).namelist()) == set(zipfile.ZipFile(wheel).namelist())


def test_the_command_and_the_library_run_a_recipe_beside_packages_of_the_same_names(installed, project):
    said = run(installed / "hasse", "run", "tiny.yaml", cwd=project)
    assert "Report: store/report/" in said
    status, counts = run(installed / "python", "script.py", cwd=project).splitlines()
    assert status == "done 10 10"  # the library finds what the command has made
    assert counts == "24 4"


def test_the_command_lists_what_is_shipped(installed, project):
    assert "rescue-demo" in run(installed / "hasse", "recipes", cwd=project)
    assert "minor_sft" in run(installed / "hasse", "methods", cwd=project)


@pytest.mark.slow
def test_the_types_of_a_script_are_checked_against_the_installed_package(installed, project):
    (project / "typed.py").write_text(TYPED)
    python = installed / "python"
    said = run(sys.executable, "-m", "pyright", "--pythonpath", python, "typed.py", cwd=project)
    assert "0 errors" in said
    (project / "typed.py").write_text(TYPED.replace("run.id.upper()", "run.id.uper()"))
    with pytest.raises(AssertionError, match="uper"):
        run(sys.executable, "-m", "pyright", "--pythonpath", python, "typed.py", cwd=project)


TYPED = """
from pathlib import Path

import hasse

run = hasse.run("rescue-demo", store="store", set={"train.steps": 10})
name: str = run.id.upper()
page: Path = run.report
rows: int = run.table("judge").num_rows
store = hasse.open_store("store")
steps: list[str] = [step.name for step in store.run("rescue-demo").steps]
model, tokenizer = hasse.load_model(run.step("train/rescue/seed-0"))
text = tokenizer.decode(model.generate(**tokenizer("Hello", return_tensors="pt"))[0])
try:
    hasse.load_recipe("rescue-demo", ["train.steps=1"]).train.steps
except hasse.HasseError as error:
    print(error.exit_code)
"""
