"""Our chain as a LangChain chat model, in code that is not made of our agents."""

import asyncio
import contextlib
import itertools
import pickle
from typing import TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel, SecretStr

from aideon_agents import (
    Budget,
    CostHandler,
    Ledger,
    Settings,
    State,
    UserError,
    arun,
    astream,
    chat_model,
    creative,
    executor,
    run,
    sequential,
)
from aideon_agents.errors import BudgetExceeded, Partial
from aideon_agents.testing import Fault, ScriptedChatModel, SimulatedProvider

PUMPS = "Heat pumps move heat."
QUESTION = {"messages": [("human", PUMPS)]}


class Facts(BaseModel):
    facts: list[str]


class Note(TypedDict):
    title: str
    words: int


NOTE = {
    "title": "note",
    "type": "object",
    "properties": {"_id": {"type": "string"}, "copy": {"type": ["string", "null"]}},
    "required": ["_id"],
}


class Heard(BaseCallbackHandler):
    """What callbacks hear."""

    def __init__(self):
        self.models, self.ends, self.tokens = [], 0, []

    def on_chat_model_start(self, *_, metadata=None, **__):
        self.models.append(metadata["ls_provider"])

    def on_llm_end(self, *_, **__):
        self.ends += 1

    def on_llm_new_token(self, token, **_):
        self.tokens.append(token)


def faulty(faults):
    """A test whose provider meets these faults."""
    return pytest.mark.parametrize("faults", [faults], ids=["faulty"])


@pytest.fixture
def faults():
    return ()


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    """The ledger of the environment, which has no keys."""
    for field in Settings.model_fields.values():
        for variable in field.validation_alias.choices:
            monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AIDEON_LEDGER", f"sqlite:///{tmp_path / 'ledger.db'}")
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


_NUMBERS = itertools.count(1)


@pytest.fixture
def provider(ledger, faults, monkeypatch):
    """A server that has the small models of two providers, in the environment."""
    with SimulatedProvider(faults=faults, announce=False) as running:
        for name in ("TOGETHER", "OPENAI"):
            monkeypatch.setenv(f"{name}_API_KEY", f"clerk-{next(_NUMBERS)}")  # a breaker of its own
            monkeypatch.setenv(f"{name}_BASE_URL", running.base_url)
        yield running


@pytest.fixture
def called():
    """What a tool was called with."""
    return []


@pytest.fixture
def price(called):
    def price(item: str) -> str:
        """The price of an item."""
        called.append(item)
        return "$4,000"

    return price


def rows(ledger):
    """Every row of the ledger, oldest first."""
    return [call for one in reversed(ledger.runs()) for call in ledger.calls(one.run_id)]


def same_as_bill(ledger, provider):
    """Whether each request has one row, and the tokens are those of the bill."""
    known = rows(ledger)
    assert len(known) == len(provider.requests)
    told = [one for one in known if one.usage_source == "reported"]
    assert sum(one.output_tokens for one in told) == provider.bill.output_tokens
    return known


@pytest.mark.parametrize(
    ("size", "primary"),
    [
        ("small", "Qwen/Qwen3.5-9B"),
        ("medium", "openai/gpt-oss-120b"),
        ("large", "deepseek-ai/DeepSeek-V4-Pro-0813"),
    ],
)
def test_a_size_is_a_rung_of_the_catalog(provider, ledger, size, primary):
    assert chat_model(size).invoke(PUMPS).text == PUMPS
    (row,) = same_as_bill(ledger, provider)
    assert row.requested_model == primary
    assert (row.status, row.role, row.candidate, row.attempt) == ("ok", "executor", 0, 1)
    assert row.cost_nanousd > 0


def test_a_call_outside_of_every_run_is_a_run_of_its_own(provider, ledger):
    chat_model("small", tier="free", purpose="trial").invoke(PUMPS)
    chat_model("small").with_config(run_name="summary").invoke(PUMPS)
    second, first = ledger.runs()
    assert (first.workflow, first.status, first.tier) == ("chat_model", "completed", "free")
    assert first.user
    assert (second.workflow, second.tier) == ("summary", "premium")
    assert [one.purpose for one in same_as_bill(ledger, provider)] == [
        "trial",
        None,
    ]


async def test_every_way_to_ask_works_and_has_one_row(provider, ledger):
    model = chat_model("small")
    pipe = ChatPromptTemplate.from_template("{task}") | model | StrOutputParser()
    said = [
        model.invoke(PUMPS).text,  # synchronous, inside a running event loop
        (await model.ainvoke([("human", PUMPS)])).text,
        "".join(chunk.text for chunk in model.stream(PUMPS)),
        "".join([chunk.text async for chunk in model.astream(PUMPS)]),
        *(one.text for one in model.batch([PUMPS, PUMPS])),
        *(one.text for one in await model.abatch([PUMPS, PUMPS])),
        pipe.invoke({"task": PUMPS}),
        "".join([chunk async for chunk in pipe.astream({"task": PUMPS})]),
        model.with_retry().invoke(PUMPS).text,
        model.with_fallbacks([chat_model("large")]).invoke(PUMPS).text,
        model.bind(temperature=0, max_tokens=77).invoke(PUMPS).text,
        (await model.agenerate([[HumanMessage(PUMPS)]])).generations[0][0].text,
        (await asyncio.to_thread(model.generate, [[HumanMessage(PUMPS)]])).generations[0][0].text,
    ]
    assert said == [PUMPS] * len(said)
    assert len(same_as_bill(ledger, provider)) == len(said)
    bound = [one.body for one in provider.requests if one.body.get("max_tokens") == 77]
    assert [one["temperature"] for one in bound] == [0]
    assert {one.status for one in ledger.runs()} == {"completed"}


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
async def test_events_of_a_stream_have_one_row_in_every_version(provider, ledger):
    model = chat_model("small")
    kinds = [one["event"] async for one in model.astream_events(PUMPS, version="v2")]
    assert kinds.count("on_chat_model_start") == kinds.count("on_chat_model_end") == 1
    assert "on_chat_model_stream" in kinds
    stream = await model.astream_events(PUMPS, version="v3")
    assert (await stream.output).text == PUMPS
    assert len(same_as_bill(ledger, provider)) == 2


@faulty([Fault(503)] * 3)
def test_retries_and_fallbacks_have_a_row_each(provider, ledger):
    heard = Heard()
    assert chat_model("small").invoke(PUMPS, {"callbacks": [heard]}).text == PUMPS
    known = same_as_bill(ledger, provider)
    assert [(one.candidate, one.attempt, one.status) for one in known] == [
        (0, 1, "error"),
        (0, 2, "error"),
        (0, 3, "error"),
        (1, 1, "ok"),
    ]
    # Each attempt is a model for callbacks, and the chain itself is none.
    assert (len(heard.models), heard.ends) == (4, 1)
    assert len(ledger.runs()) == 1


@faulty([Fault(503)] * 3)
def test_without_fallback_only_the_primary_is_asked(provider, ledger):
    with pytest.raises(Exception, match="503"):
        chat_model("small", fallback=False).invoke(PUMPS)
    assert {one.candidate for one in same_as_bill(ledger, provider)} == {0}
    assert ledger.runs()[0].status == "failed"


@faulty([Fault("cut_after_first_token", after_tokens=2)])
async def test_a_stream_that_breaks_off_raises_and_has_its_row(provider, ledger):
    chunks = chat_model("small").astream(PUMPS)
    assert [(await anext(chunks)).text.strip() for _ in range(2)] == ["Heat", "pumps"]
    with pytest.raises(Partial):
        await anext(chunks)
    (row,) = rows(ledger)
    assert (row.status, row.cost_nanousd) == ("broken", None)  # what was sent may be charged


@faulty([Fault("cut_after_first_token")])
async def test_an_agent_that_is_watched_falls_back_after_a_cut(provider, ledger):
    agent = create_agent(chat_model("small"), [])
    shown = [message.text async for message, _ in agent.astream(QUESTION, stream_mode="messages")]
    assert "".join(shown).endswith(PUMPS)
    assert len(shown) > 3  # token by token
    assert [one.status for one in rows(ledger)] == ["broken", "ok"]


async def test_a_stream_that_is_closed_early_is_cancelled(provider, ledger):
    chunks = chat_model("small").astream(PUMPS)
    async with contextlib.aclosing(chunks):
        await anext(chunks)
    (row,) = rows(ledger)
    assert row.status == "cancelled"
    assert ledger.runs()[0].status == "cancelled"


async def test_a_stream_that_is_closed_early_ends_the_run_of_a_handler(provider, ledger):
    chunks = chat_model("small").astream(PUMPS, {"callbacks": [CostHandler(ledger)]})
    async with contextlib.aclosing(chunks):
        await anext(chunks)
    assert [one.status for one in ledger.runs()] == ["cancelled"]
    assert [one.status for one in rows(ledger)] == ["cancelled"]


@faulty(Fault("hang"))
async def test_a_call_that_is_cancelled_has_its_row(provider, ledger):
    asking = asyncio.create_task(chat_model("small").ainvoke(PUMPS))
    while not provider.requests:
        await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert [one.status for one in rows(ledger)] == ["cancelled"]


@faulty([Fault(429, retry_after=0.1)])
def test_a_rate_limit_is_waited_for(provider, ledger):
    assert chat_model("small", on_rate_limit="wait").invoke(PUMPS).text == PUMPS
    known = same_as_bill(ledger, provider)
    assert [(one.candidate, one.attempt) for one in known] == [(0, 1), (0, 2)]


@pytest.mark.parametrize(
    ("schema", "kind"), [(Facts, Facts), (Note, dict), (NOTE, dict), (list[Facts], list)]
)
def test_an_answer_has_the_shape_of_a_schema(provider, ledger, schema, kind):
    answer = chat_model("small").with_structured_output(schema).invoke(PUMPS)
    assert isinstance(answer, kind)
    if schema is Note:
        assert list(answer) == ["title", "words"]
    if schema is NOTE:
        assert list(answer) == ["_id", "copy"]
    assert len(same_as_bill(ledger, provider)) == 1


async def test_the_raw_answer_is_given_beside_the_parsed_one(provider):
    typed = chat_model("small").with_structured_output(Facts, include_raw=True)
    both = await typed.ainvoke(PUMPS)
    assert Facts.model_validate_json(both["raw"].text) == both["parsed"]
    assert both["parsing_error"] is None


def test_a_wrong_answer_is_an_error_or_stands_beside_it(provider, tmp_path):
    scripted = ScriptedChatModel(answers=["none"] * 4)
    typed = chat_model(scripted, ledger=tmp_path / "own.db")
    both = typed.with_structured_output(Facts, include_raw=True).invoke(PUMPS)
    assert (both["raw"].text, both["parsed"]) == ("none", None)
    assert "no Facts" in str(both["parsing_error"])
    with pytest.raises(Exception, match="no Facts"):
        typed.with_structured_output(Facts).invoke(PUMPS)
    with Ledger(tmp_path / "own.db") as own:
        assert len(rows(own)) == 4


@pytest.mark.parametrize("choice", ["any", "required", True, "price"])
def test_a_tool_is_called_where_one_must_be(provider, ledger, price, choice):
    answer = chat_model("small").bind_tools([price], tool_choice=choice).invoke(PUMPS)
    assert [one["name"] for one in answer.tool_calls] == ["price"]
    (request,) = provider.requests
    assert request.body["tool_choice"] != "any"  # a word of LangChain, not of the provider
    same_as_bill(ledger, provider)


@faulty([Fault(503)] * 3)
def test_an_agent_of_langchain_asks_our_chain(provider, ledger, price, called):
    handler = CostHandler(ledger, workflow="clerk")
    agent = create_agent(chat_model("small"), [price], response_format=Facts)
    done = agent.invoke(QUESTION, {"callbacks": [handler]})
    assert isinstance(done["structured_response"], Facts)
    assert called
    (only,) = ledger.runs()
    assert (only.run_id, only.workflow, only.status) == (handler.run_id, "clerk", "completed")
    known = same_as_bill(ledger, provider)
    assert {one.node_path for one in known} == {"model"}
    assert [one.status for one in known] == ["error", "error", "error", "ok", "ok"]


def typed():
    return chat_model("small").with_structured_output(Facts)


def with_own_handler(handler):
    model = chat_model("small")
    model.callbacks = [handler]
    return model


@pytest.mark.parametrize(
    "made",
    [
        lambda handler: typed().with_fallbacks([typed()]).with_config(callbacks=[handler]),
        lambda handler: with_own_handler(handler).with_structured_output(Facts),
        lambda handler: RunnableLambda(with_own_handler(handler).invoke),
        lambda handler: chat_model("small").with_config(callbacks=[handler]),
    ],
)
@pytest.mark.parametrize("waits", [True, False])
def test_all_that_is_asked_inside_a_call_is_one_run_of_its_handler(provider, ledger, made, waits):
    handler = CostHandler(ledger, budget="0.000000001")
    asked = made(handler)
    with pytest.raises(BudgetExceeded):
        asyncio.run(asked.ainvoke(PUMPS)) if waits else asked.invoke(PUMPS)
    (only,) = ledger.runs()
    assert (only.run_id, only.stop_reason) == (handler.run_id, "budget")
    assert not provider.requests


async def test_the_budget_of_a_cost_handler_stops_an_agent(provider, ledger):
    handler = CostHandler(ledger, budget="0.00000001")
    agent = create_agent(chat_model("small"), [])
    with pytest.raises(BudgetExceeded):
        await agent.ainvoke(QUESTION, {"callbacks": [handler]})
    assert not provider.requests
    assert ledger.runs()[0].stop_reason == "budget"


def test_a_standing_limit_stops_a_call_outside_of_every_run(provider, ledger):
    chat_model("small").invoke(PUMPS)  # which shows that this address is not simulated
    ledger.set_budget("day", "0.00000001")
    with pytest.raises(BudgetExceeded):
        chat_model("small").invoke(PUMPS)
    assert len(provider.requests) == len(rows(ledger)) == 1
    assert [one.status for one in ledger.runs()] == ["stopped", "completed"]


async def test_below_ainvoke_callbacks_receive_one_model_and_the_ledger_each_attempt(
    provider, ledger
):
    heard, handler = Heard(), CostHandler(ledger, workflow="evaluation")
    questions = [[HumanMessage(PUMPS)]]
    await chat_model("small").agenerate(questions, callbacks=[heard, handler])
    assert (heard.models, heard.ends) == (["aideon"], 1)
    (row,) = same_as_bill(ledger, provider)
    assert (row.run_id, row.provider) == (handler.run_id, "together")
    assert [one.workflow for one in ledger.runs()] == ["evaluation"]


def test_rows_go_on_after_the_ledger_was_removed(provider, ledger, tmp_path):
    model = chat_model("small", ledger=tmp_path / "own.db")
    model.invoke(PUMPS)
    for one in tmp_path.glob("own.db*"):
        one.unlink()
    model.invoke(PUMPS)
    with Ledger(tmp_path / "own.db") as own:
        assert len(rows(own)) == 1


class Other(BaseModel):
    """The context of a graph that is not ours."""

    x: int = 1


@pytest.fixture
def office(price):
    """A workflow whose nodes ask the model themselves, directly and through agents of LangChain."""
    model = chat_model("small", purpose="clerks")
    agent = create_agent(model, [price])
    foreign = create_agent(model, [price], context_schema=Other)

    async def clerk(state: State):
        return (await agent.ainvoke({"messages": state["task"]}))["messages"][-1].text

    def copyist(state: State):
        return model.invoke(state["task"]).text

    async def stranger(state: State):
        given = {"messages": state["task"]}
        return (await foreign.ainvoke(given, context=Other()))["messages"][-1].text

    def filer(state: State):
        return model.with_structured_output(Facts).invoke(state["task"])

    return sequential(clerk, copyist, stranger, filer, name="office")


def test_calls_inside_a_run_belong_to_its_nodes(provider, ledger, office, called):
    result = run(office, PUMPS, ledger=ledger)
    assert result.status == "completed", result.error
    assert len(called) == 2
    known = same_as_bill(ledger, provider)
    assert [one.node_path for one in known] == [
        *("clerk", "clerk", "copyist"),
        *("stranger", "stranger", "filer"),
    ]
    assert {one.purpose for one in known} == {"clerks"}
    assert (len(ledger.runs()), result.cost.calls) == (1, 6)


def test_a_handler_of_a_call_does_not_take_it_out_of_its_run(provider, ledger, tmp_path):
    def clerk(state: State):
        with Ledger(tmp_path / "own.db") as own:
            config = {"callbacks": [CostHandler(ledger)]}
            answer = with_own_handler(CostHandler(own)).invoke(state["task"], config).text
            assert [own.calls(one.run_id)[0].status for one in own.runs()] == ["ok"]
        return answer

    result = run(sequential(clerk), PUMPS, ledger=ledger)
    assert result.cost.calls == 1, result.error
    assert [one.node_path for one in same_as_bill(ledger, provider)] == ["clerk"]
    refused = run(sequential(clerk), PUMPS, ledger=ledger, budget="0.000000001")
    assert refused.status == "stopped"
    assert len(provider.requests) == 1


@pytest.mark.parametrize("callbacks", [[], [Heard()], None])
def test_callbacks_of_a_call_do_not_take_it_out_of_its_run(provider, ledger, callbacks):
    def clerk(state: State):
        return chat_model("small").invoke(state["task"], {"callbacks": callbacks}).text

    result = run(sequential(clerk), PUMPS, ledger=ledger)
    assert (len(ledger.runs()), result.cost.calls) == (1, 1), result.error
    assert same_as_bill(ledger, provider)[0].node_path == "clerk"
    assert [one.ends for one in callbacks or ()] == [1] * len(callbacks or ())


def test_a_rehearsed_run_asks_nobody_and_calls_no_tool(provider, ledger, office, called):
    result = run(office, PUMPS, ledger=ledger, rehearse=True)
    assert (result.status, result.rehearsed) == ("completed", True), result.error
    assert (provider.requests, called) == ([], [])
    assert [one.rehearsed for one in rows(ledger)] == [True] * 4


def test_a_scripted_model_of_the_run_takes_the_place_of_the_chain(provider, ledger, office):
    scripted = ScriptedChatModel(answers=["one", "two", "three", {"facts": ["four"]}])
    result = run(office, PUMPS, ledger=ledger, model={"executor": scripted})
    assert result.results["filer"].data == Facts(facts=["four"]), result.error
    assert [result.results[one].content for one in ("clerk", "copyist", "stranger")] == [
        *("one", "two", "three")
    ]
    assert (len(scripted.requests), provider.requests) == (4, [])


@pytest.mark.parametrize("budget", ["0.00000001", Budget("1", nodes={"clerk": "0.00000001"})])
def test_the_budget_of_a_run_or_a_node_stops_its_calls(provider, ledger, office, budget):
    result = run(office, PUMPS, ledger=ledger, budget=budget)
    assert (result.status, result.stop_reason) == ("stopped", "budget")
    assert not provider.requests


async def test_calls_stream_where_the_run_does(provider, ledger, office):
    events = [one async for one in astream(office, PUMPS, ledger=ledger)]
    assert events[-1].result.status == "completed", events[-1].result.error
    assert "Token" in [type(one).__name__ for one in events]
    await arun(office, PUMPS, ledger=ledger)
    streamed = [bool(one.body.get("stream")) for one in provider.requests]
    assert streamed == [True] * 6 + [False] * 6


def test_offline_calls_are_rehearsed(monkeypatch, ledger, price, called):
    monkeypatch.setenv("AIDEON_OFFLINE", "1")
    assert chat_model("small").invoke(PUMPS).text == PUMPS
    agent = create_agent(chat_model("small"), [price], response_format=Facts)
    assert isinstance(agent.invoke(QUESTION)["structured_response"], Facts)
    assert not called
    assert {one.rehearsed for one in [*ledger.runs(), *rows(ledger)]} == {True}


def test_named_models_and_objects_are_asked_in_order(provider, ledger):
    other = FakeListChatModel(responses=["from the other"])
    model = chat_model(["together:no/such", other], role="creative", max_tokens=50)
    assert model.invoke(PUMPS).text
    (row,) = rows(ledger)
    assert (row.requested_model, row.role) == ("no/such", "creative")
    assert provider.requests[0].body["max_tokens"] == 50


def test_it_can_be_copied_and_pickled_and_shows_no_key():
    settings = Settings(together_api_key=SecretStr("sk-secret"), offline=True)
    model = chat_model("small", settings=settings)
    shown = f"{model!r} {model} {model._identifying_params} {model.model_dump()} {model.asdict()}"
    assert "secret" not in shown
    assert model.model_copy().invoke(PUMPS).text == PUMPS
    planner = chat_model("large", role="planner", temperature=0.5)
    again = pickle.loads(pickle.dumps(planner))  # noqa: S301 - our own
    assert again._identifying_params == {
        "model": "large",
        "role": "planner",
        "tier": None,
        "temperature": 0.5,
        "max_tokens": 2048,
    }
    assert chat_model(role="creative")._identifying_params["model"] == "creative"
    assert model.get_num_tokens(PUMPS) > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"model": "tiny"}, "'tiny' is no size of model: give small, medium, large"),
        ({"model": "nowhere:m"}, "unknown provider 'nowhere'"),
        ({"model": 3}, "model is a int"),
        ({"role": "clerk"}, "role must be planner, executor, validator or creative"),
        ({"tier": "gold"}, "tier must be free, premium or enterprise"),
        ({"max_tokens": 0}, "must be more than 0"),
        ({"temperature": "hot"}, "temperature must be a number"),
        ({"on_rate_limit": "run"}, "on_rate_limit must be wait or fallback"),
    ],
)
def test_an_argument_that_cannot_be_used_is_refused(arguments, says):
    with pytest.raises(UserError, match=says):
        chat_model(**arguments)


def test_an_agent_takes_the_names_of_one_and_refuses_one_that_chooses():
    named = executor("a", model=chat_model(["together:m", "openai:n"]))
    assert named.spec.request.model == ("together:m", "openai:n")
    with pytest.raises(UserError, match="complexity="):
        creative("b", model=chat_model("large"))
