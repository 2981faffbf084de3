"""The files of the deployment, and what `scripts/deploy` decides."""

from __future__ import annotations

import contextlib
import http.server
import importlib.machinery
import importlib.util
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


@pytest.fixture(scope="module")
def deploy():
    loader = importlib.machinery.SourceFileLoader("deploy_script", str(ROOT / "scripts/deploy"))
    spec = importlib.util.spec_from_loader("deploy_script", loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules["deploy_script"] = module
    keep, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    loader.exec_module(module)
    sys.dont_write_bytecode = keep
    return module


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


def test_a_dry_run_prints_the_steps_in_order():
    words = ["--environment", "staging", "--share", "50", "--watch", "7", "--dry-run"]
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/deploy", *words],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    marks = ["build", "test", "migrate", "start", "/readyz", "10 %", "7 s", "50 %", "7 s", "stay"]
    lines = done.stdout.splitlines()[1:]
    assert len(lines) == len(marks)
    assert all(mark in line for mark, line in zip(marks, lines, strict=True))


@pytest.mark.parametrize(
    ("requests", "errors", "slow", "goes_back"),
    [
        (1000, 0, 0, False),
        (1000, 20, 0, False),
        (1000, 21, 0, True),
        (1000, 0, 50, False),
        (1000, 0, 51, True),
        (0, 0, 0, False),
        (5, 1, 5, False),
        (5, 2, 0, True),
    ],
)
def test_too_many_errors_or_slow_requests_go_back(deploy, requests, errors, slow, goes_back):
    name, fine = "aideon_request_seconds", requests - errors
    text = "".join(
        f'{name}_bucket{{le="{le}",method="GET",route="/r",status="200"}} {number}.0\n'
        for le, number in (("1.0", requests - slow), ("2.5", requests), ("+Inf", requests))
    )
    text += f'{name}_count{{method="GET",route="/r",status="200"}} {fine}.0\n'
    text += f'{name}_count{{method="GET",route="/r",status="503"}} {errors}.0\n'
    text += f'{name}_count{{method="GET",route="/readyz",status="503"}} 900.0\n'
    assert bool(deploy.reason_to_go_back(deploy.figures(text))) is goes_back


class _Named(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.server.said
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def answering(word: bytes):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Named)
    server.said = word
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def _asked(port: int, key: int) -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"x-api-key": f"k{key}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode()


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_nginx_sends_a_share_of_the_keys_to_the_new_version_and_keeps_them_there(deploy, tmp_path):
    moved: set[int] = set()
    with answering(b"old") as old, answering(b"new") as new:
        for share in (0, 10, 50, 100):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            conf = tmp_path / f"{share}.conf"
            conf.write_text(deploy.nginx_conf(share, old, new, port=port, scratch=str(tmp_path)))
            with subprocess.Popen([NGINX, "-c", conf, "-g", "daemon off;"]) as proxy:
                try:
                    until = time.monotonic() + 60
                    while time.monotonic() < until:
                        with contextlib.suppress(OSError):
                            _asked(port, 0)
                            break
                    found = {key for key in range(200) if _asked(port, key) == "new"}
                    again = {key for key in range(200) if _asked(port, key) == "new"}
                finally:
                    proxy.terminate()
            assert found == again
            assert moved <= found
            assert abs(len(found) - 2 * share) <= 20
            moved = found
