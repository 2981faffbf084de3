"""`scripts/deploy` with processes: under load, with versions that fail, killed, and after a reboot.

Without nginx no rollout is run: only the limits, the steps and the refusals are.
"""

from __future__ import annotations

import asyncio
import collections
import os
import re
import shutil
import signal
import subprocess
import sys
import threading

import deploying
import pytest
from deploying import Containers, Environment, Users, release
from rollouts.figures import figures, reason_to_go_back
from rollouts.nginx import nginx_conf

from aideon_agents.access import api_keys, users
from aideon_agents.access.audit import By
from aideon_agents.ledger.store import Ledger
from aideon_agents.testing import Rate, SimulatedProvider

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/sbin")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed: no rollout is run")
MODEL = "openai/gpt-oss-120b"
WORKFLOW = f"""
from aideon_agents import creative, sequential
asked = dict(model="together:{MODEL}", max_tokens=64)
graph = sequential(creative("draft", **asked), creative("text", **asked))
"""
KEYS = [f"key-{number}" for number in range(60)]


@pytest.fixture
def environment(tmp_path):
    made = Environment(tmp_path)
    yield made
    made.kill()


@pytest.fixture
def deployed(environment):
    """An environment in which the version `old` answers; further versions are made by their mode."""
    release(environment.releases, "old", "fine")
    code, said = environment.deploy("old")
    assert code == 0, said
    return environment


class Asking:
    """Asks with every key again and again, until the end of the block; the answers by version.

    Some keys start runs. Nothing is sent twice.
    """

    def __init__(self, environment):
        self.environment = environment
        self.lost = []
        self.versions = collections.Counter()
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(4)]

    def __enter__(self):
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_):
        self._ending.set()
        for one in self._threads:
            one.join()

    def _ask(self, nth):
        while not self._ending.is_set():
            for key in KEYS[nth::4]:
                try:
                    is_post = key.endswith(("1", "4", "7"))
                    self.versions[self.environment.who(key, is_post=is_post)] += 1
                except OSError as error:
                    self.lost.append(f"{key}: {error!r}")


async def _echo(request):
    await asyncio.sleep(0.2)
    return " ".join(re.findall("task-[0-9]+-[0-9]+", str(request.body)))


@needs_nginx
@pytest.mark.timeout(400)  # it starts seven processes under load
def test_a_rollout_to_everybody_under_load_loses_no_request(environment, tmp_path):
    (tmp_path / "one.py").write_text(WORKFLOW, encoding="utf-8")
    for name in ("a", "b"):
        release(environment.releases, name)
    with SimulatedProvider(answer=_echo, announce=False, rates={MODEL: Rate(150, 600)}) as provider:
        (environment.folder / "env").write_text(
            f"TOGETHER_API_KEY=key\nTOGETHER_BASE_URL={provider.base_url}\n", encoding="utf-8"
        )
        code, said = environment.deploy("a", "--serve", f"--workflow one={tmp_path}/one.py")
        assert code == 0, said
        (first,) = set(environment.processes()) - {"nginx"}
        with Ledger.from_url(f"sqlite:///{environment.folder}/ledger.db") as ledger:
            by = By("root", address="cli")
            users.add(ledger, "ada", by, role="member", tier="premium")
            keys = [api_keys.make(ledger, "ada", by)[1] for _ in range(3)]
            with Users(environment.url, keys) as asking:
                # How fast a loaded machine answers decides nothing here.
                code, said = environment.deploy("b", "--slower", "1000", "--errors", "100")
            assert code == 0, said
            assert asking.lost == []
            assert set(asking.kinds) == {"_wait", "_watch", "_poll"}
            runs = {run.run_id: run.status for run in ledger.runs(limit=100_000)}
            assert sorted(runs) == sorted(asking.completed)
            assert set(runs.values()) == {"completed"}
            (row,) = ledger.select("SELECT COUNT(*) AS n, SUM(cost_nanousd) AS paid FROM calls")
            assert (row["n"], row["paid"]) == (provider.bill.requests, provider.bill.nanousd)
    assert environment.state["now"]["version"] == "b"
    assert first not in environment.processes()


@needs_nginx
@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("errors", r"back to 0 %: \d+ of \d+ requests failed"),
        ("slow", r"back to 0 %: p95 is .* of the old version"),
        ("ends", r"no module named brief\n(.*\n)*.*nothing was shifted"),
        ("unmigrated", r"ended with 1: see above"),
        ("breaking", r"m999_new changes the ledger"),
    ],
)
def test_a_version_that_fails_goes_back_by_itself_and_loses_nothing(deployed, mode, why):
    release(deployed.releases, "new", mode)
    before = deployed.processes()
    with Asking(deployed) as asking:
        code, said = deployed.deploy("new", "--watch", "30")
    assert (code, asking.lost) == (1, [])
    assert re.search(why, said), said
    assert (deployed.state["next"], deployed.state["share"]) == (None, 0)
    assert deployed.processes() == before
    assert {deployed.who(key) for key in KEYS} == {"old"}


@needs_nginx
def test_a_later_call_goes_on_and_another_version_takes_the_place(deployed):
    for name in ("new", "newer"):
        release(deployed.releases, name, "fine")
    code, said = deployed.deploy("new", "--share", "10")
    assert code == 0, said
    assert "too few requests" in said
    moved = {key for key in KEYS if deployed.who(key) == "new"}
    assert 0 < len(moved) < len(KEYS) / 2
    at = deployed.state["next"]["port"]
    code, said = deployed.deploy("new", "--share", "50")
    assert (code, deployed.state["next"]["port"]) == (0, at), said
    assert "build" not in said
    assert moved < {key for key in KEYS if deployed.who(key) == "new"} < set(KEYS)
    code, said = deployed.deploy("newer", "--share", "10")
    assert code == 0, said
    assert "new is taken back" in said
    assert str(at) not in deployed.processes()
    assert {deployed.who(key) for key in KEYS} == {"old", "newer"}
    code, said = deployed.deploy("newer", "--share", "0")
    assert code == 0, said
    assert {deployed.who(key) for key in KEYS} == {"old"}
    assert set(deployed.processes()) == {"nginx", str(deployed.state["now"]["port"])}


@needs_nginx
@pytest.mark.parametrize("moment", ["start", "shift 50 %"])
def test_a_script_that_is_killed_is_run_again(deployed, moment):
    release(deployed.releases, "new", "fine")
    with (
        Asking(deployed) as asking,
        subprocess.Popen(deployed.words("new"), stdout=subprocess.PIPE, text=True) as script,
    ):
        assert any(line.strip() == moment for line in script.stdout)
        script.kill()
        script.wait()
        code, said = deployed.deploy("new", "--watch", "0")
    assert (code, asking.lost) == (0, []), said
    assert {deployed.who(key) for key in KEYS} == {"new"}
    assert set(deployed.processes()) == {"nginx", str(deployed.state["now"]["port"])}


@needs_nginx
def test_after_a_reboot_a_call_starts_what_answered_and_signals_nobody_else(deployed):
    release(deployed.releases, "new", "fine")
    code, said = deployed.deploy("new", "--share", "10")
    assert code == 0, said
    files = [deployed.folder / name for name in deployed.processes()]
    deployed.kill()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        for file in (*files, deployed.folder / "nginx.pid"):
            file.write_text(f"{other.pid}\n", encoding="utf-8")  # the number is another's now
        code, said = deployed.deploy("new", "--up")
        assert other.poll() is None
        other.communicate(b"\n")
        assert other.returncode == 0
    assert code == 0, said
    assert {deployed.who(key) for key in KEYS} == {"old"}
    assert set(deployed.processes()) == {"nginx", str(deployed.state["now"]["port"])}


@needs_nginx
def test_where_nginx_takes_no_configuration_the_script_goes_back_or_says_how(deployed, tmp_path):
    release(deployed.releases, "new", "fine")
    refusals = tmp_path / "refusals"
    wrapper = tmp_path / "bin/nginx"
    wrapper.parent.mkdir()
    wrapper.write_text(
        '#!/bin/sh\nif grep -q "50%" "$4" 2>/dev/null || test -e FILE; then exit 1; fi\n'
        'exec NGINX "$@"\n'.replace("FILE", str(refusals)).replace("NGINX", str(NGINX)),
        encoding="utf-8",
    )
    wrapper.chmod(0o755)
    deployed.variables["PATH"] = f"{wrapper.parent}:{os.environ['PATH']}"
    with Asking(deployed) as asking:
        code, said = deployed.deploy("new")
        assert (code, deployed.state["share"], deployed.state["next"]) == (1, 0, None), said
        assert "back to 0 %" in said
        code, said = deployed.deploy("new", "--share", "10")
        assert code == 0, said
        refusals.touch()
        code, said = deployed.deploy("new")
        assert code == 1
        assert "Both versions still run" in said
        assert deployed.state["share"] == 10
        refusals.unlink()
        code, said = deployed.deploy("new", "--share", "0")
    assert (code, asking.lost) == (0, []), said
    assert {deployed.who(key) for key in KEYS} == {"old"}


@needs_nginx
def test_a_person_or_address_stays_at_one_version(deployed):
    release(deployed.releases, "new", "fine")
    code, said = deployed.deploy("new", "--share", "50")
    assert code == 0, said

    def who(**heads):
        given = deploying.urllib.request.Request(f"{deployed.url}/who", None, heads)
        with deploying.ASK.open(given, timeout=60) as answer:
            return answer.read().decode()

    sessions = [f"secret-{number}" for number in range(40)]
    found = {one: who(Cookie=f"a=b; __Host-aideon={one}; c={n}") for n, one in enumerate(sessions)}
    assert set(found.values()) == {"old", "new"}
    assert found == {one: who(Cookie=f"__Host-aideon={one}") for one in sessions}
    assert len({who(Cookie=f"a={number}") for number in range(20)}) == 1
    by_key = {key: who(**{"x-api-key": key, "Cookie": f"__Host-aideon={key}x"}) for key in KEYS}
    assert by_key == {key: who(Authorization=f"Bearer {key}") for key in KEYS}


@needs_nginx
def test_two_scripts_do_not_work_on_one_environment(deployed):
    release(deployed.releases, "new", "fine")
    words = deployed.words("new", "--watch", "600")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as script:
        assert any("shift 10 %" in line for line in script.stdout)
        code, said = deployed.deploy("new")
        assert deployed.deploy("new", "--up") == (0, "")
        script.send_signal(signal.SIGINT)
        script.communicate()
    assert (code, script.returncode) == (1, 1)
    assert "another scripts/deploy works" in said
    assert deployed.deploy("new", "--up") == (0, "")
    assert deployed.state["next"]["version"] == "new"


@needs_nginx
def test_other_machines_are_not_let_in_before_there_is_a_key(environment):
    release(environment.releases, "old", "open")
    code, said = environment.deploy("old", "--host", "0.0.0.0")  # noqa: S104 - refused
    assert code == 1
    assert "make one with" in said
    assert environment.processes() == {}


def _in_order(said, *marks):
    return re.search(".*".join(map(re.escape, marks)), said, re.DOTALL) is not None


def test_containers_are_rolled_out_by_the_same_steps(tmp_path):
    made = Containers(tmp_path)
    code, said = made.deploy("new", "--share", "50")
    assert code == 0, said
    begins = ("build", "run --rm", "aideon doctor", "up -d service-next", "/readyz", "-s reload")
    assert _in_order(made.commands(), *begins)
    assert "50% new; * old;" in (made.folder / "nginx/nginx.conf").read_text(encoding="utf-8")
    code, said = made.deploy("new")
    assert code == 0, said
    commands = made.commands()
    assert "build" not in commands
    ends = ("-s reload", "up -d --wait service worker", "-s reload", "stop service-next")
    assert _in_order(commands, *ends)
    assert "AIDEON_IMAGE=aideon-agents:new\n" in (made.folder / "env").read_text(encoding="utf-8")
    assert "{ * old; }" in (made.folder / "nginx/nginx.conf").read_text(encoding="utf-8")


def test_containers_that_fail_go_back(tmp_path):
    made = Containers(tmp_path)
    (made.folder / "failing").touch()
    code, said = made.deploy("new", "--watch", "20")
    assert code == 1
    assert "back to 0 %" in said
    assert _in_order(made.commands(), "/metrics", "-s reload", "stop service-next")
    assert "AIDEON_IMAGE=aideon-agents:old\n" in (made.folder / "env").read_text(encoding="utf-8")
    assert "{ * old; }" in (made.folder / "nginx/nginx.conf").read_text(encoding="utf-8")


@pytest.mark.parametrize(("file", "service"), [("nginx", "service"), ("kustomize/base", "aideon")])
def test_the_first_configuration_of_containers_is_that_of_the_script(file, service):
    found = (deploying.ROOT / "deploy" / file / "nginx.conf").read_text(encoding="utf-8")
    assert found == nginx_conf(0, f"{service}:8400")


def test_a_dry_run_prints_the_steps_in_order():
    words = ["--environment", "staging", "--share", "50", "--watch", "7", "--dry-run"]
    done = subprocess.run(
        [sys.executable, deploying.ROOT / "scripts/deploy", *words],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    marks = ["build", "try", "additive", "migrate", "start", "/readyz", "10 %", "7 s"]
    marks += ["50 %", "7 s", "stay"]
    lines = done.stdout.splitlines()[1:]
    assert len(lines) == len(marks)
    assert all(mark in line for mark, line in zip(marks, lines, strict=True))


def _metrics(requests, errors, slow):
    """Prometheus' text of so many requests, of which some fail, and some take over 1 s."""
    name, fine = "aideon_request_seconds", requests - errors
    text = "".join(
        f'{name}_bucket{{le="{le}",method="GET",route="/r",status="200"}} {number}.0\n'
        for le, number in (("1.0", requests - slow), ("5.0", requests), ("+Inf", requests))
    )
    text += f'{name}_count{{method="GET",route="/r",status="200"}} {fine}.0\n'
    text += f'{name}_count{{method="GET",route="/r",status="503"}} {errors}.0\n'
    return figures(text + f'{name}_count{{method="GET",route="/readyz",status="503"}} 900.0\n')


@pytest.mark.parametrize(
    ("old", "new", "goes_back"),
    [
        ((1000, 0, 0), (1000, 20, 0), False),
        ((1000, 0, 0), (1000, 21, 0), True),
        ((1000, 100, 0), (1000, 120, 0), False),  # a provider that fails does so at both
        ((0, 0, 0), (0, 0, 0), False),
        ((0, 0, 0), (5, 1, 5), False),
        ((0, 0, 0), (5, 2, 0), True),
        ((1000, 0, 0), (1000, 0, 60), False),
        ((1000, 0, 0), (1000, 0, 500), True),
        ((1000, 0, 400), (1000, 0, 500), False),
        ((1000, 0, 0), (19, 0, 19), False),
    ],
)
def test_only_a_version_that_is_worse_than_the_old_one_goes_back(old, new, goes_back):
    found = reason_to_go_back(_metrics(*old), _metrics(*new), errors=2, slower=2)
    assert bool(found) is goes_back
