"""The files of the deployment."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def test_the_image_runs_without_privileges_and_names_its_versions():
    lines = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("USER")] == ["USER 10001"]
    assert sum(line.startswith("FROM") for line in lines) == 2
    assert any("/healthz" in line for line in lines)
    assert not any(":latest" in line for line in lines)


def test_the_compose_file_has_a_service_beside_which_the_next_one_starts():
    found = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text(encoding="utf-8"))["services"]
    assert set(found) == {"service", "service-next", "worker", "postgres", "proxy"}
    assert all(found[name]["read_only"] for name in ("service", "service-next", "worker"))
    assert found["service-next"]["profiles"] == ["next"]
    assert not any(one["image"].endswith(":latest") for one in found.values())


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("environment", ["development", "staging", "production"])
def test_an_overlay_has_its_deployments_and_no_root(environment):
    folder = ROOT / "deploy/kustomize/overlays" / environment
    done = subprocess.run(
        ["kubectl", "kustomize", folder], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    parts = list(yaml.safe_load_all(done.stdout))
    pods = {p["metadata"]["name"]: p["spec"] for p in parts if p["kind"] == "Deployment"}
    assert set(pods) == {"aideon", "aideon-next", "aideon-worker", "aideon-proxy"}
    assert all(
        pod["template"]["spec"]["securityContext"]["runAsNonRoot"] is True for pod in pods.values()
    )
    assert pods["aideon-next"]["replicas"] == 0
    assert {p["metadata"].get("namespace") for p in parts} <= {None, f"aideon-{environment}"}


def test_the_workflow_calls_the_script_with_the_environment():
    text = (ROOT / ".github/workflows/deploy.yml").read_text(encoding="utf-8")
    found = yaml.load(text, yaml.BaseLoader)  # noqa: S506 -- makes texts alone; `on` is a key
    asked = found["on"]["workflow_dispatch"]["inputs"]["environment"]
    assert asked["options"] == ["development", "staging", "production"]
    (command,) = (one["run"] for one in found["jobs"]["deploy"]["steps"] if "run" in one)
    assert command.startswith('scripts/deploy --environment "$ENVIRONMENT"')
