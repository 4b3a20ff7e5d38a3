"""The command with its store in a bucket: every command on a machine that has seen nothing of it."""

from pathlib import Path

import pytest

from hasse.pipeline.remote.store import open_store
from hasse.stages.models.checkpoints import model_folder
from tests.flows.conftest import TINY, Hasse
from tests.pipeline.bucket import Server

URI = "s3://bucket/some/where"


class Remote(Hasse):
    """`move` is to another machine."""

    def __init__(self, folder, monkeypatch):
        super().__init__(folder)
        self.store, self.monkeypatch = URI, monkeypatch
        self.move("first")

    def move(self, machine: str) -> None:
        self.cache = self.folder / machine
        self.monkeypatch.setenv("HASSE_CACHE", str(self.cache))

    def brought(self) -> set[str]:
        """Endings of the files of artifacts that are on this machine."""
        files = {p for p in self.cache.glob("*/.artifacts/**/*") if p.is_file() and not p.name.startswith(".")}
        return {path.suffix for path in files if path.name not in ("manifest.json", "stamps.json")}


@pytest.fixture(scope="module")
def hasse(tmp_path_factory):
    """One run of a single arm, on a first machine."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        server = Server()
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        server.client.create_bucket(Bucket="bucket")
        command = Remote(tmp_path_factory.mktemp("remote"), monkeypatch)
        command.write({**TINY, "train": {**TINY["train"], "arms": {"sft": {"method": "sft"}}}})
        command.server = server
        command.steps = command.run()
        yield command
        server.server.stop()


def test_another_machine_finds_everything_and_brings_the_report_alone(hasse):
    hasse.move("everything cached")
    steps = hasse.run()
    assert all(step["cached"] for step in steps.values())
    assert {name: step["ref"] for name, step in steps.items()} == {n: s["ref"] for n, s in hasse.steps.items()}
    assert hasse.brought() <= {".html"}
    assert f"{len(steps)} of {len(steps)} steps are cached" in hasse("run", hasse.recipe, "--dry-run")
    page = hasse("run", hasse.recipe).partition("Report: ")[2].strip()
    assert page.startswith(str(hasse.cache))
    assert "<html" in Path(page).read_text()


def test_every_command_shows_the_store(hasse):
    hasse.move("shows")
    refs = {step["ref"] for step in hasse.steps.values()}
    assert {row["ref"] for row in hasse.json("ls")} == refs
    assert hasse.json("ls", "--runs")[0]["status"] == "done"
    assert hasse.json("show", "train/sft/seed-0")["path"] == f"{URI}/{hasse.steps['train/sft/seed-0']['ref']}"
    assert hasse.json("explain", "order")["key"]["stage"] == "order"
    assert hasse.brought() == set()
    assert len(hasse.json("inspect", "generate", "--limit", "4")) == 4
    assert hasse.json("inspect", "judge", "--sql", "select count(*) as n from judgement") == [{"n": 72}]
    assert hasse.brought() == {".parquet"}


def test_a_checkpoint_is_fetched_whole(hasse):
    hasse.move("fetches")
    folder = Path(hasse.output("fetch", "train/sft/seed-0").strip())
    assert (folder / "model" / "model.safetensors").stat().st_size > 10_000
    assert len(list(hasse.cache.rglob("*.safetensors"))) == 1


def test_a_tokenizer_comes_without_the_weights(hasse):
    hasse.move("reads tokens")
    folder = model_folder(open_store(URI).resolve("student"), weights=False)
    assert (folder / "tokenizer.json").exists()
    assert ".safetensors" not in hasse.brought()


def test_a_step_in_a_child_process_brings_what_it_needs(hasse):
    """Its settings differ, so the evaluation is computed on a machine where none of its inputs is."""
    hasse.move("computes")
    steps = hasse.run("--only", "evaluate", "--set", "evaluate.max_tokens=4")
    assert not steps["evaluate/sft/seed-0"]["cached"]
    assert ".safetensors" in hasse.brought()
    hasse.move("sees it")
    assert hasse.run("--only", "evaluate", "--set", "evaluate.max_tokens=4")["evaluate/sft/seed-0"]["cached"]


def test_verify_reads_the_bucket(hasse):
    hasse.move("verifies")
    assert all(row["problems"] == [] for row in hasse.json("verify"))
    (name,) = [name for name in hasse.server.names("bucket") if name.endswith("/partial_order.parquet")]
    content = hasse.server.content("bucket", name)
    changed = content[:60] + bytes([content[60] ^ 1]) + content[61:]
    hasse.server.client.put_object(Bucket="bucket", Key=name, Body=changed)
    assert "partial_order.parquet differs from its digest" in hasse("verify", code=1)
    hasse.server.client.put_object(Bucket="bucket", Key=name, Body=content)


def test_prune_deletes_in_the_bucket(hasse):
    hasse.move("prunes")
    hasse.run("--only", "order", "--set", "order.strategy=hp")
    assert hasse.json("prune") == []
    going = {row["path"]: row["mb"] for row in hasse.json("prune", "--keep-runs", "1")}
    old = hasse.steps["order"]["ref"]
    assert {old, hasse.steps["train/sft/seed-0"]["ref"]} <= set(going)
    assert going[hasse.steps["train/sft/seed-0"]["ref"]] > 0.01
    assert hasse.steps["judge"]["ref"] not in going
    hasse("prune", "--keep-runs", "1", "--yes")
    assert not [name for name in hasse.server.names("bucket") if old in name or "/train/" in name]
    assert hasse.json("prune", "--keep-runs", "1") == []
    assert {row["ref"].partition("/")[0] for row in hasse.json("ls")} == {
        "prompts",
        "student",
        "generate",
        "judge",
        "order",
    }


def test_a_wrong_store_is_an_error_of_the_input(hasse):
    assert "there is no bucket 'elsewhere'" in hasse("ls", "--store", "s3://elsewhere", code=2)
    text = hasse("run", hasse.recipe, env={"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_MAX_ATTEMPTS": "1"}, code=1)
    assert "no answer from http://127.0.0.1:1" in text
    assert "Traceback" not in text
