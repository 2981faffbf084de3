"""A private prompt goes to a server of one's own, or nowhere."""

from __future__ import annotations

import json
import logging
import sqlite3

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_core.tracers.langchain import LangChainTracer
from pydantic import BaseModel

from aideon_agents import (
    Settings,
    arun,
    chat_model,
    creative,
    executor,
    iterative,
    parallel,
    run,
    sequential,
    validator,
)
from aideon_agents.errors import PrivacyRule, UserError
from aideon_agents.models import catalog
from aideon_agents.models.choosing import Asked, choose
from aideon_agents.models.providers import providers
from aideon_agents.settings.providers import TABLE, ProviderRow, add_provider
from aideon_agents.state import ModelRequest
from aideon_agents.testing import Fault, ScriptedChatModel, SimulatedProvider

SECRET = "ann.secret@example.com"
PROMPT = f"Write to {SECRET} about heat pumps."


class Facts(BaseModel):
    facts: list[str]


@pytest.fixture(scope="module")
def servers():
    with SimulatedProvider(announce=False) as cloud, SimulatedProvider(announce=False) as own:
        yield cloud, own


class Places:
    """Settings for a cloud and a server of one's own, and what each has received since."""

    def __init__(self, servers, folder):
        self.cloud, self.own = servers
        self._before = [len(one.requests) for one in servers]
        self.file = folder / "ledger.db"
        clouds = dict.fromkeys(("together_base_url", "openai_base_url"), self.cloud.base_url)
        self.without = Settings(
            together_api_key="t" * 9, openai_api_key="o" * 9, ledger=str(self.file), **clouds
        )
        self.settings = self.without.model_copy(update={"local_base_url": self.own.base_url})

    @property
    def received(self) -> tuple[str, str]:
        cloud, own = (
            json.dumps([seen.body for seen in one.requests[before:]])
            for one, before in zip((self.cloud, self.own), self._before, strict=True)
        )
        return cloud, own

    def rows(self) -> list[dict]:
        with sqlite3.connect(self.file) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute("SELECT * FROM calls ORDER BY started_at")]

    def ledger_text(self) -> str:
        with sqlite3.connect(self.file) as db:
            return "\n".join(db.iterdump())


@pytest.fixture
def places(servers, tmp_path):
    return Places(servers, tmp_path)


WORKFLOWS = {
    "a node": executor,
    "a named cloud": lambda: executor(model=["together:openai/gpt-oss-120b", "openai:gpt-6-luna"]),
    "no fallback": lambda: executor(fallback=False),
    "a typed answer": lambda: executor(output=Facts),
    "a judge": lambda: iterative(
        creative("draft", model="local:any"), validator(criteria="short"), max_rounds=2
    ),
    "branches": lambda: parallel(executor("a"), creative("b")),
}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_private_prompt_is_answered_by_a_server_of_ones_own_alone(places, name):
    result = run(sequential(WORKFLOWS[name]()), PROMPT, settings=places.settings)
    assert result.error is None
    cloud, own = places.received
    assert cloud == "[]"
    assert SECRET in own
    for row in places.rows():
        assert row["provider"] == "local"
        assert json.loads(row["choice"]) == {"rule": "privacy", "private": "an email address"}


@pytest.mark.parametrize("name", sorted(WORKFLOWS.keys() - {"a judge"}))
def test_without_such_a_server_a_private_prompt_fails_and_leaves_no_trace(places, name, caplog):
    with caplog.at_level(logging.DEBUG):
        result = run(sequential(WORKFLOWS[name]()), PROMPT, settings=places.without)
    assert result.status == "failed"
    assert result.failed_node
    assert "holds an email address, and may not leave: set AIDEON_LOCAL_BASE_URL" in result.error
    assert places.received == ("[]", "[]")
    assert SECRET not in places.ledger_text() + caplog.text + result.error


def test_a_harmless_prompt_of_the_same_run_still_goes_to_a_cloud(places):
    graph = parallel(
        executor("secret", description=f"Write to {SECRET}."),
        executor("plain", description="Explain heat pumps."),
    )
    result = run(graph, "Heat pumps.", settings=places.settings)
    asked = {node.node_path: node.models[0].partition(":")[0] for node in result.nodes}
    assert {path.rpartition("/")[2]: asked[path] for path in asked} == {
        "secret": "local",
        "plain": "together",
    }


@pytest.mark.parametrize("fault", [Fault(500), Fault(401), Fault(400), Fault("garbage")])
def test_a_server_that_fails_and_repeats_the_prompt_leaves_no_trace(places, fault, caplog):
    echo = Fault(fault.kind, message=f"refused: {PROMPT}") if fault.kind == 400 else fault
    with SimulatedProvider(faults=echo, announce=False) as broken, caplog.at_level(logging.DEBUG):
        settings = places.settings.model_copy(update={"local_base_url": broken.base_url})
        result = run(executor(), PROMPT, settings=settings)
    assert result.status == "failed"
    assert places.received == ("[]", "[]")
    assert SECRET not in places.ledger_text() + caplog.text + result.error
    assert {row["provider"] for row in places.rows()} == {"local"}


def test_a_server_that_is_off_is_named_and_no_cloud_is_asked(places):
    settings = places.settings.model_copy(update={"local_base_url": "http://127.0.0.1:9/v1"})
    result = run(executor(), PROMPT, settings=settings)
    assert "may not leave: the local server at http://127.0.0.1:9/v1 does not list" in result.error
    assert places.received == ("[]", "[]")


def test_a_cloud_at_a_loopback_address_is_a_cloud(places):
    graph = executor(model="together:mine")
    assert run(graph, PROMPT, settings=places.without).status == "failed"
    assert places.received == ("[]", "[]")


@pytest.fixture
def ours(places):
    """Another server of one's own."""
    row = ProviderRow(name="ours", base_url=places.own.base_url, model="mine", private=True)
    add_provider(row)
    yield row
    del TABLE["ours"]


def test_a_deployment_that_is_marked_private_answers_private_prompts(places, ours):
    result = run(executor(), PROMPT, settings=places.without)
    assert result.error is None
    assert [row["provider"] for row in places.rows()] == ["ours"]


@pytest.mark.parametrize("fallback", [True, False])
def test_a_private_prompt_is_asked_the_models_that_choose_shows(places, ours, fallback):
    asked = Asked(private="an email address")
    request = ModelRequest(role="executor")
    with SimulatedProvider(faults=Fault(401), announce=False) as broken:
        settings = places.without.model_copy(update={"local_base_url": broken.base_url})
        shown = choose(request, "premium", catalog.load(), providers(settings), asked=asked)
        assert [str(one) for one in shown.chain] == ["local:any", "ours:mine"]
        result = run(executor(fallback=fallback), PROMPT, settings=settings)
    assert (result.status == "completed") == fallback
    providers_asked = [row["provider"] for row in places.rows()]
    assert providers_asked == (["local", "ours"] if fallback else ["local"])
    assert places.received[0] == "[]"


def test_a_model_of_langchain_is_a_cloud_and_a_scripted_one_is_not(places):
    given = GenericFakeChatModel(messages=iter([AIMessage("never")]))
    assert run(executor(model=given), PROMPT, settings=places.without).status == "failed"
    scripted = ScriptedChatModel(answers=["done"])
    assert run(executor(model=scripted), PROMPT, settings=places.without).output == "done"


@pytest.mark.parametrize("way", ["invoke", "stream", "typed", "bound", "batch"])
def test_chat_model_keeps_private_prompts_too(places, way):
    def ask(settings, text):
        model = chat_model(settings=settings)
        if way == "stream":
            return "".join(chunk.text for chunk in model.stream(text))
        if way == "typed":
            return model.with_structured_output(Facts).invoke(text)
        if way == "bound":
            return model.bind_tools([look_up]).invoke([HumanMessage(text)])
        return model.batch([text]) if way == "batch" else model.invoke(text)

    assert ask(places.settings, PROMPT)
    with pytest.raises(PrivacyRule) as refused:
        ask(places.without, PROMPT)
    assert refused.value.kind == "an email address"
    assert SECRET not in str(refused.value)
    assert places.received[0] == "[]"


@tool
def look_up(name: str) -> str:
    """Look a customer up."""
    return f"{name}: quiet"


def test_a_tool_gets_no_private_argument_unless_it_is_marked_as_local(places):
    call = {"name": "look_up", "args": {"name": SECRET}, "id": "1"}
    scripted = ScriptedChatModel(answers=[AIMessage("", tool_calls=[call]), "done"])
    refused = run(executor(tools=[look_up], model=scripted), "Ask.", settings=places.without)
    assert "a call of the tool look_up holds an email address, and may not leave" in refused.error
    assert SECRET not in refused.error
    marked = look_up.model_copy(update={"tags": ["local"]})
    scripted = ScriptedChatModel(answers=[AIMessage("", tool_calls=[call]), "done"])
    done = run(executor(tools=[marked], model=scripted), "Ask.", settings=places.without)
    assert done.output == "done"
    assert "quiet" in str(scripted.requests[-1].messages)


@pytest.mark.parametrize("name", ["id", "index", "data", "text", "signature"])
@pytest.mark.parametrize("form", ["{}", "data:{}", "data:text/plain,{}"])
def test_arguments_of_tool_calls_are_private_whatever_their_names(places, name, form):
    call = {"name": "look_up", "args": {"one": [{name: form.format(SECRET)}]}, "id": "1"}
    asked = [
        HumanMessage("Ask."),
        AIMessage("", tool_calls=[call]),
        ToolMessage("no", tool_call_id="1"),
    ]
    block = {"type": "tool_use", "id": "1", "name": "look_up", "input": call["args"]}
    for question in (asked, [HumanMessage([block])]):
        with pytest.raises(PrivacyRule):
            chat_model(settings=places.without).invoke(question)
    scripted = ScriptedChatModel(answers=[AIMessage("", tool_calls=[call]), "done"])
    refused = run(executor(tools=[look_up], model=scripted), "Ask.", settings=places.without)
    assert "may not leave" in refused.error
    assert places.received[0] == "[]"


def test_the_words_of_a_failing_tool_are_stored_unless_they_are_private(places, caplog):
    @tool
    def fails(name: str) -> str:
        """Fail."""
        raise ValueError(f"no customer {name}, but {SECRET}" if name == "Ann" else f"no {name}")

    calls = [{"name": "fails", "args": {"name": one}, "id": one} for one in ("Ann", "Bob")]
    scripted = ScriptedChatModel(answers=[AIMessage("", tool_calls=calls), "done"])
    with caplog.at_level(logging.DEBUG):
        assert run(executor(tools=[fails], model=scripted), "Ask.", settings=places.without).output
    assert SECRET in str(scripted.requests[-1].messages)
    with sqlite3.connect(places.file) as db:
        errors = {error for (error,) in db.execute("SELECT error FROM tool_calls")}
    assert errors == {"what it said is left out: it holds an email address", "ValueError: no Bob"}
    assert SECRET not in caplog.text
    assert "no Bob" in caplog.text


def test_what_a_tool_returns_makes_the_next_question_private(places):
    @tool
    def mail(name: str) -> str:
        """Say the address of a customer."""
        return f"{name} has {SECRET}"

    failed = run(executor(tools=[mail]), "Find the customer.", settings=places.without)
    assert failed.failed_node == "executor"
    assert failed.error.startswith("executor: the prompt holds an email address")
    assert SECRET not in places.received[0]
    result = run(executor(tools=[mail]), "Find the customer.", settings=places.settings)
    assert result.error is None
    assert SECRET not in places.received[0]
    assert SECRET in places.received[1]


def test_the_words_count_where_a_server_is_set_or_with_strict(places):
    text = "Write a confidential memo."
    assert run(executor(), text, settings=places.settings).nodes[0].models == ("local:simulated",)
    assert run(executor(), text, settings=places.without).status == "completed"
    strict = run(executor(), text, settings=places.without, privacy="strict")
    assert "holds the word 'confidential'" in strict.error


@pytest.mark.parametrize("privacy", ["on", "strict"])
def test_a_picture_is_private_with_strict_alone(places, privacy):
    uri = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
    result = run(executor(), "Hi", images=[uri], settings=places.without, privacy=privacy)
    assert ("holds a picture" in (result.error or "")) == (privacy == "strict")


@pytest.mark.parametrize(
    ("of_agent", "of_run", "stays"),
    [
        (None, None, True),
        (None, "off", False),
        ("off", None, False),
        ("off", "on", True),
        ("on", "off", True),
        ("strict", "off", True),
    ],
)
def test_the_stricter_of_the_run_and_the_agent_counts(places, of_agent, of_run, stays):
    result = run(executor(privacy=of_agent), PROMPT, settings=places.without, privacy=of_run)
    assert (result.status == "failed") is stays


def test_an_unknown_value_is_refused(places):
    with pytest.raises(UserError, match="privacy is 'loose': give off or on or strict"):
        run(executor(), "Ask.", settings=places.without, privacy="loose")
    with pytest.raises(UserError, match="privacy must be off, on or strict"):
        executor(privacy="loose")


def test_a_rehearsal_says_what_a_run_would_do_and_warns_once(places, caplog):
    graph = sequential(executor("a"), executor("b"))
    assert run(graph, PROMPT, settings=places.settings, rehearse=True).status == "completed"
    assert not caplog.records
    assert run(graph, PROMPT, settings=places.without, rehearse=True).status == "completed"
    warnings = [one.getMessage() for one in caplog.records]
    assert len(warnings) == 1
    assert "a real run would fail here: a prompt holds an email address" in warnings[0]
    would = [json.loads(row["choice"])["would"] for row in places.rows()]
    assert sorted(would) == ["ask local:any", "ask local:any", "fail", "fail"]


@pytest.mark.parametrize(
    ("task", "options", "model", "rule"),
    [
        ("Explain heat pumps.", {}, "together:Qwen/Qwen3.5-9B", "role"),
        ("ANALYZE the market.", {}, "together:openai/gpt-oss-120b", "content"),
        ("Analyze it.", {"complexity": "low"}, "together:Qwen/Qwen3.5-9B", "complexity"),
        ("Write a Python function.", {}, "huggingface:Qwen/Qwen3-Coder-Next:novita", "content"),
        ("Write a function.", {"model": "openai:gpt-6-luna"}, "openai:gpt-6-luna", "model"),
    ],
)
def test_the_words_of_a_task_choose_the_model(places, task, options, model, rule):
    clouds = {"hf_token": "h" * 9, "hf_base_url": places.cloud.base_url}
    settings = places.without.model_copy(update=clouds)
    result = run(executor(**options), task, settings=settings)
    assert result.nodes[0].models == (model,)
    (row,) = places.rows()
    assert json.loads(row["choice"])["rule"] == rule


def test_hard_words_never_ask_a_larger_model_than_the_tier_allows(places):
    result = run(executor(), "Analyze the market.", settings=places.without, tier="free")
    assert result.nodes[0].models == ("together:Qwen/Qwen3.5-9B",)


class _Client:
    """Keeps what a tracer would send to LangSmith."""

    def __init__(self):
        self.sent: list[object] = []
        self.tracing_queue = None

    def create_run(self, *given, **named):
        self.sent.append((given, named))

    def flush(self, *_, **__):
        """Send nothing."""

    def update_run(self, *given, **named):
        self.sent.append((given, named))


class _Listener(BaseCallbackHandler):
    def __init__(self):
        self.prompts: list[str] = []

    def on_chat_model_start(self, serialized, messages, **_):
        self.prompts.append(str(messages))


@pytest.mark.parametrize("way", ["invoke", "stream", "typed"])
async def test_a_private_call_is_not_traced_by_langsmith(places, way):
    client, listener = _Client(), _Listener()
    tracer = LangChainTracer(client=client)
    model = chat_model(settings=places.settings)
    config = {"callbacks": [tracer, listener]}
    for text in (PROMPT, "Heat pumps."):
        if way == "stream":
            assert [chunk async for chunk in model.astream(text, config)]
        elif way == "typed":
            assert await model.with_structured_output(Facts).ainvoke("Heat pumps.", config)
            chain = chat_model(settings=places.settings, model="together:x")
            assert await chain.ainvoke(text, config)
        else:
            assert await model.ainvoke(text, config)
    tracer.wait_for_futures()
    assert "Heat pumps." in repr(client.sent)
    assert SECRET not in repr(client.sent)
    # What a program gives itself hears of every call.
    assert any(SECRET in one for one in listener.prompts)


async def test_langsmith_in_the_environment_does_not_see_a_private_call(places, monkeypatch):
    seen: list[str] = []

    def starts(self, serialized, messages, **given):
        seen.append(str(messages))

    monkeypatch.setattr(LangChainTracer, "on_chat_model_start", starts)
    monkeypatch.setattr(LangChainTracer, "_persist_run", lambda *_: None)
    monkeypatch.setattr(LangChainTracer, "_persist_run_single", lambda *_: None)
    for name in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("LANGSMITH_ENDPOINT", places.cloud.base_url)
    monkeypatch.setenv("LANGSMITH_API_KEY", "l" * 9)
    result = await arun(executor(), PROMPT, settings=places.settings)
    assert result.error is None
    assert SECRET not in str(seen)
