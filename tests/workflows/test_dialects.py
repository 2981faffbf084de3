"""Every ready-made workflow completes on every server whose dialect is known, streamed and not."""

from __future__ import annotations

from typing import get_args

import pytest

from aideon_agents import (
    Ledger,
    Settings,
    arun,
    astream,
    creative,
    executor,
    parallel,
    sequential,
)
from aideon_agents.tasks import load
from aideon_agents.testing import Dialect, Fault, SimulatedProvider, UsageDetails
from aideon_agents.testing.simulated.dialects import DialectName

TASK = (
    "Heat pumps move heat from outdoor air into a house. They need a quarter of the power of a"
    " heater. Installers are scarce, and the waiting lists are long."
)
WORKFLOWS = ("brief", "article", "research", "triage", "refine")
ROLES = ("planner", "executor", "validator", "creative")
HOSTED = {
    "together": ("together_api_key", "together_base_url", "together:openai/gpt-oss-120b"),
    "openai": ("openai_api_key", "openai_base_url", "openai:gpt-4o-mini"),
    "huggingface": ("hf_token", "hf_base_url", "huggingface:openai/gpt-oss-120b"),
}
"""The settings and a model of the providers with a dialect; every other one is a local server."""


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    with Ledger(tmp_path_factory.mktemp("dialects") / "ledger.db") as opened:
        yield opened


@pytest.fixture(scope="module", params=get_args(DialectName))
def server(request):
    """The dialect's name and a server that speaks it."""
    with SimulatedProvider(dialect=request.param) as provider:
        yield request.param, provider


def options_for(dialect, provider, model=None):
    """Settings that know this server alone, and the model that each role asks there."""
    key, address, usual = HOSTED.get(dialect, ("", "local_base_url", "local:qwen3"))
    settings = Settings(**{address: provider.base_url}, **({key: "key"} if key else {}))
    return {"settings": settings, "model": dict.fromkeys(ROLES, model or usual)}


async def ended(graph, *, stream, **options):
    """How a run of the graph ends."""
    if not stream:
        return await arun(graph, TASK, **options)
    *_, end = [event async for event in astream(graph, TASK, **options)]
    return end.result


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("workflow", WORKFLOWS)
async def test_a_workflow_completes(server, ledger, workflow, stream):
    graph = load(workflow).graph
    done = await ended(graph, stream=stream, ledger=ledger, **options_for(*server))
    assert (done.status, done.error) == ("completed", None)
    assert done.output


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("dialect", "model"),
    [
        ("openai", "openai:gpt-5-mini"),
        ("vllm", "local:google/gemma-2-9b-it"),
        ("ollama", "local:llama3"),
    ],
)
async def test_a_workflow_completes_with_a_model_that_takes_less(dialect, model, ledger, stream):
    with SimulatedProvider(dialect=dialect) as provider:
        options = options_for(dialect, provider, model)
        done = await ended(load("brief").graph, stream=stream, ledger=ledger, **options)
    assert (done.status, done.error) == ("completed", None)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", get_args(DialectName))
async def test_thoughts_of_a_model_are_no_part_of_an_answer(dialect, ledger, stream):
    details = UsageDetails(reasoning_tokens=20, cache_read_tokens=5)
    with SimulatedProvider(dialect=dialect, details=details) as provider:
        options = options_for(dialect, provider)
        done = await ended(load("refine").graph, stream=stream, ledger=ledger, **options)
    assert (done.status, done.output) == ("completed", TASK)


SLOW = Fault("slow", seconds=0.005)


@pytest.mark.parametrize(
    "graph",
    [load("brief").graph, parallel(creative("a"), creative("b"), creative("c"))],
    ids=["brief", "first"],
)
async def test_no_answer_is_a_stream_that_another_request_has_cut_off(graph, ledger):
    with SimulatedProvider(dialect="llama-cpp-python", faults=SLOW) as provider:
        options = options_for("llama-cpp-python", provider)
        done = await ended(graph, stream=True, ledger=ledger, **options)
        texts = {one.content for one in done.results.values()}
        rows = ledger.calls(done.run_id)
    assert (done.status, done.error) == ("completed", None)
    assert "Heat " not in texts
    assert all(text.startswith(("Heat pumps move heat", "1. Heat", "passed")) for text in texts)
    # One at a time from the first cut on.
    assert sum(row.status == "broken" for row in rows) == 2


async def test_streams_of_a_server_without_finish_reasons_are_whole(ledger):
    graph = parallel(creative("a"), creative("b"), creative("c"))
    with SimulatedProvider(dialect=Dialect(finish_reasons={"stop": None})) as provider:
        done = await ended(graph, stream=True, ledger=ledger, **options_for("other", provider))
    assert (done.status, done.error) == ("completed", None)
    assert {one.content for one in done.results.values()} == {TASK}


def look_up(what: str) -> str:
    """Look something up."""
    return f"{what}: known"


TOOLS_NEED_A_FLAG = {"vllm": "--enable-auto-tool-choice"}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_an_agent_uses_its_tools(server, ledger, stream):
    dialect, provider = server
    graph = sequential(executor("find", tools=[look_up]))
    done = await ended(graph, stream=stream, ledger=ledger, **options_for(dialect, provider))
    if flag := TOOLS_NEED_A_FLAG.get(dialect):
        assert flag in done.error
        return
    assert (done.status, done.error) == ("completed", None)
    asked = [one for one in provider.requests if one.body["messages"][-1]["role"] == "tool"]
    # llama-cpp-python reads tools only if one is named.
    assert len(asked) >= 1 or dialect == "llama-cpp-python"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_an_agent_uses_its_tools_where_arguments_are_an_object(ledger, stream):
    graph = sequential(executor("find", tools=[look_up]))
    with SimulatedProvider(dialect=Dialect(calls_as_objects=True)) as provider:
        options = options_for("other", provider)
        done = await ended(graph, stream=stream, ledger=ledger, **options)
        asked = [one.body["messages"][-1] for one in provider.requests]
    assert (done.status, done.error) == ("completed", None)
    assert asked[-1]["role"] == "tool"
    assert asked[-1]["content"].endswith(": known")
