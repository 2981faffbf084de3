"""Versions as images: beside one another on one machine, or in a cluster."""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollouts.engine import ROOT, STEPS_OF, Engine, run
from rollouts.nginx import nginx_conf

if TYPE_CHECKING:
    import argparse

SANDBOX = (
    *("--rm", "-i", "--read-only", "--cap-drop", "ALL", "--network", "none"),
    *("--tmpfs", "/tmp"),  # noqa: S108 -- in a container; /data is a volume of its own
)
INSIDE = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=9).read().decode())"


class Images(Engine):
    """What both engines do with an image."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.tool = os.environ.get("AIDEON_CONTAINERS", "docker")
        registry = os.environ.get("AIDEON_REGISTRY", "") if asked.engine == "kubernetes" else ""
        self.name = f"{registry}/aideon-agents".lstrip("/")
        self.image = f"{self.name}:{asked.version}"
        super().__init__(asked)

    def build(self) -> None:
        run(self.tool, "build", "-f", "deploy/Dockerfile", "-t", self.image, ".")

    def test(self) -> None:
        trying = (ROOT / "scripts/rollouts/trying.py").read_text(encoding="utf-8")
        words = ("python3", "-", "aideon", "--workflow", "brief=brief")
        print(run(self.tool, "run", *SANDBOX, self.image, *words, text=trying), end="")

    def steps(self, which: str) -> dict[str, bool]:
        image = self.image if which == "next" else f"{self.name}:{self.state['now']['version']}"
        return json.loads(run(self.tool, "run", *SANDBOX, image, "python3", "-P", "-c", STEPS_OF))

    def named(self, image: str) -> dict[str, str] | None:
        """The version of an image; None: there is no image."""
        return {"version": image.rpartition(":")[2]} if image else None


class Compose(Images):
    """Containers of one machine: `service` answers, `service-next` is the new version.

    The file `env` of the folder has the settings, and `nginx` is mounted into the proxy.
    """

    def __init__(self, asked: argparse.Namespace) -> None:
        super().__init__(asked)
        if not self._setting("POSTGRES_PASSWORD") or not self._setting("AIDEON_NGINX"):
            raise SystemExit(f"deploy: {self.folder}/env is not complete: see docs/deployment.md")
        self.state["now"] = self.named(self._setting("AIDEON_IMAGE"))

    def _setting(self, name: str, new: str | None = None) -> str:
        """Read, or write, a line of the file of settings."""
        file = self.folder / "env"
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        if new is not None:
            rest = re.sub(rf"(?m)^{name}=.*\n?", "", text)
            file.write_text(f"{rest.rstrip()}\n{name}={new}\n", encoding="utf-8")
        found = re.search(rf"(?m)^{name}=(.*)$", text)
        return found[1] if found else ""

    def compose(self, *words: str) -> str:
        project = ("-f", "deploy/compose.yaml", "-p", f"aideon-{self.asked.environment}")
        return run(self.tool, "compose", "--env-file", self.folder / "env", *project, *words)

    def migrate(self) -> None:
        self._setting("AIDEON_NEXT_IMAGE", self.image)
        self.compose("--profile", "next", "run", "--rm", "service-next", "aideon", "doctor")

    def start(self) -> None:
        self.keep(next={"version": self.asked.version})
        self.compose("--profile", "next", "up", "-d", "service-next")

    def _inside(self, service: str, address: str) -> str:
        words = ("exec", "-T", service, "python3", "-c", INSIDE, address)
        return self.compose("--profile", "next", *words)

    def ask(self, path: str) -> str:
        return self._inside("service-next", f"http://127.0.0.1:8400{path}")

    def metrics(self, which: str) -> str:
        service = {"now": "service", "next": "service-next"}[which]
        return self._inside(service, "http://127.0.0.1:9400/metrics")

    def shift(self, share: int) -> None:
        proxy, mark = ("exec", "-T", "proxy"), secrets.token_hex(8)
        new = Path(self._setting("AIDEON_NGINX"), "nginx.conf.new")
        new.write_text(nginx_conf(share, "service:8400", "service-next:8400", mark=mark), "utf-8")
        self.compose(*proxy, "nginx", "-t", "-q", "-c", "/etc/aideon/nginx.conf.new")
        new.replace(new.with_suffix(""))
        self.compose(*proxy, "nginx", "-c", "/etc/aideon/nginx.conf", "-s", "reload")
        until = time.monotonic() + 15
        while self.compose(*proxy, "wget", "-qO-", "http://127.0.0.1:8080/rollout-mark") != mark:
            if time.monotonic() > until:
                raise SystemExit("deploy: nginx has not taken its configuration: see its log")
            time.sleep(0.5)
        self.keep(share=share)

    def finish(self) -> None:
        self._setting("AIDEON_IMAGE", self.image)
        self.compose("up", "-d", "--wait", "service", "worker")
        self.shift(0)  # `service` is now the new version
        self.stop()

    def stop(self) -> None:
        self.compose("--profile", "next", "stop", "service-next")
        self.keep(next=None)


class Kubernetes(Images):
    """Deployments of a cluster. The state is kept there as well: each rollout may have another runner."""

    def kubectl(self, *words: str, text: str | None = None) -> str:
        return run("kubectl", "-n", f"aideon-{self.asked.environment}", *words, text=text)

    def _set_map(self, name: str, data: dict[str, str]) -> None:
        kind = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
        self.kubectl("apply", "-f", "-", text=json.dumps(kind))

    def kept(self) -> dict[str, Any]:
        path = "jsonpath={.spec.template.spec.containers[0].image}"
        image = self.kubectl("get", "deployment", "aideon", "-o", path)
        words = ("get", "configmap", "aideon-rollout", "--ignore-not-found", "-o")
        found = self.kubectl(*words, "jsonpath={.data.state}")
        return json.loads(found or "{}") | {"now": self.named(image)}

    def keep(self, **changed: Any) -> None:
        self.state |= changed
        self._set_map("aideon-rollout", {"state": json.dumps(self.state)})

    def build(self) -> None:
        super().build()
        run(self.tool, "push", self.image)

    def migrate(self) -> None:
        """Nothing to do: the new version migrates the ledger when it opens it."""

    def start(self) -> None:
        self.keep(next={"version": self.asked.version})
        replicas = self.kubectl("get", "deployment", "aideon", "-o", "jsonpath={.spec.replicas}")
        self.kubectl("set", "image", "deployment/aideon-next", f"*={self.image}")
        self.kubectl("scale", "deployment/aideon-next", f"--replicas={replicas}")

    def ready(self) -> None:
        self.kubectl("rollout", "status", "deployment/aideon-next", "--timeout=60s")

    def _raw(self, service: str, path: str) -> str:
        where = f"/api/v1/namespaces/aideon-{self.asked.environment}/services/{service}/proxy"
        return self.kubectl("get", "--raw", where + path)

    def ask(self, path: str) -> str:
        return self._raw("aideon-next:http", path)

    def metrics(self, which: str) -> str:
        # One replica after another answers here: the share of errors and p95 are those of a sample.
        service = {"now": "aideon", "next": "aideon-next"}[which]
        return self._raw(f"{service}:metrics", "/metrics")

    def shift(self, share: int) -> None:
        conf = nginx_conf(share, "aideon:8400", "aideon-next:8400")
        self._set_map("aideon-proxy", {"nginx.conf": conf})
        self.kubectl("rollout", "restart", "deployment/aideon-proxy")
        self.kubectl("rollout", "status", "deployment/aideon-proxy", "--timeout=120s")
        self.keep(share=share)

    def finish(self) -> None:
        for name in ("aideon", "aideon-worker"):
            self.kubectl("set", "image", f"deployment/{name}", f"*={self.image}")
            self.kubectl("rollout", "status", f"deployment/{name}", "--timeout=300s")
        self.shift(0)  # `aideon` is now the new version
        self.stop()

    def stop(self) -> None:
        self.kubectl("scale", "deployment/aideon-next", "--replicas=0")
        self.keep(next=None)
