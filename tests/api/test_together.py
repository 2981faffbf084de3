"""The nine endpoints of the founding documents: their keys, their models, their errors, their flags."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
import time
import uuid
import zlib
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from aideon_agents.access import api_keys, flags, quotas, signing, users
from aideon_agents.access.audit import By
from aideon_agents.api.app import create_app
from aideon_agents.media.rehearsal import wav
from aideon_agents.media.sniffing import sniffed
from aideon_agents.testing import Fault, SimulatedProvider

BASE = "/api/v1/together"
BY = By("root")
INDICATOR = {"provider_id", "display_name", "is_free_tier", "is_fallback"}
SOURCE = {"model_id", "provider", "model_source_indicator"}
ANSWERS = {
    "/text/completions": ({"prompt": "heat pumps"}, {"text", "usage", *SOURCE}),
    "/chat/completions": (
        {"messages": [{"role": "user", "content": "heat pumps"}]},
        {"message", "usage", *SOURCE},
    ),
    "/code/completions": ({"prompt": "def f():"}, {"text", "usage", *SOURCE}),
    "/images/analysis": ({"prompt": "What is it?", "image_url": ""}, {"text", *SOURCE}),
}
MADE = {
    "/images/generations": ({"prompt": "a sunset", "width": 64, "height": 32}, {"url", *SOURCE}),
    "/audio/transcriptions": ({"audio_url": ""}, {"text", *SOURCE}),
    "/audio/speech": ({"text": "Welcome", "voice": "default"}, {"audio_url", *SOURCE}),
}
MADE["/audio/transcriptions"][0]["audio_url"] = (
    f"data:audio/wav;base64,{base64.b64encode(wav(90)).decode()}"
)


def picture():
    """A PNG of one pixel, as a data URI."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0\0\0\0")) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode()


ANSWERS["/images/analysis"][0]["image_url"] = picture()


@pytest.fixture
def caller(ledger, service, client_of):
    """Makes a user with a key of the service, and gives a client with it."""

    def make(name, tier="free", scopes=("models", "usage"), role="member", served=None):
        if not ledger.select("SELECT 1 FROM users WHERE user_id = :name", {"name": name}):
            users.add(ledger, name, BY, role=role, tier=tier)
        _, secret = api_keys.make(ledger, name, BY, scopes=scopes)
        return client_of(create_app(served or service), authorization=f"Bearer {secret}")

    return make


@pytest.fixture
def simulated(folder, monkeypatch, make_service):
    """Makes a service whose models a simulated provider answers for; gives both."""
    providers = []

    def make(**options):
        provider = SimulatedProvider(**options).start()
        providers.append(provider)
        monkeypatch.setenv("TOGETHER_API_KEY", f"sk-{uuid.uuid4().hex}")  # breakers keep keys
        monkeypatch.setenv("TOGETHER_BASE_URL", provider.base_url)
        return make_service(rehearse=False), provider

    yield make
    for one in providers:
        one.close()


def frames(text):
    """The data of each server-sent event."""
    return [one.removeprefix("data: ") for one in text.split("\n\n") if one]


@pytest.mark.parametrize("path", ANSWERS)
async def test_an_answer_has_the_keys_of_the_documents_and_no_others(client, ledger, path):
    body, keys = ANSWERS[path]
    answered = await client.post(BASE + path, json=body)
    assert answered.status_code == 200, answered.text
    found = answered.json()
    assert found.keys() == keys
    assert found["model_source_indicator"].keys() == INDICATOR
    run = ledger.find_run(answered.headers["x-aideon-run"])
    assert (run.status, run.user, run.rehearsed) == ("completed", "ada", True)
    assert answered.headers["x-aideon-cost-complete"] == "true"
    if "usage" in keys:
        used = found["usage"]
        assert used["total_tokens"] == used["prompt_tokens"] + used["completion_tokens"] > 0


@pytest.mark.parametrize(
    ("tier", "path", "model"),
    [
        ("free", "/text/completions", "meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo"),
        ("premium", "/chat/completions", "meta-llama/Meta-Llama-3.1-70B-Instruct-Turbo"),
        ("enterprise", "/text/completions", "meta-llama/Meta-Llama-3.1-405B-Instruct-Turbo"),
        ("free", "/code/completions", "Nexusflow/NexusRaven-V2-13B"),
        ("premium", "/code/completions", "deepseek-ai/deepseek-coder-33b-instruct"),
        ("free", "/images/analysis", "Qwen/Qwen-VL-Chat"),
        ("premium", "/images/analysis", "deepseek-ai/deepseek-vl-7b-chat"),
        ("enterprise", "/code/completions", "deepseek-ai/deepseek-coder-33b-instruct"),
        ("enterprise", "/images/analysis", "deepseek-ai/deepseek-vl-7b-chat"),
    ],
)
async def test_the_profile_seed_asks_the_models_of_the_documents(
    *, monkeypatch, make_service, caller, tier, path, model
):
    monkeypatch.setenv("AIDEON_PROFILE", "seed")
    asking = caller("bob", tier, served=make_service())
    found = (await asking.post(BASE + path, json=ANSWERS[path][0])).json()
    assert (found["model_id"], found["provider"]) == (model, "together_ai")
    assert found["model_source_indicator"] == {
        "provider_id": "together_ai",
        "display_name": "Together AI",
        "is_free_tier": tier == "free",
        "is_fallback": False,
    }


async def test_a_critical_purpose_asks_the_largest_model_of_the_documents(
    monkeypatch, make_service, caller
):
    monkeypatch.setenv("AIDEON_PROFILE", "seed")
    asking = caller("bob", "premium", served=make_service())
    body = {"prompt": "heat pumps", "purpose": "critical"}
    found = (await asking.post(f"{BASE}/text/completions", json=body)).json()
    assert found["model_id"] == "meta-llama/Meta-Llama-3.1-405B-Instruct-Turbo"


@pytest.mark.parametrize(
    ("path", "failing", "model"),
    [
        (
            "/text/completions",
            "meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo",
            "mistralai/Mixtral-8x7B-Instruct-v0.1",
        ),
        (
            "/code/completions",
            "Nexusflow/NexusRaven-V2-13B",
            "codellama/CodeLlama-13b-Instruct-hf",
        ),
    ],
)
async def test_the_fallback_of_the_tier_free_is_that_of_the_documents(
    *, monkeypatch, simulated, caller, path, failing, model
):
    monkeypatch.setenv("AIDEON_PROFILE", "seed")
    service, _ = simulated(faults={failing: Fault(500)})
    found = (await caller("bob", served=service).post(BASE + path, json=ANSWERS[path][0])).json()
    assert found["model_id"] == model
    assert found["model_source_indicator"]["is_fallback"] is True
    assert found["model_source_indicator"]["is_free_tier"] is True


async def test_a_chat_is_streamed_as_texts_and_ends_with_the_whole_message(client):
    body = {**ANSWERS["/chat/completions"][0], "stream": True}
    streamed = await client.post(f"{BASE}/chat/completions", json=body)
    *pieces, document, done = frames(streamed.text)
    assert done == "[DONE]"
    whole = json.loads(document)
    assert whole.keys() == ANSWERS["/chat/completions"][1]
    assert whole["message"].keys() == {"role", "content"}
    texts = [json.loads(one) for one in pieces]
    assert {key for one in texts for key in one} == {"text"}
    assert "".join(one["text"] for one in texts) == whole["message"]["content"]


async def test_the_quota_has_the_units_of_the_documents_and_no_limit_where_there_is_none(caller):
    free = (await caller("bob").get(f"{BASE}/quota")).json()
    none = {"requests_used": 0}
    tokens = none | {"tokens_used": 0}
    minutes = none | {"minutes_used": 0}
    assert free == {
        "text_generation": tokens | {"requests_limit": 50, "tokens_limit": 10_000},
        "code_generation": tokens | {"requests_limit": 30, "tokens_limit": 15_000},
        "image_generation": none | {"requests_limit": 10},
        "vision_analysis": none | {"requests_limit": 20},
        "audio_tts": minutes | {"requests_limit": 10, "minutes_limit": 5},
        "audio_stt": minutes | {"requests_limit": 10, "minutes_limit": 10},
    }
    for tier in ("premium", "enterprise"):
        found = (await caller(tier, tier).get(f"{BASE}/quota")).json()
        assert found == {
            "text_generation": tokens,
            "code_generation": tokens,
            "image_generation": none,
            "vision_analysis": none,
            "audio_tts": minutes,
            "audio_stt": minutes,
        }


async def test_a_path_that_is_none_and_a_failure_inside_have_the_codes_of_the_documents(
    caller, ledger
):
    asking = caller("bob", "premium")
    for method, path in (("GET", "nothing"), ("POST", "text/nothing"), ("GET", "models/nothing")):
        missing = await asking.request(method, f"{BASE}/{path}")
        assert (missing.status_code, missing.json()["code"]) == (404, "not_found"), path
    flags.change(ledger, "together_ai_integration", BY, is_on=True, share=10)
    ledger.database.write("UPDATE flags SET share = 'sk-damaged'", {})
    broken = await asking.post(f"{BASE}/text/completions", json={"prompt": "heat pumps"})
    assert (broken.status_code, broken.json()["code"]) == (500, "internal")
    assert broken.headers["content-type"] == "application/problem+json"
    assert "sk-damaged" not in broken.text


async def test_a_stream_ends_with_the_whole_document(client):
    streamed = await client.post(
        f"{BASE}/text/completions", json={"prompt": "heat pumps", "stream": True}
    )
    assert streamed.headers["content-type"].startswith("text/event-stream")
    *pieces, document, done = frames(streamed.text)
    assert done == "[DONE]"
    whole = json.loads(document)
    assert whole.keys() == ANSWERS["/text/completions"][1]
    assert "".join(json.loads(one)["text"] for one in pieces) == whole["text"]


async def test_a_fallback_is_named_and_is_off_with_its_flag(simulated, client_of, ledger):
    service, provider = simulated(faults={"openai/gpt-oss-120b": Fault(500)})
    async with client_of(create_app(service)) as asking:
        body = {"prompt": "heat pumps"}
        found = (await asking.post(f"{BASE}/text/completions", json=body)).json()
        assert found["model_id"] != "openai/gpt-oss-120b"
        assert found["model_source_indicator"]["is_fallback"] is True
        flags.change(ledger, "together_ai_fallback", BY, is_on=False)
        failed = await asking.post(f"{BASE}/text/completions", json=body)
        assert (failed.status_code, failed.json()["code"]) == (502, "run_failed")
        assert {one.model for one in provider.requests[-1:]} == {"openai/gpt-oss-120b"}


async def test_an_error_before_the_first_token_of_a_stream_has_its_status(simulated, client_of):
    service, _ = simulated(faults=Fault(401))
    async with client_of(create_app(service)) as asking:
        body = {"prompt": "heat pumps", "stream": True}
        failed = await asking.post(f"{BASE}/text/completions", json=body)
    assert failed.status_code == 502
    assert failed.headers["content-type"] == "application/problem+json"
    assert os.environ["TOGETHER_API_KEY"] not in failed.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/text/completions", {}),
        ("/text/completions", {"prompt": 5}),
        ("/text/completions", {"prompt": "a", "max_tokens": "5"}),
        ("/text/completions", {"prompt": "a", "max_tokens": 0}),
        ("/text/completions", {"prompt": "a", "temperature": 3}),
        ("/text/completions", {"prompt": "a", "stream": "yes"}),
        ("/text/completions", {"prompt": "a", "user": "root"}),
        ("/chat/completions", {"messages": []}),
        ("/chat/completions", {"messages": [{"role": "tool", "content": "a"}]}),
        ("/images/generations", {"prompt": "a", "width": 0}),
        ("/images/analysis", {"prompt": "a", "image_url": "data:image/png;base64,AAAA"}),
        ("/images/analysis", {"prompt": "a", "image_url": "data:text/plain,hello"}),
        ("/images/analysis", {"prompt": "a", "image_url": "file:///etc/passwd"}),
        ("/images/analysis", {"prompt": "a", "image_url": "https://169.254.169.254/latest"}),
    ],
)
async def test_what_is_invalid_is_a_bad_request(client, ledger, path, body):
    refused = await client.post(BASE + path, json=body)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid")
    assert refused.headers["content-type"] == "application/problem+json"
    assert not ledger.runs()


@pytest.mark.parametrize("path", MADE)
async def test_what_is_made_has_exactly_the_keys_of_the_documents(client, ledger, path):
    body, keys = MADE[path]
    answered = await client.post(BASE + path, json=body)
    assert (answered.status_code, set(answered.json())) == (200, keys), answered.text
    assert set(answered.json()["model_source_indicator"]) == INDICATOR
    (run,) = ledger.runs()
    assert answered.headers["X-Aideon-Run"] == run.run_id
    (call,) = ledger.calls(run.run_id)
    assert call.modality in {"image", "tts", "stt"}


def parts_of(url):
    """The path of an address, and the values of its query."""
    parts = urlsplit(url)
    assert parts.scheme == "http"
    return parts.path, dict(parse_qsl(parts.query))


@pytest.mark.parametrize("path", ["/images/generations", "/audio/speech"])
async def test_a_signed_address_gives_the_file_without_a_key_for_an_hour(
    caller, service, client_of, path, monkeypatch
):
    body, keys = MADE[path]
    answered = await caller("ann").post(BASE + path, json=body)
    (key,) = keys - set(SOURCE)
    place, query = parts_of(answered.json()[key])
    unknown = client_of(create_app(service))
    given = await unknown.get(place, params=query)
    assert given.status_code == 200
    assert given.headers["content-type"] == sniffed(given.content).mime
    assert "sandbox" in given.headers["content-security-policy"]
    later = {**query, "expires": str(int(query["expires"]) + 1)}
    for wrong in (later, {**query, "signature": "0" * 64}, {}):
        assert (await unknown.get(place, params=wrong)).status_code == 401
    now = time.time()
    monkeypatch.setattr(signing.time, "time", lambda: now + 3601)
    assert (await unknown.get(place, params=query)).status_code == 401


async def test_a_file_is_given_to_the_user_of_its_run_alone(caller):
    ann, bob = (caller(name, scopes=("models", "runs")) for name in ("ann", "bob"))
    made = await ann.post(f"{BASE}/audio/speech", json={"text": "hi"})
    place, _ = parts_of(made.json()["audio_url"])
    assert (await ann.get(place)).status_code == 200
    assert (await bob.get(place)).status_code == 404
    assert (await ann.get("/api/v1/artifacts/" + "0" * 64)).status_code == 404


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/a.mp3",
        "https://127.0.0.1/a.mp3",
        "https://169.254.169.254/latest",
        "data:audio/wav;base64,!!",
        "data:audio/wav,abc",
        picture(),
        "nothing",
    ],
)
async def test_a_recording_that_cannot_be_read_is_a_bad_request(client, ledger, url):
    refused = await client.post(f"{BASE}/audio/transcriptions", json={"audio_url": url})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid")
    assert not ledger.runs()


async def test_a_whole_number_may_be_written_with_a_point(client):
    body = b'{"prompt": "heat pumps", "max_tokens": 256.0}'
    heads = {"Content-Type": "application/json"}
    answered = await client.post(f"{BASE}/text/completions", content=body, headers=heads)
    assert answered.status_code == 200


async def test_the_models_are_those_of_the_tier(caller):
    free, premium = caller("bob"), caller("eve", "premium")
    of_free = (await free.get(f"{BASE}/models")).json()
    assert (of_free["user_tier"], of_free["free_tier_enabled"]) == ("free", True)
    assert {one["indicator"]["is_free_tier"] for one in of_free["models"]} == {True}
    of_premium = (await premium.get(f"{BASE}/models", params={"modality": "code"})).json()
    assert {one["modality"] for one in of_premium["models"]} == {"code"}
    assert False in {one["indicator"]["is_free_tier"] for one in of_premium["models"]}
    wrong = await free.get(f"{BASE}/models", params={"modality": "smell"})
    assert wrong.status_code == 400


async def test_the_tier_limits_the_tokens_of_one_request(caller, simulated):
    service, provider = simulated()
    asking = caller("bob", served=service)
    body = {"prompt": "heat pumps", "max_tokens": 100_000}
    assert (await asking.post(f"{BASE}/text/completions", json=body)).status_code == 200
    assert provider.requests[-1].body["max_tokens"] == 2000


async def test_a_request_counts_once_and_one_too_many_says_what_helps(caller, simulated, ledger):
    service, provider = simulated()
    asking = caller("bob", served=service)
    quotas.set_quota(ledger, "user:bob", "text_generation", "requests", BY, most=1)
    path, body = f"{BASE}/text/completions", {"prompt": "heat pumps"}
    assert (await asking.post(path, json={"prompt": 5})).status_code == 400
    assert (await asking.post(path, json=body)).status_code == 200
    refused = await asking.post(path, json=body)
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert int(refused.headers["retry-after"]) > 0
    found = refused.json()
    assert (found["feature"], found["unit"], found["used"]) == ("text_generation", "requests", 1)
    assert found["upgrade"]["tier"] == "premium"
    assert len(provider.requests) == 1
    shown = (await asking.get(f"{BASE}/quota")).json()
    text = shown["text_generation"]
    assert (text["requests_used"], text["requests_limit"], text["tokens_limit"]) == (1, 1, 10_000)
    assert text["tokens_used"] > 0
    assert shown["vision_analysis"] == {"requests_used": 0, "requests_limit": 20}
    assert shown["audio_stt"].keys() == {
        *("requests_used", "requests_limit", "minutes_used", "minutes_limit")
    }


async def test_each_flag_has_its_effect(caller, ledger):
    free, premium = caller("bob"), caller("eve", "premium")
    path, body = f"{BASE}/text/completions", {"prompt": "heat pumps"}

    flags.change(ledger, "together_ai_ui_indicators", BY, is_on=False)
    found = (await free.post(path, json=body)).json()
    assert found["model_source_indicator"] is None
    listed = (await free.get(f"{BASE}/models")).json()["models"]
    assert {one["indicator"] for one in listed} == {None}

    flags.change(ledger, "together_ai_free_tier", BY, is_on=False)
    refused = await free.post(path, json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, "free_tier_off")
    assert (await free.get(f"{BASE}/quota")).status_code == 200
    assert (await premium.post(path, json=body)).status_code == 200
    assert (await premium.get(f"{BASE}/models")).json()["free_tier_enabled"] is False

    flags.change(ledger, "together_ai_integration", BY, is_on=False)
    posts = {path: body for path, (body, _) in (ANSWERS | MADE).items()}
    answers = [await premium.post(BASE + one, json=given) for one, given in posts.items()]
    answers += [await premium.get(f"{BASE}/{one}") for one in ("models", "quota")]
    assert [one.status_code for one in answers] == [403] * 9


async def test_nothing_is_answered_without_a_key_or_a_permission(
    client, caller, client_of, service
):
    nobody = client_of(create_app(service), authorization="Bearer nonsense")
    reader = caller("bob", scopes=("usage",))
    path, body = f"{BASE}/text/completions", {"prompt": "heat pumps"}
    assert (await nobody.post(path, json=body)).status_code == 401
    assert (await nobody.post(path, json={})).status_code == 401
    assert (await reader.post(path, json=body)).status_code == 403
    assert (await reader.get(f"{BASE}/quota")).status_code == 200
    assert (await client.get(f"{BASE}/nothing")).status_code in (401, 404)


async def test_without_fallbacks_no_door_asks_a_second_model(simulated, client_of, ledger):
    service, provider = simulated(faults={"openai/gpt-oss-120b": Fault(500)})
    task, wait = {"workflow": "one", "task": "heat pumps"}, {"Prefer": "wait=60"}
    async with client_of(create_app(service)) as asking:
        found = (await asking.post("/api/v1/runs", json=task, headers=wait)).json()
        assert found["status"] == "completed"
        assert found["model_source_indicator"]["is_fallback"] is True
        asked = {one.model for one in provider.requests}
        assert len(asked) > 1
        flags.change(ledger, "together_ai_fallback", BY, is_on=False)
        before = len(provider.requests)
        failed = (await asking.post("/api/v1/runs", json=task, headers=wait)).json()
        assert (failed["status"], failed["model_source_indicator"]) == ("failed", None)
        body = {"model": "workflow:one", "messages": [{"role": "user", "content": "heat pumps"}]}
        assert (await asking.post("/v1/chat/completions", json=body)).status_code >= 500
        assert {one.model for one in provider.requests[before:]} == {"openai/gpt-oss-120b"}


async def at_langgraph(asking):
    found = await asking.post("/runs/wait", json={"assistant_id": "one", "input": "heat pumps"})
    return "__error__" in found.json()


async def at_batches(asking):
    body = {"workflow": "one", "items": [{"task": "heat pumps"}]}
    place = (await asking.post("/api/v1/batches", json=body)).headers["location"]
    while (found := (await asking.get(place)).json())["status"] == "running":
        await asyncio.sleep(0.05)
    return found["failed"] == 1


async def at_mcp(asking):
    place = f"{str(asking.base_url).rstrip('/')}/mcp"
    async with (
        streamable_http_client(place) as (reading, writing, _),
        ClientSession(reading, writing) as session,
    ):
        await session.initialize()
        return (await session.call_tool("one", {"task": "heat pumps"})).isError


@pytest.mark.parametrize("fails", [at_langgraph, at_batches, at_mcp])
async def test_without_fallbacks_a_client_of_another_protocol_has_none_either(
    simulated, serve, ledger, fails
):
    service, provider = simulated(faults={"openai/gpt-oss-120b": Fault(500)})
    async with httpx2.AsyncClient(base_url=serve(service), timeout=60) as asking:
        assert not await fails(asking)
        asked = {one.model for one in provider.requests}
        assert len(asked) > 1
        flags.change(ledger, "together_ai_fallback", BY, is_on=False)
        before = len(provider.requests)
        assert await fails(asking)
    assert {one.model for one in provider.requests[before:]} == {"openai/gpt-oss-120b"}


async def test_the_first_values_of_the_flags_and_shares_hold_at_every_process(
    folder, caller, make_service, ledger
):
    first = "[tool.aideon.flags]\ntogether_ai_integration = 50\ntogether_ai_ui_indicators = false\n"
    (folder / "pyproject.toml").write_text(first)
    names = [f"user-{number}" for number in range(12)]
    both = {
        name: [caller(name, "premium"), caller(name, "premium", served=make_service())]
        for name in names
    }

    async def let_in():
        answers = {name: [await one.get(f"{BASE}/quota") for one in both[name]] for name in names}
        codes = {name: {one.status_code for one in given} for name, given in answers.items()}
        assert all(one in ({200}, {403}) for one in codes.values())
        return {name for name in names if codes[name] == {200}}

    half = await let_in()
    assert 0 < len(half) < len(names)
    assert await let_in() == half
    shown = (await both[min(half)][0].get(f"{BASE}/models")).json()["models"]
    assert {one["indicator"] for one in shown} == {None}
    flags.change(ledger, "together_ai_integration", BY, is_on=True, share=75)
    assert half <= await let_in()
    flags.change(ledger, "together_ai_integration", BY, is_on=True)
    assert await let_in() == set(names)


async def test_a_run_names_its_source_unless_the_flag_is_off(client, ledger):
    task = {"workflow": "two", "task": "heat pumps"}
    wait = {"Prefer": "wait=60"}
    found = (await client.post("/api/v1/runs", json=task, headers=wait)).json()
    assert found["model_source_indicator"].keys() == INDICATOR
    flags.change(ledger, "together_ai_ui_indicators", BY, is_on=False)
    again = (await client.get(f"/api/v1/runs/{found['run_id']}")).json()
    assert again["model_source_indicator"] is None


async def test_an_estimate_says_what_a_run_would_leave_of_the_quota(caller):
    scopes = ("runs", "usage")
    free, premium = caller("bob", scopes=scopes), caller("eve", "premium", scopes=scopes)
    path, body = "/api/v1/workflows/one/estimate", {"task": "heat pumps"}
    left = (await free.post(path, json=body)).json()["quota_after"]
    assert left["requests"] == 49
    assert 0 < left["tokens"] < 10_000
    assert (await premium.post(path, json=body)).json()["quota_after"] == {}


async def test_what_is_remembered_of_a_user_does_not_exist_yet(client):
    asked = (("GET", "context"), ("PUT", "context"), ("GET", "interactions"))
    for method, name in asked:
        answer = await client.request(method, f"/api/v1/me/{name}", json={})
        assert (answer.status_code, answer.json()["code"]) == (501, "not_implemented")


async def test_the_models_have_the_names_of_the_documents(monkeypatch, make_service, caller):
    monkeypatch.setenv("AIDEON_PROFILE", "seed")
    asking = caller("bob", served=make_service())
    listed = (await asking.get(f"{BASE}/models", params={"modality": "text"})).json()["models"]
    names = {one["id"]: one["name"] for one in listed}
    assert names["meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo"] == "Llama 3.1 8B Instruct"
