"""A key is never printed and never stored, whatever a provider answers."""

from __future__ import annotations

import itertools
import json

import pytest

from aideon_agents import run
from aideon_agents.settings import load
from aideon_agents.tasks import load as load_target
from aideon_agents.testing import Fault, SimulatedProvider

# None of these has a shape by which it could be told: the variable's value itself is looked for.
KEY = "kw81-plain-looking-and-secret-0042"
QUOTED = f"Incorrect API key provided: {KEY}. Authorization: Bearer {KEY}"
FAULTS = [
    Fault(400, message=QUOTED),
    Fault(401, message=QUOTED),
    Fault(402, message=QUOTED),
    Fault(403, message=QUOTED),
    Fault(404, message=QUOTED),
    Fault(422, message=QUOTED),
    Fault("insufficient_quota", message=QUOTED),
    Fault("content_filter", message=QUOTED),
]
_NUMBERS = itertools.count()


def stored(folder) -> bytes:
    """Every byte of the ledger, its write-ahead log included."""
    return b"".join(file.read_bytes() for file in (folder / ".aideon").iterdir())


@pytest.fixture
def provider(monkeypatch):
    """Starts a provider that always answers with a fault."""
    started = []
    # A port may be used again, and a key that was rejected at an address rests.
    slashes = "/" * next(_NUMBERS)

    def start(fault) -> SimulatedProvider:
        made = SimulatedProvider(faults=fault).start()
        started.append(made)
        monkeypatch.setenv("TOGETHER_API_KEY", KEY)
        monkeypatch.setenv("TOGETHER_BASE_URL", made.base_url + slashes)
        return made

    yield start
    for made in started:
        made.close()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.kind))
@pytest.mark.parametrize("words", [[], ["--json"], ["--debug"]], ids=["", "json", "debug"])
def test_no_key_is_printed_or_stored_when_a_provider_quotes_it(
    aideon, folder, provider, fault, words
):
    answering = provider(fault)
    done = aideon("run", "one.py", "--task", "x", "--model", "creative=together:m", *words)
    assert done.code == 1
    assert answering.requests
    assert KEY not in done.out
    assert KEY not in done.err
    assert KEY.encode() not in stored(folder)
    shown = aideon("runs", "show", "last", "--json").out + aideon("runs", "show", "last").out
    assert KEY not in shown


def test_no_key_is_printed_by_a_process_that_logs(folder, provider, process):
    provider(Fault(401, message=QUOTED))
    done = process("run", "one.py", "--task", "x")
    assert done.code == 1
    assert "TOGETHER_API_KEY" in done.err
    assert KEY not in done.out + done.err
    assert KEY.encode() not in stored(folder)


def test_a_node_that_quotes_a_key_does_not_print_it(aideon, folder, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    source = f"def graph(state):\n    raise RuntimeError('no luck with {KEY}')\n"
    (folder / "quotes.py").write_text(source, encoding="utf-8")
    done = aideon("run", "quotes.py", "--task", "x", "--rehearse", "--json")
    assert done.document["error"] == "graph: RuntimeError: no luck with [key] (quotes.py:2)"
    assert KEY not in done.err
    assert KEY.encode() not in stored(folder)


def test_no_key_is_in_what_objects_show_of_themselves(folder, provider):
    provider(Fault(401, message=QUOTED))
    settings = load()
    result = run(load_target("one.py").graph, "x", settings=settings)
    assert result.status == "failed"
    shown = [settings, settings.model_dump(), result, result.exception, result.results]
    assert KEY not in "".join(map(repr, shown))
    assert KEY not in json.dumps(settings.model_dump(mode="json"))
    assert settings.together_api_key.get_secret_value() == KEY


def test_doctor_does_not_print_a_key(aideon, provider):
    provider(Fault(401, message=QUOTED))
    done = aideon("doctor", "--live")
    assert done.code == 1
    assert KEY not in done.out + done.err
