"""Every result names the models that answered, and says whether the answer is cut off."""

from __future__ import annotations

import pytest
from langgraph.runtime import get_runtime
from pydantic import BaseModel

from aideon_agents import (
    Context,
    CostHandler,
    Ledger,
    Settings,
    arun,
    creative,
    executor,
    iterative,
    planner,
    sequential,
    validator,
)
from aideon_agents.ledger.costs import run_cost
from aideon_agents.models.answers import Answer
from aideon_agents.runner import document
from aideon_agents.state import ModelRequest
from aideon_agents.testing import (
    Fault,
    GivenModels,
    ScriptedChatModel,
    SimulatedProvider,
)

PUMPS = "Heat pumps move heat from outdoor air into a house. Installers are scarce in winter."
CHAIN = ["local:first", "local:second"]


class Sum(BaseModel):
    total: int


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


@pytest.fixture
def answer(ledger):
    """Runs a graph on a simulated provider; returns the result."""

    async def run(graph, *, stream=False, answer=None, **options):
        with SimulatedProvider(answer=answer, **options) as provider:
            settings = Settings(local_base_url=provider.base_url)
            arguments = {"settings": settings, "ledger": ledger, "stream": stream}
            return (await arun(graph, PUMPS, **arguments)).raise_for_status()

    return run


def said(result, path):
    one = result.results[path]
    return one.models, one.truncated


@pytest.mark.parametrize("stream", [False, True])
async def test_a_result_names_the_model_that_answered(answer, stream):
    result = await answer(creative("draft", model=CHAIN), stream=stream)
    assert said(result, "draft") == (["local:first"], False)
    made = document(result)
    assert made["results"]["draft"]["models"] == made["nodes"][0]["models"] == ["local:first"]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_of_a_fallback_names_the_fallback(answer, stream):
    faults = {"first": Fault(404)}
    result = await answer(creative("draft", model=CHAIN), faults=faults, stream=stream)
    assert said(result, "draft") == (["local:second"], False)
    assert result.nodes[0].fallback


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_met_max_tokens_is_truncated(answer, stream, ledger):
    result = await answer(creative("draft", model=CHAIN, max_tokens=3), stream=stream)
    assert said(result, "draft") == (["local:first"], True)
    made = document(result)
    assert made["results"]["draft"]["truncated"]
    assert made["nodes"][0]["truncated"]
    assert [call.truncated for call in ledger.calls(result.run_id)] == [True]


async def test_a_shaped_answer_names_its_model_too(answer):
    result = await answer(executor("sum", output=Sum, model=CHAIN))
    assert said(result, "sum") == (["local:first"], False)


async def test_a_wrong_shape_that_another_model_mends_names_both_the_last_one_wrote(answer):
    def reply(ask):
        return "no JSON" if ask.model == "first" else '{"total": 3}'

    def by_model(request):
        return Answer(text=reply(request))

    result = await answer(executor("sum", output=Sum, model=CHAIN), answer=by_model)
    assert said(result, "sum") == (["local:first", "local:second"], False)


async def test_a_loop_says_who_wrote_its_best_round(answer):
    loop = iterative(
        creative("draft", model=CHAIN, max_tokens=3),
        validator("check", model=CHAIN, criteria="it is short"),
        max_rounds=2,
        name="refine",
    )
    result = await answer(loop)
    assert said(result, "refine") == (["local:first"], True)


async def test_a_model_that_a_function_asks_is_named(answer):
    async def note(state):
        context = get_runtime(Context).context
        request = ModelRequest(role="executor", model=tuple(CHAIN), max_tokens=3)
        return (await context.models.chat(request, context).ainvoke(state["task"])).text

    result = await answer(sequential(note, name="all"))
    assert said(result, "note") == (["local:first"], True)


@pytest.mark.parametrize("output", [None, Sum])
async def test_a_scripted_model_is_named_as_in_its_row(ledger, output):
    model = ScriptedChatModel(answers=[{"total": 3}])
    context = Context(models=GivenModels(model))
    graph = executor("sum", output=output) if output else creative("sum")
    handler = CostHandler(ledger)
    result = await sequential(graph, name="all").ainvoke(
        {"task": PUMPS}, {"callbacks": [handler]}, context=context
    )
    models = run_cost(ledger, handler.run_id).by_node["sum"].models
    assert result["results"]["sum"].models == list(models) == ["scriptedchatmodel:scripted"]


async def test_a_rehearsed_result_names_the_model_that_would_have_answered(ledger):
    result = await arun(
        sequential(planner("plan"), creative("draft")), PUMPS, rehearse=True, ledger=ledger
    )
    for node in result.nodes:
        assert result.results[node.node_path].models == list(node.models)
