"""A simulated provider in the foreground: addresses, a line per request, the bill at Ctrl-C."""

from __future__ import annotations

import json
import signal
import socket
import subprocess

import httpx
import pytest
import warm

from aideon_agents.cli.simulate import _plan

QUESTION = {"model": "m", "messages": [{"role": "user", "content": "Heat pumps move heat."}]}


class Running:
    """`aideon simulate` in a process of its own."""

    def __init__(self, words, folder, environment):
        self._process = warm.Process(
            ["-m", "aideon_agents", "simulate", *words],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.head = [self._announcing.readline().rstrip("\n") for _ in range(12)]
        self.base_url = self.head[0].split()[5].rstrip(",")

    @property
    def _announcing(self):
        return self._process.stdout

    def ask(self):
        headers = {"Authorization": "Bearer simulated"}
        return httpx.post(f"{self.base_url}/chat/completions", json=QUESTION, headers=headers)

    def end(self, how=signal.SIGINT):
        self._process.send_signal(how)
        out, err = self._process.communicate(timeout=20)
        return self._process.returncode, out, err

    def kill(self):
        self._process.kill()
        self._process.communicate()


class JsonRunning(Running):
    """The same with its addresses on stderr."""

    @property
    def _announcing(self):
        return self._process.stderr


@pytest.fixture
def simulate(folder, environment):
    started = []

    def start(*words, kind=Running):
        started.append(kind(words, folder, environment))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.mark.parametrize(
    "how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda how: how.name
)
def test_it_serves_until_it_is_ended_and_then_shows_the_bill(simulate, folder, how):
    running = simulate()
    assert running.head[1:] == [
        f"TOGETHER_BASE_URL={running.base_url}",
        "TOGETHER_API_KEY=simulated",
        f"OPENAI_BASE_URL={running.base_url}",
        "OPENAI_API_KEY=simulated",
        f"HF_BASE_URL={running.base_url}",
        "HF_TOKEN=simulated",
        f"RUNWAYML_BASE_URL={running.base_url.removesuffix('/v1')}",
        "RUNWAYML_API_SECRET=simulated",
        f"STABILITY_BASE_URL={running.base_url.removesuffix('/v1')}",
        "STABILITY_API_KEY=simulated",
        f"AIDEON_LEDGER=sqlite:///{folder / '.aideon/simulated/ledger.db'}",
    ]
    assert running.ask().json()["choices"][0]["message"]["content"] == "Heat pumps move heat."
    assert running.ask().status_code == 200
    code, out, err = running.end(how)
    assert code == 0
    assert [
        line.split() for line in out.splitlines() if line.split()[:1] in (["m"], ["total"])
    ] == [
        ["m", "2", "12", "12"],
        ["total", "2", "12", "12"],
    ]
    seen = [line.split(maxsplit=1)[1] for line in err.splitlines()]
    assert seen == [f"req-00000{nth} POST /v1/chat/completions m ok" for nth in (1, 2)]


def test_what_it_says_to_set_makes_a_run_find_it(simulate, process, monkeypatch):
    running = simulate()
    for line in running.head[1:]:
        monkeypatch.setenv(*line.split("=", maxsplit=1))
    done = process("run", "one.py", "--task", "Heat pumps move heat.", "--json")
    assert (done.code, done.document["status"], done.document["rehearsed"]) == (
        0,
        "completed",
        False,
    )
    document = done.document
    code, out, _ = running.end()
    assert code == 0
    tokens = str(document["cost"]["output_tokens"])
    assert out.split()[-1] == tokens


def test_the_bill_as_json_is_one_document(simulate):
    running = simulate("--json", kind=JsonRunning)
    running.ask()
    code, out, err = running.end()
    assert code == 0
    counts = {"requests": 1, "input_tokens": 6, "output_tokens": 6}
    assert json.loads(out) == {**counts, "models": [{"model": "m", **counts}]}
    assert "req-000001" in err


def test_faults_happen_as_asked_for(simulate):
    running = simulate("--fault", "503", "--port", "0")
    assert [running.ask().status_code for _ in range(2)] == [503, 503]


def test_it_can_speak_as_a_real_server_does(simulate):
    running = simulate("--dialect", "lmstudio", "--fault", "context_length_exceeded")
    assert running.ask().json()["error"].startswith("Trying to keep the first 14538 tokens")


def test_a_dialect_that_is_none_is_one_line(aideon):
    done = aideon("simulate", "--dialect", "olama")
    assert done.code == 2
    told = "--dialect: there is no dialect 'olama'; it is one of together, openai, huggingface,"
    assert done.complaint.startswith(told)


def test_a_port_that_is_taken_is_one_line(aideon):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = aideon("simulate", "--port", str(port))
    assert done.code == 2
    assert (
        done.complaint
        == f"cannot use port {port}: address already in use; choose another with --port"
    )


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("599", "unknown fault '599'; did you mean 529"),
        ("resett", "did you mean reset_"),
        ("xyz", "unknown fault 'xyz': one of 400, 401,"),
        ("500:often", "the rate 'often' must be a number from 0 to 1"),
        ("500:1.5", "the rate '1.5' must be a number from 0 to 1"),
        ("500:nan", "the rate 'nan' must be a number from 0 to 1"),
    ],
)
def test_a_fault_that_is_none_is_one_line(aideon, word, told):
    done = aideon("simulate", "--fault", word)
    assert done.code == 2
    assert told in done.complaint


def kinds(plan, times=400):
    request = type("Request", (), {"model": "m"})()
    return [fault.kind if (fault := plan(request)) else None for _ in range(times)]


def test_chance_is_the_same_for_the_same_seed():
    words = ["500:0.3", "429:0.3"]
    assert kinds(_plan(words, 1, 0)) == kinds(_plan(words, 1, 0))
    assert kinds(_plan(words, 1, 0)) != kinds(_plan(words, 2, 0))


def test_each_fault_has_its_own_rate_and_the_first_wins():
    drawn = kinds(_plan(["500:0.5", "429:0.5"], 0, 0))
    assert 160 < drawn.count(500) < 240
    assert 60 < drawn.count(429) < 140
    assert drawn.count(None) == 400 - drawn.count(500) - drawn.count(429)


def test_latency_delays_what_does_not_go_wrong():
    assert set(kinds(_plan(["500:0.5"], 0, 0.2))) == {500, "delay"}
    slow = _plan(["slow"], 0, 0)(type("Request", (), {"model": "m"})())
    assert slow.seconds == 0.05
