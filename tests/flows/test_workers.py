"""prefect.yaml: every flow for every kind of work pool, and a worker that runs one."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hasse.flows.server.deployments import FLOWS
from tests.flows.prefect_up import ENDED

ROOT = Path(__file__).parents[2]


def test_every_flow_is_there_for_every_kind_of_pool():
    found = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    names = {flow.name: flow.fn.__name__ for flow in FLOWS}
    assert {(d["name"], d["entrypoint"], d["work_pool"]["name"]) for d in found} == {
        (
            f"{name}-{kind}",
            f"flows/server/{'nightly_flow' if name == 'nightly' else 'flows'}.py:{function}",
            f"hasse-{kind}",
        )
        for name, function in names.items()
        for kind in ("process", "docker", "kubernetes")
    }


@pytest.mark.slow
def test_a_worker_runs_what_was_deployed(up, tmp_path):
    environment = {
        **up.environment,
        "PREFECT_API_URL": f"{up.url}/api",
        "PREFECT_HOME": str(tmp_path),
        "HASSE_IMAGE": "hasse:1",
        "HASSE_STORE": "s3://bucket/hasse",
    }

    def prefect(*arguments: str) -> str:
        command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    prefect("work-pool", "create", "hasse-process", "--type", "process")
    prefect("deploy", "--name", "*-process")
    prefect("work-pool", "create", "hasse-docker", "--type", "docker")
    prefect("deploy", "--name", "hasse-docker")
    deployed = up.deployments()
    assert deployed["hasse-docker"]["job_variables"]["image"] == "hasse:1"
    assert (
        deployed["hasse-process"]["parameter_openapi_schema"]["properties"]["recipe"]["default"]["name"]
        == "rescue-demo"
    )
    run_id = up.start("prune-process", store=str(tmp_path / "store"))
    prefect("worker", "start", "--pool", "hasse-process", "--run-once")
    run = up.until(run_id, *ENDED)
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
