"""What can be checked without an engine: the image's file, the compose files, and the job that Kubernetes would get."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"


def run(*command: str) -> subprocess.CompletedProcess:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PATH": path})


def test_the_image_is_built_by_the_rules():
    found = run("hadolint", "docker/Dockerfile")
    assert found.returncode == 0, found.stdout


def test_all_that_the_image_copies_is_there_and_no_secret_is():
    copied = [line.split()[1:-1] for line in (DOCKER / "Dockerfile").read_text().splitlines() if line[:5] == "COPY "]
    assert copied
    for name in (name for names in copied for name in names):
        assert (ROOT / name).exists(), name
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {".git", "docker/.env", "store"} <= set(ignored)


def test_the_compose_file_fits_its_schema(tmp_path):
    found = run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker/compose.yaml")
    assert found.returncode == 0, found.stdout
    broken = tmp_path / "compose.yaml"
    broken.write_text((DOCKER / "compose.yaml").read_text().replace("healthcheck:", "healthchecks:"))
    assert run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(broken)).returncode == 1


def compose() -> dict:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())


def test_nothing_is_open_to_other_machines_and_no_password_stands_in_the_file():
    services = compose()["services"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:4200:4200"]
    for service in services.values():
        for name, value in service.get("environment", {}).items():
            if any(word in name for word in ("PASSWORD", "AUTH", "KEY", "CONNECTION")):
                assert "${" in value, name
    example = (DOCKER / "example.env").read_text().splitlines()
    assert {line.partition("=")[2] for line in example if "=" in line and not line.startswith("#")} == {""}
    asked = set(re.findall(r"\$\{(\w+)", (DOCKER / "compose.yaml").read_text()))
    assert asked == {line.partition("=")[0] for line in example if "=" in line and not line.startswith("#")}


@pytest.mark.parametrize("service", ["server", "deploy", "worker"])
def test_the_commands_of_the_services_exist(service):
    command = compose()["services"][service]["command"]
    for words in [part.split() for part in command[2].split("&&")] if command[0] == "sh" else [command]:
        end = next((i for i, word in enumerate(words) if word.startswith("-") or word == "hasse-process"), len(words))
        found = run(*words[:end], "--help")
        assert found.returncode == 0, found.stderr
        for option in (word for word in words if word.startswith("--")):
            assert option in found.stdout, f"{words}: {option}"


def test_kubernetes_takes_the_job():
    from uuid import uuid4

    from prefect.client.schemas.objects import FlowRun
    from prefect.utilities.templating import apply_values
    from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

    template = json.loads((DOCKER / "kubernetes-job.json").read_text())
    values = {"image": "registry/hasse:1", "gpus": 2, "env": {"HASSE_STORE": "s3://bucket/hasse"}, "name": "a-run"}
    known = {
        name: given["default"] for name, given in template["variables"]["properties"].items() if "default" in given
    }
    filled = apply_values(template["job_configuration"], known | values, remove_notset=True)
    made = KubernetesWorkerJobConfiguration(**filled)
    made.command = "prefect flow-run execute"
    made.prepare_for_flow_run(FlowRun(flow_id=uuid4(), name="a-run"))
    job = made.job_manifest
    kubernetes_validate.validate(job, "1.31", strict=True)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry/hasse:1"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert {"name": "HASSE_STORE", "value": "s3://bucket/hasse"} in container["env"]
    assert container["args"] == ["prefect", "flow-run", "execute"]
    assert job["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
