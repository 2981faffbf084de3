"""Models that are being loaded, and servers that start: they are waited for, as long as there is time."""

from __future__ import annotations

import json
import socket
from datetime import datetime

import pytest

from aideon_agents import Context, CostHandler, Settings
from aideon_agents.errors import AllModelsFailed
from aideon_agents.ledger.pricing import Usage, price
from aideon_agents.ledger.rows import Run
from aideon_agents.models import Models, fallbacks
from aideon_agents.settings import load
from aideon_agents.settings.providers import TABLE
from aideon_agents.state import ModelRequest
from tests.models.providers.test_deployments import ANSWER, KEY, ask, deploy, known

__all__ = ["deploy", "known"]

LOADING = (503, {"error": "Model org/m is currently loading", "estimated_time": 0.01})
LLAMA_CPP = (503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}})
SCALED_TO_ZERO = (503, b"")
GATEWAY = (502, b"<html><title>502 Bad Gateway</title></html>")
NOBODY = "http://127.0.0.1:9/v1"  # the port of `discard`: nothing listens
STARTS = 7
"""More than the tries of a model that fails, and than the failures that open its breaker."""


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(fallbacks, "_FIRST_WAIT", 0.001)


def huggingface(server):
    return Settings(hf_token=KEY, hf_base_url=server.url)


@pytest.mark.parametrize("said", [LOADING, LLAMA_CPP])
async def test_a_model_that_is_loaded_is_waited_for(server, ledger, said):
    server.answers = [said] * STARTS + [ANSWER]
    answer, rows = await ask("huggingface:org/m:fastest", ledger, huggingface(server))
    assert answer == "Hi."
    assert [row.status for row in rows] == ["error"] * STARTS + ["ok"]
    assert {row.cost_nanousd for row in rows[:-1]} == {0}
    assert server.asked[-1]["model"] == "org/m:fastest"


async def test_loading_opens_no_breaker(server, ledger):
    server.answers = [LOADING] * STARTS + [ANSWER]
    settings = huggingface(server)
    await ask("huggingface:org/m:cheapest", ledger, settings)
    chain = Models(settings).chat(
        ModelRequest(role="executor", model=("huggingface:org/m:cheapest",)), Context()
    )
    (candidate,) = chain.candidates
    assert candidate.rest_left() == 0
    assert candidate.model_breaker.why == candidate.key_breaker.why == ""


async def test_a_model_that_loads_for_longer_than_there_is_time_is_given_up(server, ledger):
    server.answers = [(503, {"error": "Model m is currently loading", "estimated_time": 900})]
    answer, rows = await ask("huggingface:org/m:late", ledger, huggingface(server), timeout=60)
    assert isinstance(answer, AllModelsFailed)
    assert len(rows) == 1


async def test_other_models_are_asked_while_one_loads_for_long(server, ledger):
    server.answers = [
        lambda body: (503, {"error": "x", "estimated_time": 60}) if "m" in body["model"] else ANSWER
    ]
    names = ("huggingface:org/m:x", "huggingface:org/other")
    answer, rows = await ask(names, ledger, huggingface(server))
    assert answer == "Hi."
    assert [row.candidate for row in rows] == [0, 1]


@pytest.mark.parametrize("said", [SCALED_TO_ZERO, GATEWAY])
async def test_a_deployment_that_starts_is_waited_for(deploy, server, ledger, said):
    deploy(f'base_url = "{server.url}"\nmodel = "qwen"')
    server.answers = [said] * STARTS + [ANSWER]
    answer, rows = await ask("prod:", ledger)
    assert answer == "Hi."
    assert len(rows) == STARTS + 1
    assert {row.cost_nanousd for row in rows[:-1]} == {0}


async def test_a_deployment_that_nobody_serves_yet_is_waited_for(deploy, server, ledger):
    deploy(f'base_url = "{NOBODY}"\nmodel = "qwen"\ncold_start = 0.2')
    answer, rows = await ask("prod:", ledger)
    assert isinstance(answer, AllModelsFailed)
    assert len(rows) > 3  # the tries of a server that does not start


async def test_without_cold_start_a_server_that_fails_is_given_up(deploy, server, ledger):
    deploy(f'base_url = "{server.url}"\nmodel = "qwen"\ncold_start = 0')
    server.answers = [SCALED_TO_ZERO]
    answer, rows = await ask("prod:", ledger)
    assert isinstance(answer, AllModelsFailed)
    assert len(rows) == 3


async def test_another_candidate_answers_for_a_deployment_that_starts(deploy, server, ledger):
    deploy(f'base_url = "{server.url}"\nmodel = "qwen"')
    server.answers = [lambda body: SCALED_TO_ZERO if body["model"] == "qwen" else ANSWER]
    answer, rows = await ask(("prod:", "prod:other"), ledger)
    assert answer == "Hi."
    assert [row.candidate for row in rows] == [0, 0, 0, 1]


async def test_the_policy_wait_waits_for_a_deployment_before_others(deploy, server, ledger):
    deploy(f'base_url = "{server.url}"\nmodel = "qwen"')
    server.answers = [SCALED_TO_ZERO] * STARTS + [ANSWER]
    answer, rows = await ask(("prod:", "prod:other"), ledger, on_rate_limit="wait")
    assert answer == "Hi."
    assert {row.candidate for row in rows} == {0}


def test_the_time_to_start_comes_on_top_of_a_chain_of_one(deploy):
    deploy('base_url = "http://127.0.0.1:1/v1"\nmodel = "qwen"\ncold_start = 900')

    def seconds(*names, **request):
        asked = ModelRequest(role="executor", model=names, **request)
        return Models(load()).chat(asked, Context()).seconds

    assert seconds("prod:") == 1200
    assert seconds("prod:", "prod:other") == 300
    assert seconds("prod:", timeout=30) == 30
    assert TABLE["prod"].cold_start == 900


async def test_a_host_that_is_not_found_is_not_waited_for(deploy, ledger, monkeypatch):
    def lookup(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    deploy('base_url = "http://nobody.invalid/v1"\nmodel = "qwen"')
    answer, rows = await ask("prod:", ledger)
    assert isinstance(answer, AllModelsFailed)
    assert len(rows) == 3


@pytest.mark.parametrize(("stream", "streams"), [(False, False), (True, True), (True, False)])
async def test_the_provider_that_the_router_chose_sets_the_price(server, ledger, stream, streams):
    chunk = {**ANSWER, "choices": [{**ANSWER["choices"][0], "delta": {"content": "Hi."}}]}
    said = ANSWER | {"model": "openai/gpt-oss-120b"}
    streamed = f"data: {json.dumps(chunk | {'model': said['model']})}\n\ndata: [DONE]\n\n".encode()
    header = {"X-Inference-Provider": "together"}
    # A server that does not stream answers at once.
    server.answers = [(200, streamed if stream and streams else said, header)]
    run_id = ledger.start_run(Run(workflow="question"))
    asked = ModelRequest(role="executor", model=("huggingface:openai/gpt-oss-120b:fastest",))
    chain = Models(huggingface(server)).chat(asked, Context(stream=stream))
    await chain.ainvoke("Hi", {"callbacks": [CostHandler(ledger, run_id=run_id)]})
    (row,) = ledger.calls(run_id)
    assert row.response_model == "openai/gpt-oss-120b:together"
    at = datetime.fromisoformat(row.started_at)
    usage = Usage(input_tokens=1000, output_tokens=7)
    expected = price("huggingface", "openai/gpt-oss-120b:together", usage, at)
    assert row.cost_nanousd == expected.nanousd > 0


_BEGUN = {"model": "openai/gpt-oss-120b", "choices": [{"index": 0, "delta": {"content": "Hi"}}]}
_COUNTED = {"model": "openai/gpt-oss-120b", "choices": [], "usage": ANSWER["usage"]}
_EMPTY = {
    **_COUNTED,
    "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}],
}


@pytest.mark.parametrize("events", [(_BEGUN, _COUNTED), (_EMPTY,)], ids=["cut", "empty"])
async def test_it_sets_the_price_of_a_stream_that_fails_too(server, ledger, events):
    sent = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in events)
    server.answers = [(200, sent, {"X-Inference-Provider": "together"})]
    run_id = ledger.start_run(Run(workflow="question"))
    asked = ModelRequest(role="executor", model=("huggingface:openai/gpt-oss-120b:fastest",))
    chain = Models(huggingface(server)).chat(asked, Context(stream=True))
    with pytest.raises(AllModelsFailed):
        await chain.ainvoke("Hi", {"callbacks": [CostHandler(ledger, run_id=run_id)]})
    rows = ledger.calls(run_id)
    at = datetime.fromisoformat(rows[0].started_at)
    usage = Usage(input_tokens=1000, output_tokens=7)
    expected = price("huggingface", "openai/gpt-oss-120b:together", usage, at)
    assert {row.cost_nanousd for row in rows} == {expected.nanousd}
    assert {row.response_model for row in rows} == {"openai/gpt-oss-120b:together"}


async def test_the_price_of_an_unknown_provider_is_unknown(server, ledger):
    server.answers = [ANSWER]
    answer, (row,) = await ask(
        "huggingface:openai/gpt-oss-120b:cheapest", ledger, huggingface(server)
    )
    assert (answer, row.cost_nanousd) == ("Hi.", None)
