"""Every ready-made workflow completes on every server whose dialect is known, streamed and not."""

from __future__ import annotations

from typing import get_args

import pytest

from aideon_agents import Ledger, Settings, arun, astream
from aideon_agents.tasks import load
from aideon_agents.testing import SimulatedProvider
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
