"""The server on PostgreSQL, at the address that docker/compose.yaml gives it: a run by its deployment."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml

from tests.flows.prefect_up import ENDED, Up, free_port

ROOT = Path(__file__).parents[2]
PASSWORD = "of-the-test"
URL = "PREFECT_API_DATABASE_CONNECTION_URL"


def programs() -> Path | None:
    """Where PostgreSQL's programs are; Debian has them in a folder for each version."""
    places = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    found = shutil.which("initdb", path=os.pathsep.join([*places, os.environ.get("PATH", "")]))
    return Path(found).resolve().parent if found else None


PROGRAMS = programs()


class Database:
    """PostgreSQL on loopback with the user and database of the compose file; it runs as nobody where this is root."""

    def __init__(self, folder: Path):
        self.folder, self.port = folder, free_port()
        self.who = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid} if os.geteuid() == 0 else {}
        if self.who:
            shutil.chown(folder, **self.who)
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        how = ["--username=prefect", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "--encoding=UTF8"]
        self._do("initdb", f"--pgdata={folder / 'data'}", "--no-sync", *how)
        options = f"-h 127.0.0.1 -p {self.port} -k {folder}"
        self._do("pg_ctl", "start", "--wait", f"-D{folder / 'data'}", f"-l{folder / 'log'}", "-o", options)
        self._do("createdb", *self._client, "prefect")

    @property
    def url(self) -> str:
        """That of the compose file, with its password, on this machine."""
        compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
        url = compose["services"]["server"]["environment"][URL]
        return url.replace("${HASSE_DATABASE_PASSWORD}", PASSWORD).replace("@database/", f"@127.0.0.1:{self.port}/")

    def query(self, sql: str) -> list[list[str]]:
        rows = self._do("psql", *self._client, "--no-align", "--tuples-only", f"--command={sql}", "prefect")
        return [line.split("|") for line in rows.splitlines()]

    def stop(self) -> None:
        self._do("pg_ctl", "stop", "--wait", "--mode=immediate", f"-D{self.folder / 'data'}")

    @property
    def _client(self) -> list[str]:
        return ["--host=127.0.0.1", f"--port={self.port}", "--username=prefect"]

    def _do(self, program: str, *arguments: str) -> str:
        """A file takes what it prints: the server that pg_ctl leaves behind would keep a pipe open."""
        assert PROGRAMS is not None
        with tempfile.TemporaryFile("w+") as printed:
            done = subprocess.run(
                [PROGRAMS / program, *arguments],
                cwd=self.folder,
                env={"LC_ALL": "C", "PGPASSWORD": PASSWORD},
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                extra_groups=[] if self.who else None,
                **self.who,
            )
            printed.seek(0)
            said = printed.read()
        assert done.returncode == 0, f"{program}: {said}"
        return said


@pytest.fixture
def database():
    """In a folder that its user can reach, which pytest's own is not."""
    with tempfile.TemporaryDirectory() as folder:
        started = Database(Path(folder))
        try:
            yield started
        finally:
            started.stop()


@pytest.mark.slow
@pytest.mark.skipif(PROGRAMS is None, reason="PostgreSQL is not installed (Debian: apt-get install postgresql)")
def test_a_run_by_its_deployment_is_kept_in_postgresql_alone(database, tmp_path, hasse):
    up = Up(tmp_path / "up", tmp_path, "--recipe", str(hasse.recipe), **{URL: database.url})
    try:
        run_id = up.wait(deployments=4).start("tiny")
        run = up.until(run_id, *ENDED)
        assert run["state_type"] == "COMPLETED", run["state"]["message"]
        tasks = up.tasks(run_id, 12)
        assert set(tasks.values()) == {"Completed"}
        assert database.query("select id, state_type from flow_run") == [[run_id, "COMPLETED"]]
        assert database.query(f"select count(*) from task_run where flow_run_id = '{run_id}'") == [[str(len(tasks))]]
        names = {name for (name,) in database.query("select name from deployment")}
        assert names == {"tiny", "sweep", "evaluate", "prune"}
        serving = next(pid for pid, line in up.marked().items() if "hasse.flows.cli.main serve" in line)
        assert PASSWORD.encode() not in Path(f"/proc/{serving}/environ").read_bytes(), "runs need no database"
        (logs,), (artifacts,) = (database.query(f"select count(*) > 0 from {table}") for table in ("log", "artifact"))
        assert (logs, artifacts) == (["t"], ["t"])
    finally:
        up.stop()
    assert list((tmp_path / "up").rglob("*.db*")) == []
    assert up.marked() == {}
