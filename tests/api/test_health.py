"""What the service tells those who run it: metrics, how models do, logs, and traces."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import urllib.request

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from aideon_agents.access import api_keys, users
from aideon_agents.access.audit import By
from aideon_agents.api.app import create_app
from aideon_agents.api.health.requests import log_as
from aideon_agents.testing import Fault, SimulatedProvider

MODEL = "together:openai/gpt-oss-120b"
WAITS = {"Prefer": "wait=60"}
SECRET = "sk-proj-abcdefghijklmnopqrstuvwxyz123456"
BY = By("root")


@pytest.fixture
def provider(folder, monkeypatch):
    """A provider that does not say that it is simulated: its calls count."""
    with SimulatedProvider(announce=False) as started:
        monkeypatch.setenv("TOGETHER_API_KEY", "key")
        monkeypatch.setenv("TOGETHER_BASE_URL", started.base_url)
        yield started


@pytest.fixture
async def calling(provider, make_service, client_of):
    """A client of a service that calls models."""
    service = make_service(rehearse=False)
    await service.open()
    async with client_of(create_app(service)) as client:
        yield client
    await service.drain()


async def start(client, workflow="one", **heads):
    body = {"workflow": workflow, "task": "heat pumps", "model": {"creative": MODEL}}
    return await client.post("/api/v1/runs", json=body, headers=WAITS | heads)


def samples(text):
    """The values by name and labels."""
    return {
        (one.name, *sorted(one.labels.items())): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def key_of(ledger, name, role):
    users.add(ledger, name, BY, role=role)
    scopes = ["admin"] if role == "admin" else None
    _, secret = api_keys.make(ledger, name, BY, scopes=scopes)
    return {"Authorization": f"Bearer {secret}"}


async def test_metrics_count_the_calls_of_the_ledger_and_the_requests(calling, ledger):
    done = (await start(calling)).json()
    answer = await calling.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = samples(answer.text)
    model = ("model", "openai/gpt-oss-120b"), ("provider", "together")
    assert found["aideon_calls_total", *model, ("status", "ok")] == 1
    assert found["aideon_cost_usd_total", *model] == pytest.approx(float(done["cost"]["usd"]))
    assert found["aideon_cost_unknown_total", *model] == 0
    assert found["aideon_call_seconds_count", *model] == 1
    assert found["aideon_runs", ("status", "completed")] == 1
    assert found["aideon_holds_usd",] == 0
    route = ("method", "POST"), ("route", "/api/v1/runs"), ("status", "200")
    assert found["aideon_request_seconds_count", *route] >= 1
    await calling.get(f"/api/v1/runs/{done['run_id']}")
    text = (await calling.get("/metrics")).text
    assert 'route="/api/v1/runs/{run_id}"' in text
    assert done["run_id"] not in text
    assert "ada" not in text


async def test_a_second_process_shows_the_same_figures(calling, make_service, client_of):
    other = create_app(make_service(), since="2026-01-01T00:00:00.000Z")
    await start(calling)
    async with client_of(other) as client:
        found = samples((await client.get("/metrics")).text)
    assert {one[1:] for one in found if one[0] == "aideon_calls_total"} == {
        (("model", "openai/gpt-oss-120b"), ("provider", "together"), ("status", "ok"))
    }


async def test_many_models_become_few_series(calling, ledger):
    from aideon_agents.api.health.metrics import _of_calls
    from aideon_agents.ledger.models.figures import SUMS

    sums = {
        ("together", f"m{nth}", "ok"): dict.fromkeys(SUMS, 0) | {"calls": nth, "nanousd": 10**9}
        for nth in range(300)
    }
    calls, cost, *_ = _of_calls(sums)
    assert len(calls.samples) == len(cost.samples) == 201
    assert sum(one.value for one in calls.samples) == sum(range(300))
    assert sum(one.value for one in cost.samples) == 300
    (rest,) = [one for one in calls.samples if one.labels["model"] == "other"]
    assert rest.value == sum(range(100))


async def test_metrics_are_for_admins(client, ledger):
    heads = {role: key_of(ledger, role, role) for role in ("admin", "member", "viewer")}
    seen = {
        role: (await client.get("/metrics", headers=given)).status_code
        for role, given in heads.items()
    }
    assert seen == {"admin": 200, "member": 403, "viewer": 403}
    assert (await client.get("/metrics")).status_code == 401


@pytest.mark.parametrize("of", ["models", "providers"])
async def test_the_status_of_models_and_providers_is_that_of_the_ledger(
    provider, make_service, client_of, ledger, of
):
    service = make_service(rehearse=False)
    await service.open()
    async with client_of(create_app(service)) as client:
        await start(client)
        heads = {role: key_of(ledger, role, role) for role in ("admin", "member")}
        shown = {
            role: (await client.get(f"/api/v1/status/{of}", headers=given)).json()
            for role, given in heads.items()
        }
        wrong = await client.get(f"/api/v1/status/{of}?hours=0", headers=heads["member"])
    await service.drain()
    assert wrong.status_code == 422
    (one,) = shown["admin"]["items"]
    assert (one["provider"], one["state"], one["calls"]) == ("together", "closed", 1)
    assert one["success_rate"] == 1
    assert ("model" in one) is (of == "models")
    assert "breakers" not in shown["member"]["items"][0]


async def test_only_an_admin_sees_the_words_of_a_models_last_error(
    folder, monkeypatch, make_service, client_of, ledger
):
    with SimulatedProvider(announce=False, faults=Fault(400)) as broken:
        monkeypatch.setenv("TOGETHER_API_KEY", "key")
        monkeypatch.setenv("TOGETHER_BASE_URL", broken.base_url)
        service = make_service(rehearse=False)
        await service.open()
        async with client_of(create_app(service)) as client:
            assert (await start(client)).json()["status"] == "failed"
            heads = {role: key_of(ledger, role, role) for role in ("admin", "member")}
            shown = {
                role: (await client.get("/api/v1/status/models", headers=given)).json()["items"][0]
                for role, given in heads.items()
            }
        await service.drain()
    assert shown["admin"]["last_error"]["message"]
    assert shown["admin"]["failed_calls"] == shown["member"]["failed_calls"] == 1
    assert set(shown["member"]["last_error"]) == {"type", "at"}


@pytest.fixture
def logged(capsys):
    """Writes the log of this process as `aideon serve` does, and reads its lines."""
    root, ours = logging.getLogger(), logging.getLogger("aideon_agents")
    before = root.handlers[:], root.level, ours.level

    def as_(kind):
        log_as(kind)
        return capsys.readouterr

    yield as_
    root.handlers[:], level, own = before
    root.setLevel(level)
    ours.setLevel(own)


async def test_the_log_has_a_line_of_json_for_each_request_with_its_id(client, logged):
    lines = logged("json")
    await client.get(f"/api/v1/runs/{'0' * 26}?token={SECRET}", headers={"X-Request-Id": "mine-1"})
    (line,) = [json.loads(one) for one in lines().err.splitlines()]
    known = ("level", "logger", "request_id", "method", "route", "status", "run_id")
    assert [line[name] for name in known] == [
        "info",
        "aideon_agents.api.requests",
        "mine-1",
        "GET",
        "/api/v1/runs/{run_id}",
        404,
        "0" * 26,
    ]
    assert isinstance(line["ms"], int)


async def test_an_error_in_the_log_has_the_requests_id_and_no_key(service, client_of, logged):
    app = create_app(service)

    @app.get("/broken")
    def broken():
        raise ZeroDivisionError(f"with {SECRET}")

    async with client_of(app) as client:
        for kind in ("json", "text"):
            lines = logged(kind)
            answer = await client.get("/broken", headers={"X-Request-Id": "mine-2"})
            assert (answer.status_code, answer.json()["request_id"]) == (500, "mine-2")
            assert answer.headers["X-Request-Id"] == "mine-2"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            text = lines().err
            assert SECRET not in text
            (begins,) = [one for one in text.splitlines() if "GET /broken failed" in one]
            assert "mine-2" in begins
            assert "ZeroDivisionError" in text
        found = samples((await client.get("/metrics")).text)
    route = ("method", "GET"), ("route", "/broken"), ("status", "500")
    assert found["aideon_request_seconds_count", *route] >= 2


@pytest.fixture
def kept(monkeypatch):
    """The spans of this process."""
    exporter = InMemorySpanExporter()
    tracing = TracerProvider()
    tracing.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", tracing)
    return exporter


async def test_no_span_has_the_word_of_a_sign_in_link(client, kept):
    made = await client.post("/api/v1/sign-in-links", json={"user": "ada"})
    assert (await client.get("/sign-in/no-such-word")).status_code == 404
    assert made.status_code in {201, 404}
    (span,) = kept.get_finished_spans()
    assert span.name == "POST /api/v1/sign-in-links"


async def test_readyz_says_what_is_wrong(client, ledger, monkeypatch):
    assert (await client.get("/readyz")).json() == {"status": "ok"}
    ledger.path.rename(ledger.path.with_suffix(".moved"))
    gone = await client.get("/readyz")
    assert (gone.status_code, gone.json()["code"]) == (503, "ledger_unavailable")
    assert (await client.get("/healthz")).status_code == 200


def ring_of(name):
    return f"{name}:{base64.b64encode(hashlib.sha256(name.encode()).digest()).decode()}"


async def test_readyz_says_that_the_ring_does_not_open_what_is_stored(
    make_service, client_of, monkeypatch
):
    for name, status in (("first", 200), ("other", 503)):
        monkeypatch.setenv("AIDEON_KEY_RING", ring_of(name))
        service = make_service()
        async with client_of(create_app(service)) as client:
            answer = await client.get("/readyz")
        assert answer.status_code == status
    assert answer.json()["code"] == "ring_unusable"
    assert "AIDEON_KEY_RING" in answer.json()["detail"]


async def test_a_run_belongs_to_the_trace_of_the_request_that_started_it(client, service, kept):
    caller = "0af7651916cd43dd8448eb211c80319c"
    done = await start(client, traceparent=f"00-{caller}-b7ad6b7169203331-01")
    assert await service.wait(done.json()["run_id"], 60)
    await service.drain()
    spans = {one.name: one for one in kept.get_finished_spans()}
    request, root = spans["POST /api/v1/runs"], spans["invoke_workflow one"]
    assert root.parent.span_id == request.context.span_id
    assert f"{request.context.trace_id:032x}" == caller
    assert f"{request.parent.span_id:016x}" == "b7ad6b7169203331"
    assert "heat pumps" not in "".join(one.to_json() for one in spans.values())


@pytest.mark.parametrize("key", [SECRET, api_keys._new_secret()], ids=["provider", "ours"])
async def test_a_key_in_any_part_of_a_request_is_in_no_log_and_no_span(
    client, logged, monkeypatch, key
):
    kept, tracing = InMemorySpanExporter(), TracerProvider()
    tracing.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", tracing)
    names = ("X-Request-Id", "Authorization", "x-api-key", "Idempotency-Key", "User-Agent")
    heads = dict.fromkeys(names, key) | {"Cookie": f"a={key}"}
    body = {"workflow": key, "task": key, "metadata": {key: key}, key: key}
    texts = []
    for kind in ("json", "text"):
        lines = logged(kind)
        places = (f"/api/v1/runs/{key}?token={key}", f"/{key}", f"/v1/models/{key}")
        texts += [(await client.get(path, headers=heads)).text for path in places]
        texts += [(await client.post("/api/v1/runs", json=body, headers=heads)).text]
        log = lines().err
        assert len(log.splitlines()) >= 4
        texts.append(log)
    spans = kept.get_finished_spans()
    assert "/api/v1/runs/" in str(spans[0].attributes["url.path"])
    texts += [one.to_json() for one in spans]
    assert [one for one in texts if key in one] == []


def test_a_port_of_its_own_shows_the_requests_of_all_workers(served_by):
    process, client = served_by("--rehearse", "--workers", "2", "--metrics-port", "0")
    try:
        line = process.stderr.readline()
        url = line[line.index("http://") :].strip()
        for _ in range(20):
            assert client.get("/healthz", headers={"Connection": "close"}).status_code == 200
        with urllib.request.urlopen(url, timeout=60) as answer:
            found = samples(answer.read().decode())
    finally:
        process.terminate()  # and not killed, which its workers would outlive
        process.wait(60)
    route = ("method", "GET"), ("route", "/healthz"), ("status", "200")
    assert found["aideon_request_seconds_count", *route] == 20


def test_a_metrics_port_that_is_taken_is_an_error_of_one_line(folder, aideon_serve):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = aideon_serve("--port", "0", "--metrics-port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "choose another --metrics-port" in done.stderr


@pytest.fixture
def aideon_serve(folder):
    """Runs `aideon serve` to its end."""
    import os

    import warm

    def run(*words):
        given = ["-m", "aideon_agents", "serve", "--workflow", "one=one.py", "--rehearse", *words]
        return warm.run(given, cwd=folder, env=os.environ, capture_output=True, text=True)

    return run
