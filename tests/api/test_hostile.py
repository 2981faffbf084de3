"""What no client of ours sends: words, values and bodies that must be refused, or be taken as they are."""

from __future__ import annotations

import itertools
import json
import re
from urllib.parse import quote

import pytest
from fastapi.routing import iter_route_contexts

from aideon_agents.api.asking import Rates

WORDS = [
    "a\x00b",
    "%",
    "'; DROP TABLE runs; --",
    "../../etc/passwd",
    "a\r\nSet-Cookie: x=y",
    "\uffff",
    "x" * 5000,
    "<script>alert(1)</script>",
    "-1",
    "9" * 40,
    "nan",
]
VALUES = {
    "a NUL": '"a\\u0000b"',
    "half a surrogate pair": '"\\ud800"',
    "NaN": "NaN",
    "infinity": "-Infinity",
    "a huge float": "1e999",
    "a long integer": "9" * 40,
    "a longer integer": "9" * 5000,
    "99 levels": "[" * 99 + "]" * 99,
    "900 levels": "[" * 900 + "]" * 900,
    "100,000 levels": "[" * 100_000 + "]" * 100_000,
    "an object to construct": '{"lc": 1, "type": "constructor", "id": ["os", "system"], "kwargs": {}}',
    "an operator": '{"$gt": 1}',
}
ONE = '"workflow": "one", "task": "x"'
BODIES = {
    "/api/v1/runs": [
        '{"workflow": "one", "task": *}',
        '{"workflow": *, "task": "x"}',
        '{"workflow": "named", "task": "x", "inputs": {"place": *}}',
        *(f"{{{ONE}, {more}}}" for more in ('"metadata": {"a": *}', '"thread": *', '"budget": *')),
        *(f"{{{ONE}, {more}}}" for more in ('"timeout": *', '"model": {"creative": *}')),
    ],
    "/api/v1/workflows/named/estimate": ['{"task": "x", "inputs": {"place": *}}'],
    "/api/v1/threads": ['{"metadata": {"a": *}}', '{"thread_id": *}'],
    "/api/v1/runs/RUN/answer": ['{"answer": *, "id": "x"}', '{"answer": *}'],
    "/api/v1/runs/RUN/feedback": ['{"score": 1, "text": *}', '{"score": *}'],
    "/api/v1/batches": [
        '{"workflow": "named", "items": [{"task": "x", "inputs": {"place": *}}]}',
        '{"workflow": "one", "items": [{"task": *}]}',
        '{"workflow": "one", "items": [{"task": "x", "id": *}]}',
    ],
    "/api/v1/me/keys": ['{"name": *}', '{"workflows": [*]}', '{"expires_at": *}'],
    "/api/v1/me/quota-requests": [
        '{"feature": "text_generation", "unit": "requests", "limit": 1000000, "reason": *}',
        '{"feature": "text_generation", "unit": "requests", "limit": *}',
    ],
    "/api/v1/users": ['{"user": *}', '{"user": "z", "name": *}', '{"user": "z", "email": *}'],
    "/api/v1/sign-in-links": ['{"user": *}'],
    "/api/v1/together/text/completions": ['{"prompt": *}'],
    "/api/v1/together/chat/completions": ['{"messages": [{"role": "user", "content": *}]}'],
    "/api/v1/together/images/analysis": ['{"prompt": "x", "image_url": *}'],
    "/threads": ['{"metadata": {"a": *}}'],
    "/threads/search": ['{"metadata": {"a": *}}', '{"offset": *}', '{"ids": [*]}'],
    "/threads/THREAD/history": ['{"before": *}'],
    "/runs/wait": [
        '{"assistant_id": "one", "input": *}',
        '{"assistant_id": "one", "input": {"messages": [*]}}',
        '{"assistant_id": "one", "input": {"messages": [{"content": *, "id": *}]}}',
        '{"assistant_id": "one", "input": {"task": "x", "a": *}, "metadata": {"a": *}}',
        '{"assistant_id": *, "input": {"task": "x"}}',
    ],
    "/assistants/search": ['{"metadata": {"a": *}}', '{"offset": *}'],
    "/store/items/search": [
        '{"namespace_prefix": [*]}',
        *(f'{{"namespace_prefix": ["n"], {more}}}' for more in ('"offset": *', '"filter": {*: 1}')),
        *(
            f'{{"namespace_prefix": ["n"], "filter": {{"a": {one}}}}}'
            for one in ("*", '{"$gt": *}')
        ),
    ],
    "/store/namespaces": ['{"suffix": [*]}'],
}
READ = ["/api/v1/runs", "/api/v1/threads", "/api/v1/me/quota-requests", "/api/v1/batches"]
READ += ["/api/v1/me/keys", "/api/v1/me/usage", "/api/v1/users", "/api/v1/audit"]
HEADS = {"Content-Type": "application/json", "Prefer": "wait=60"}
NOT_YET = 501


@pytest.fixture
async def clients(app, key_of, as_key):
    """With a key for everything but management, and with one for management."""
    app.state.rates = Rates(failures=10**9, requests=10**9)
    keys = key_of("root", "admin"), key_of("root", scopes=["admin"])
    async with as_key(keys[0]) as member, as_key(keys[1]) as manager:
        yield member, manager


def failed(answers):
    return [one for one in answers if one[-1] >= 500 and one[-1] != NOT_YET]


def parameters(dependant):
    if dependant:
        yield from (one.alias for one in dependant.query_params)
        for one in dependant.dependencies:
            yield from parameters(one)


async def test_no_word_in_a_path_a_query_or_a_head_makes_the_service_fail(app, clients):
    answers = []
    for client, route in itertools.product(clients, iter_route_contexts(app.routes)):
        if route.path == "/mcp":  # its server is not open here
            continue
        names = set(parameters(getattr(route, "dependant", None)))
        for method, word in itertools.product(sorted((route.methods or set()) - {"HEAD"}), WORDS):
            place = re.sub(r"{.*?}", quote(word, safe=""), route.path)
            answer = await client.request(method, place, json=None if method == "GET" else {})
            answers.append((method, route.path, word[:30], answer.status_code))
            assert "x=y" not in answer.headers.get("set-cookie", "")
            place = re.sub(r"{.*?}", "0" * 26, route.path)
            for name in names:
                answer = await client.request(method, place, params={name: word})
                answers.append((method, route.path, name, word[:30], answer.status_code))
    for word, client in itertools.product(WORDS, clients):
        for name in ("Idempotency-Key", "Prefer", "Last-Event-ID", "If-Match", "Accept"):
            heads = {name: word.encode("utf-8"), "X-Request-Id": word.encode("utf-8")}
            answer = await client.post("/api/v1/runs", json={"workflow": 1}, headers=heads)
            answers.append((name, word[:30], answer.status_code))
    assert failed(answers) == []


@pytest.mark.parametrize("name", VALUES)
async def test_no_value_in_a_body_makes_the_service_fail_then_or_later(clients, name):
    member, manager = clients
    asks = {"workflow": "asks", "task": "x"}
    run = (await member.post("/api/v1/runs", json=asks, headers=HEADS)).json()["run_id"]
    thread = (await member.post("/api/v1/threads", json={})).json()["thread_id"]
    answers = []

    async def send(method, path, body):
        who = manager if path in {"/api/v1/users", "/api/v1/sign-in-links"} else member
        sent = body.replace("*", VALUES[name]).encode("utf-8")
        place = path.replace("RUN", run).replace("THREAD", thread)
        answer = await who.request(method, place, content=sent, headers=HEADS)
        answers.append((method, path, body, answer.status_code))

    for path, bodies in BODIES.items():
        for body in bodies:
            await send("POST", path, body)
    await send("PATCH", "/threads/THREAD", '{"metadata": {"a": *}}')
    for item in ('["n"], "key": "k", "value": {"a": *}', '[*], "key": "k", "value": {}'):
        await send("PUT", "/store/items", f'{{"namespace": {item}}}')
    await send("PUT", "/store/items", '{"namespace": ["n"], "key": *, "value": {}}')
    await send("POST", "/threads/search", "{}")
    await send("POST", "/store/items/search", '{"namespace_prefix": []}')
    places = (*READ, f"/api/v1/runs/{run}", f"/threads/{thread}/state")
    for place, client in itertools.product(places, clients):
        answer = await client.get(place)
        answers.append(("GET", place, answer.status_code))
    assert failed(answers) == []


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
async def test_a_body_in_another_encoding_is_judged_as_one_in_utf_8(clients, encoding):
    body = '{"metadata": {"a": NaN, "b": "é"}}'.encode(encoding)
    answer = await clients[0].post("/api/v1/threads", content=body, headers=HEADS)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert (await clients[0].get("/api/v1/threads")).json()["items"] == []


async def test_a_body_that_looks_odd_and_is_not_is_taken(clients):
    text = 'NaN, 1e999, [-Infinity] and \\ud83d\\ude00 \\" {{[['
    body = f'{{"metadata": {{"a": "{text}", "b": 1e300, "c": [[[]]]}}}}'
    answer = await clients[0].post("/api/v1/threads", content=body, headers=HEADS)
    assert answer.status_code == 201
    assert answer.json()["metadata"] == json.loads(body)["metadata"]


def function(**more):
    return [{"type": "function", "function": more}]


@pytest.mark.parametrize(
    "more",
    [
        *({"tools": one} for one in (function(), function(name=["a"]), function(name={"a": 1}))),
        *({"tools": one} for one in ([{}], [{"type": "function"}], [{"function": "x"}], ["x"])),
        {"tools": function(name="x", parameters="y")},
        {"response_format": {"type": "json_schema", "json_schema": 1}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": 5}}},
        {"response_format": {"type": ["json_schema"]}},
        {"text": {"format": {"type": "json_schema", "name": "x", "schema": 5}}},
        *({"content": one} for one in ([[1]], [1], [None], [{"type": ["text"]}], [{}])),
        {"content": [{"type": "image_url", "image_url": {"url": ["x"]}}]},
    ],
    ids=str,
)
async def test_what_openai_s_clients_never_send_is_a_bad_request(clients, more):
    member, _ = clients
    content = more.get("content", "x")
    chat = {"messages": [{"role": "user", "content": content}]}
    response = {"input": [{"role": "user", "content": content}]}
    statuses = []
    for path, body in (("/v1/chat/completions", chat), ("/v1/responses", response)):
        asked = {"model": "together:Qwen/Qwen3.5-9B", **body, **more}
        statuses.append((await member.post(path, json=asked)).status_code)
    assert 400 in statuses
    assert set(statuses) <= {200, 400}
