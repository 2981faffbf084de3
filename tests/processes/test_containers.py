"""The image, the compose file and the pods: checked by the tools that are here, and run where an image is.

`make image-test` makes the image without a daemon and names it in AIDEON_TEST_IMAGE.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import time
import urllib.request
import uuid
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from aideon_agents.cli.app import app, main

ROOT = Path(__file__).parents[2]
IMAGE = os.environ.get("AIDEON_TEST_IMAGE")
OVERLAYS = ("development", "staging", "production")


def needs(*tools):
    missing = [one for one in tools if shutil.which(one) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not run: {', '.join(missing)} not installed")


needs_image = pytest.mark.skipif(
    IMAGE is None or shutil.which("podman") is None,
    reason="not run: no image in AIDEON_TEST_IMAGE, or no podman (make image-test)",
)


def ran(*words, code=0, **options):
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT, **options
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def compose():
    return yaml.safe_load((ROOT / "deploy/compose.yaml").read_text(encoding="utf-8"))


def pods():
    text = (ROOT / "deploy/kustomize/base/aideon.yaml").read_text(encoding="utf-8")
    found = [one for one in yaml.safe_load_all(text) if one["kind"] == "Deployment"]
    return {one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in found}


def commands():
    """Every command of ours in the files of the deployment, as words."""
    text = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    yield json.loads(re.search(r"^CMD (\[.*\])$", text, re.MULTILINE)[1])
    for one in compose()["services"].values():
        if one["image"].startswith("${AIDEON") and "command" in one:
            *_, last = one["command"]
            filled = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", last.removeprefix("exec "))
            yield shlex.split(filled) if " " in last else one["command"]
    for pod in pods().values():
        for one in pod["containers"]:
            if one["image"] == "aideon-agents" and "command" in one:
                yield one["command"]


def test_every_command_is_one_of_ours_with_flags_that_it_has():
    found = list(commands())
    assert len(found) == 5
    for program, name, *flags in found:
        assert program == "aideon"
        command = get_command(app).commands[name]
        known = {flag for one in command.params for flag in one.opts}
        assert {flag for flag in flags if flag.startswith("--")} <= known


def test_pods_that_serve_wait_for_a_key_which_the_worker_can_make():
    found = pods()
    for name in ("aideon", "aideon-next"):
        (first,) = found[name]["initContainers"]
        (served,) = found[name]["containers"]
        assert "aideon keys list --json" in first["command"][-1]
        for part in ("image", "envFrom", "securityContext"):
            assert first[part] == served[part]
    assert "initContainers" not in found["aideon-worker"]
    (worker,) = found["aideon-worker"]["containers"]
    assert worker["envFrom"] == served["envFrom"]


def test_the_workflow_of_the_documentation_waits_for_a_person(tmp_path, monkeypatch, capsys):
    shutil.copy(ROOT / "deploy/workflows/letter.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    words = ["run", "letter.py", "--task", "heat pumps", "--rehearse", "--json"]
    assert main(words) == 4
    (asked,) = json.loads(capsys.readouterr().out)["questions"]
    assert asked["node_path"] == "draft/approval"


@needs("hadolint")
def test_hadolint_finds_nothing():
    assert ran("hadolint", "deploy/Dockerfile") == ""


@needs("podman-compose", "podman")
def test_podman_compose_reads_the_compose_file(tmp_path):
    environment = tmp_path / "env"
    environment.write_text("AIDEON_IMAGE=x:1\nPOSTGRES_PASSWORD=y\n", encoding="utf-8")
    words = ("--env-file", str(environment), "-f", "deploy/compose.yaml", "config")
    found = yaml.safe_load(ran("podman-compose", *words))["services"]
    assert found["service"]["image"] == "x:1"
    assert "--workflow brief=brief" in str(found["service"]["command"])


@needs("kubectl", "kubernetes-validate")
@pytest.mark.parametrize("environment", OVERLAYS)
def test_kubernetes_knows_every_field(environment, tmp_path):
    made = tmp_path / "made.yaml"
    made.write_text(
        ran("kubectl", "kustomize", f"deploy/kustomize/overlays/{environment}"), "utf-8"
    )
    ran("kubernetes-validate", "--strict", str(made))


SANDBOX = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL")  # noqa: S108 - in a container


def inside(*words, code=0, more=()):
    return ran("podman", "run", "--rm", *SANDBOX, *more, IMAGE, *words, code=code)


@needs_image
def test_the_image_runs_without_privileges_and_without_a_network():
    done = inside("aideon", "run", "brief", "--task", "pumps", "--rehearse", "--json", more=ALONE)
    assert json.loads(done)["status"] == "completed"
    assert inside("id", "-u", more=ALONE) == "10001\n"
    inside("touch", "/opt/aideon/x", code=1, more=ALONE)
    inside(
        "sh", "-c", "ls /source || ls /uv || command -v uv || command -v gcc", code=127, more=ALONE
    )


ALONE = ("--network", "none")


@needs_image
def test_the_image_serves_after_the_first_key_and_is_healthy():
    name = f"aideon-test-{uuid.uuid4().hex[:8]}"
    kept = ("-v", f"{name}:/data")
    try:
        inside(code=2, more=kept)
        inside("aideon", "users", "add", "ada", "--role", "admin", more=kept)
        key = json.loads(inside("aideon", "keys", "make", "ada", "--json", more=kept))["key"]
        published = (*kept, "-d", "--name", name, "-p", "127.0.0.1::8400")
        ran("podman", "run", *SANDBOX, *published, IMAGE)
        host = ran("podman", "port", name, "8400").strip()
        until = time.monotonic() + 90
        while True:
            with contextlib.suppress(OSError):
                asked = urllib.request.Request(
                    f"http://{host}/api/v1/me", headers={"Authorization": f"Bearer {key}"}
                )
                with urllib.request.urlopen(asked, timeout=10) as answer:
                    assert json.load(answer)["user"] == "ada"
                break
            assert time.monotonic() < until, ran("podman", "logs", name)
            time.sleep(0.5)
        ran("podman", "healthcheck", "run", name)
    finally:
        subprocess.run(["podman", "rm", "-f", name], capture_output=True, check=False)
        subprocess.run(["podman", "volume", "rm", "-f", name], capture_output=True, check=False)
