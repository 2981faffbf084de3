"""Chat models of LangChain that are not ours, given to agents and runs."""

import pytest
from langchain_core.language_models import FakeListChatModel
from pydantic import BaseModel

from aideon_agents import Ledger, astream, executor, run
from aideon_agents.errors import ModelNameError
from aideon_agents.testing import ScriptedChatModel

from .conftest import CLAUDE, INPUT, KEY, OUTPUT, model

# What the integrations themselves use that is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Facts(BaseModel):
    facts: list[str]


def calls_of(result, settings):
    with Ledger.from_url(settings.ledger) as ledger:
        return ledger.calls(result.run_id)


BOTH = pytest.mark.parametrize("kind", ["anthropic", "google"])


@BOTH
def test_a_given_model_has_a_row_with_tokens_and_a_price(serve, settings, kind):
    wire = serve(kind, "Paris")
    result = run(executor("a", model=model(kind, wire)), "The capital?", settings=settings)
    assert (result.status, result.output) == ("completed", "Paris"), result.error
    (call,) = calls_of(result, settings)
    assert (call.input_tokens, call.output_tokens, call.usage_source) == (INPUT, OUTPUT, "reported")
    assert call.cost_nanousd > 0
    assert result.cost.complete
    assert call.price_source.startswith("genai-prices")


@BOTH
def test_a_given_model_answers_in_a_shape_as_the_arguments_of_a_tool(serve, settings, kind):
    wire = serve(kind, {"name": "Facts", "input": {"facts": ["a", "b"]}})
    agent = executor("a", model=model(kind, wire), output=Facts)
    result = run(agent, "Facts?", settings=settings)
    assert result.results["a"].data == Facts(facts=["a", "b"])
    assert "Facts" in str(wire.bodies[0]["tools"])


@BOTH
def test_a_given_model_calls_tools(serve, settings, kind):
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    wire = serve(kind, {"name": "add", "input": {"a": 1, "b": 2}}, "It is 3")
    result = run(executor("a", model=model(kind, wire), tools=[add]), "1 + 2?", settings=settings)
    assert result.output == "It is 3"
    assert "3" in str(wire.bodies[1])
    assert result.cost.calls == 2


@BOTH
def test_a_failing_given_model_is_tried_again_and_then_the_next_is_asked(serve, settings, kind):
    failing, healthy = serve(kind, 500, 500, 500), serve(kind, "Paris")
    agent = executor("a", model=[model(kind, failing), model(kind, healthy)])
    result = run(agent, "The capital?", settings=settings)
    assert result.output == "Paris"
    calls = calls_of(result, settings)
    assert [(one.candidate, one.attempt, one.status) for one in calls] == [
        (0, 1, "error"),
        (0, 2, "error"),
        (0, 3, "error"),
        (1, 1, "ok"),
    ]
    # The integration's own retries are off: each row is one request.
    assert len(failing.bodies) == 3
    assert [one.cost_nanousd for one in calls[:3]] == [0, 0, 0]


@BOTH
async def test_a_streamed_given_model_reports_its_tokens_once(serve, settings, kind):
    wire = serve(kind, "Paris of course")
    events = [
        one async for one in astream(executor("a", model=model(kind, wire)), "?", settings=settings)
    ]
    result = events[-1].result
    assert result.output.startswith("Paris of course")
    assert len([one for one in events if type(one).__name__ == "Token"]) > 1
    (call,) = calls_of(result, settings)
    assert (call.input_tokens, call.output_tokens, call.status) == (INPUT, OUTPUT, "ok")
    assert call.cost_nanousd > 0


async def test_a_tool_call_that_broke_off_in_a_stream_is_not_run(serve, settings):
    saved = []

    def save(path: str, text: str) -> str:
        """Save a text."""
        saved.append(text)
        return "saved"

    half = {"name": "save", "input": '{"path": "a.txt", "text": "line 1', "reason": "max_tokens"}
    wire = serve("anthropic", half, "Sorry")
    agent = executor("a", model=model("anthropic", wire), tools=[save])
    events = [one async for one in astream(agent, "Save it", settings=settings)]
    assert events[-1].result.status == "completed"
    assert not saved


async def test_a_stream_of_a_given_model_that_is_cut_is_not_an_answer(serve, settings):
    cut, healthy = serve("anthropic", "cut"), serve("anthropic", "Paris")
    agent = executor("a", model=[model("anthropic", cut), model("anthropic", healthy)])
    events = [one async for one in astream(agent, "?", settings=settings)]
    result = events[-1].result
    assert result.output.strip() == "Paris"
    assert [one.status for one in calls_of(result, settings)] == ["broken", "ok"]
    assert not result.cost.complete


def test_a_budget_admits_a_given_model_by_its_worst_case(serve, settings):
    wire = serve("anthropic", "Paris")
    dear = executor("a", model=model("anthropic", wire, max_tokens=64_000))
    result = run(dear, "?", budget="0.05", fallback=False, settings=settings)
    assert (result.status, result.stop_reason) == ("completed", None)
    # Its answer is free text, so it got less room, and the request says so.
    assert wire.bodies[0]["max_tokens"] < 64_000
    (call,) = calls_of(result, settings)
    assert call.shortened
    refused = run(
        executor("b", model=model("anthropic", wire)), "?", budget="0.0001", settings=settings
    )
    assert (refused.status, refused.stop_reason) == ("stopped", "budget")
    assert len(wire.bodies) == 1


def test_a_given_model_of_unknown_price_is_refused_under_a_budget(settings):
    agent = executor("a", model=FakeListChatModel(responses=["x"]))
    result = run(agent, "?", budget="1", settings=settings)
    assert (result.status, result.stop_reason, result.cost.calls) == ("stopped", "budget", 0)


def test_the_agents_own_max_tokens_is_sent_and_the_models_own_is_kept(serve, settings):
    wire = serve("anthropic", "a", "b", "c")
    for options, own in (({"max_tokens": 77}, {}), ({}, {"max_tokens": 99}), ({}, {})):
        run(executor("a", model=model("anthropic", wire, **own), **options), "?", settings=settings)
    assert [one["max_tokens"] for one in wire.bodies][:2] == [77, 99]
    assert wire.bodies[2]["max_tokens"] == 4 * 1024  # it is a reasoning model


def test_a_rehearsal_asks_no_given_model(serve, settings):
    wire = serve("anthropic")
    result = run(
        executor("a", model=model("anthropic", wire)), "?", rehearse=True, settings=settings
    )
    assert (result.status, result.rehearsed, wire.bodies) == ("completed", True, [])
    (call,) = calls_of(result, settings)
    assert (call.provider, call.requested_model, call.rehearsed) == ("anthropic", CLAUDE, True)


async def test_a_cancelled_call_of_a_given_model_has_a_row(serve, settings):
    import asyncio

    from aideon_agents import arun

    wire = serve("anthropic", "hang")
    work = asyncio.create_task(
        arun(executor("a", model=model("anthropic", wire)), "?", settings=settings)
    )
    await asyncio.to_thread(wire.reached.wait, 30)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    with Ledger.from_url(settings.ledger) as ledger:
        run_id = ledger.find_run("last").run_id
        (call,) = ledger.calls(run_id)
    assert (call.status, call.cost_nanousd) == ("cancelled", None)


@BOTH
def test_the_key_of_a_given_model_is_nowhere(serve, settings, kind, tmp_path, caplog):
    caplog.set_level("DEBUG", logger="aideon_agents")
    wire = serve(kind, 401)
    agent = executor("a", model=model(kind, wire))
    result = run(agent, "?", checkpoint=True, record_content=True, settings=settings)
    assert result.status == "failed"
    assert "the given model" in result.error
    texts = [result.error, repr(agent.spec), repr(result), caplog.text, repr(result.exception)]
    cause = result.exception
    while cause is not None:
        texts.append(repr(cause))
        cause = cause.__cause__
    assert not [one for one in texts if KEY in one]
    for file in tmp_path.iterdir():
        assert KEY.encode() not in file.read_bytes()


def test_a_role_is_given_a_model_for_one_run(settings):
    result = run(
        executor("a"), "?", model={"executor": ScriptedChatModel(answers=["x"])}, settings=settings
    )
    assert result.output == "x"


@pytest.mark.parametrize("rehearse", [False, True])
def test_a_name_whose_integration_is_not_installed_names_the_pip_line(settings, rehearse):
    with pytest.raises(ModelNameError, match="pip install langchain-groq"):
        run(executor("a", model="groq:llama-3"), "?", settings=settings, rehearse=rehearse)


def test_a_name_of_an_installed_integration_is_asked(serve, settings, monkeypatch):
    wire = serve("anthropic", "Paris", "Paris")
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", wire.url)
    name = f"anthropic:{CLAUDE}"
    result = run(executor("a", model=name), "?", settings=settings)
    assert (result.output, list(result.nodes[0].models)) == ("Paris", [name])
    assert run(executor("a"), "?", model={"executor": [name]}, settings=settings).output == "Paris"
    assert KEY in str(wire.headers[0])


def test_what_is_no_model_is_refused_when_the_agent_is_made():
    with pytest.raises(Exception, match="give provider:model, a LangChain chat model"):
        executor("a", model=ScriptedChatModel(answers=[]).with_retry())


@BOTH
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_model_is_used_in_several_event_loops(serve, settings, kind):
    import asyncio

    from aideon_agents import arun

    wire = serve(kind, "a", "b", "c")
    given = model(kind, wire)
    outputs = [
        asyncio.run(arun(executor("a", model=given), "?", settings=settings)).output
        for _ in range(3)
    ]
    assert outputs == ["a", "b", "c"]
