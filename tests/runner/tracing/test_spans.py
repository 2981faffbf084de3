"""The spans of runs, in the memory of a tracer provider that the program has configured."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from aideon_agents import (
    Settings,
    abatch,
    aresume,
    arun,
    astream,
    creative,
    executor,
    iterative,
    parallel,
    planner,
    run,
    sequential,
    validator,
)
from aideon_agents.testing import Fault, ScriptedChatModel, SimulatedProvider

SECRET = "sk-proj-abcdefghijklmnopqrstuvwxyz123456"
PLAIN = Settings(together_api_key="key", user="ada")


class Seen:
    """The spans that have ended, as a tree by name."""

    def __init__(self):
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.provider = provider

    @property
    def spans(self):
        return sorted(self.exporter.get_finished_spans(), key=lambda one: one.start_time)

    def named(self, name):
        return [one for one in self.spans if one.name == name]

    def one(self, name):
        (span,) = self.named(name)
        return span

    def below(self, span):
        """The names of a span's children, sorted: those of branches start in any order."""
        inside = [one for one in self.spans if one.parent]
        return sorted(one.name for one in inside if one.parent.span_id == span.context.span_id)

    @property
    def text(self):
        return "".join(one.to_json() for one in self.spans)


@pytest.fixture
def seen(monkeypatch):
    found = Seen()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", found.provider)
    return found


@pytest.fixture
def own_tracer(seen):
    return trace.get_tracer("program")


async def test_a_run_its_nodes_and_its_calls_are_spans_below_each_other(seen, keyed, ledger):
    graph = sequential(
        planner(), parallel(executor("facts"), executor("risks"), name="both"), name="brief"
    )
    with SimulatedProvider(announce=False) as provider:
        result = await arun(graph, "Pumps.", settings=keyed(provider), ledger=ledger)
    root = seen.one("invoke_workflow brief")
    assert root.parent is None
    assert seen.below(root) == ["both", "invoke_agent planner"]
    assert seen.below(seen.one("both")) == ["invoke_agent facts", "invoke_agent risks"]
    rows = {row.call_id: row for row in ledger.calls(result.run_id)}
    calls = [one for one in seen.spans if one.kind is SpanKind.CLIENT]
    assert {one.attributes["aideon.call.id"] for one in calls} == rows.keys()
    for call in calls:
        row = rows[call.attributes["aideon.call.id"]]
        assert call.name == f"chat {row.requested_model}"
        (node,) = [one for one in seen.spans if one.context.span_id == call.parent.span_id]
        assert node.attributes["aideon.node_path"] == row.node_path
        assert node.attributes["gen_ai.agent.name"] == row.node_path.rpartition("/")[2]
        assert call.attributes["gen_ai.operation.name"] == "chat"
        assert call.attributes["gen_ai.provider.name"] == "together"
        assert call.attributes["gen_ai.response.model"] == row.response_model
        assert call.attributes["gen_ai.usage.input_tokens"] == row.input_tokens
        assert call.attributes["gen_ai.usage.output_tokens"] == row.output_tokens
        assert call.attributes["aideon.cost.usd"] == pytest.approx(float(row.usd))
    assert root.attributes["aideon.cost.usd"] == pytest.approx(float(result.cost.usd))
    assert root.attributes["aideon.cost.complete"] is True
    assert root.attributes["aideon.run.id"] == result.run_id
    assert root.status.status_code is StatusCode.UNSET
    assert {one.instrumentation_scope.schema_url for one in seen.spans} == {
        "https://opentelemetry.io/schemas/gen-ai/0.1.0"
    }


async def test_the_current_span_is_the_runs_parent_and_a_nodes_own_spans_are_below_it(
    seen, own_tracer, tmp_path
):
    def look_up(state):
        with own_tracer.start_as_current_span("query"):
            return "found"

    with own_tracer.start_as_current_span("request"):
        await arun(
            sequential(look_up, executor("a"), name="w"),
            "Pumps.",
            rehearse=True,
            settings=PLAIN,
            ledger=tmp_path / "l.db",
        )
        with own_tracer.start_as_current_span("after"):
            pass
    assert seen.below(seen.one("request")) == ["after", "invoke_workflow w"]
    assert seen.below(seen.one("look_up")) == ["query"]
    assert seen.below(seen.one("invoke_workflow w")) == ["invoke_agent a", "look_up"]


@pytest.mark.parametrize("way", ["run", "run in a thread", "astream"])
async def test_every_way_to_run_takes_the_current_span_over(seen, own_tracer, tmp_path, way):
    options = {"rehearse": True, "settings": PLAIN, "ledger": tmp_path / "l.db"}
    graph = sequential(executor("a"), name="w")
    with own_tracer.start_as_current_span("request"):
        if way == "run":
            run(graph, "Pumps.", **options)
        elif way == "astream":
            async for _ in astream(graph, "Pumps.", **options):
                pass
        else:
            await asyncio.to_thread(run, graph, "Pumps.", **options)
    assert seen.below(seen.one("request")) == ["invoke_workflow w"]
    assert len(seen.below(seen.one("invoke_agent a"))) == 1


async def test_a_run_in_a_thread_without_a_context_is_a_trace_of_its_own(
    seen, own_tracer, tmp_path
):
    options = {"rehearse": True, "settings": PLAIN, "ledger": tmp_path / "l.db"}
    graph = sequential(executor("a"), name="w")
    with own_tracer.start_as_current_span("request"):
        threads = [
            threading.Thread(target=run, args=(graph, f"Pumps {nth}."), kwargs=options)
            for nth in range(3)
        ]
        for one in threads:
            one.start()
        for one in threads:
            await asyncio.to_thread(one.join)
    runs = seen.named("invoke_workflow w")
    assert [one.parent for one in runs] == [None] * 3
    assert len({one.context.trace_id for one in runs}) == 3
    for one in runs:
        assert seen.below(one) == ["invoke_agent a"]


async def test_each_round_of_a_loop_has_its_spans(seen, tmp_path):
    bad = {"passed": False, "score": 0.2, "feedback": "Shorter."}
    good = {"passed": True, "score": 0.9, "feedback": ""}
    models = {
        "creative": ScriptedChatModel(answers=["Long.", "Short."]),
        "validator": ScriptedChatModel(answers=[bad, good]),
    }
    loop = iterative(creative("draft"), validator("check", criteria="short"), name="loop")
    await arun(
        sequential(loop, name="w"),
        "Pumps.",
        model=models,
        settings=PLAIN,
        ledger=tmp_path / "l.db",
    )
    assert seen.below(seen.one("loop")) == [
        "invoke_agent check",
        "invoke_agent check",
        "invoke_agent draft",
        "invoke_agent draft",
    ]
    for node in ("draft", "check"):
        spans = seen.named(f"invoke_agent {node}")
        assert [len(seen.below(one)) for one in spans] == [1, 1]
        assert [one.attributes["aideon.round"] for one in spans] == [1, 2]


async def test_an_error_has_its_kind_and_no_words(seen, tmp_path):
    def boom(state):
        raise ValueError(f"the prompt was Pumps, the key {SECRET}")

    result = await arun(
        sequential(executor("a"), boom, name="w"),
        "Pumps.",
        rehearse=True,
        settings=PLAIN,
        ledger=tmp_path / "l.db",
    )
    assert result.status == "failed"
    for name in ("boom", "invoke_workflow w"):
        span = seen.one(name)
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description is None
        assert span.attributes["error.type"] == "ValueError"
        assert not span.events
    assert seen.one("invoke_agent a").status.status_code is StatusCode.UNSET
    assert "Pumps" not in seen.text
    assert SECRET not in seen.text


async def test_each_attempt_is_a_span_and_a_failed_one_says_how(seen, keyed, ledger):
    with SimulatedProvider(announce=False, faults=[Fault(503)]) as provider:
        await arun(
            sequential(executor("a"), name="w"), "Pumps.", settings=keyed(provider), ledger=ledger
        )
    first, second = [one for one in seen.spans if one.kind is SpanKind.CLIENT]
    assert first.attributes["error.type"] == "Transient"
    assert first.status.status_code is StatusCode.ERROR
    assert [one.attributes["aideon.attempt"] for one in (first, second)] == [1, 2]
    assert second.status.status_code is StatusCode.UNSET
    assert len(seen.below(seen.one("invoke_agent a"))) == 2


async def test_an_unknown_cost_makes_the_runs_cost_a_lower_bound(seen, tmp_path):
    model = ScriptedChatModel(answers=["An answer."], model="nobody-sells-this")
    await arun(
        sequential(executor("a", model=model), name="w"),
        "Pumps.",
        settings=PLAIN,
        ledger=tmp_path / "l.db",
    )
    for one in ("invoke_agent a", "invoke_workflow w"):
        assert seen.one(one).attributes["aideon.cost.complete"] is False


@pytest.mark.parametrize("records", [True, False])
async def test_content_is_in_spans_only_where_it_is_recorded_and_never_a_key(
    seen, tmp_path, records
):
    @tool
    def look(what: str) -> str:
        """Look something up."""
        return f"found {what} {SECRET}"

    call = {"name": "look", "args": {"what": "the attic"}, "id": "call-1", "type": "tool_call"}
    asks = AIMessage(content="", tool_calls=[call])
    model = ScriptedChatModel(answers=[asks, "It is warm."])
    await arun(
        sequential(executor("a", model=model, tools=[look]), name="w"),
        f"Pumps {SECRET}",
        settings=PLAIN,
        ledger=tmp_path / "l.db",
        record_content=records,
    )
    used = seen.one("execute_tool look")
    assert used.attributes["gen_ai.tool.call.id"] == "call-1"
    assert seen.below(seen.one("invoke_agent a")) == [
        "chat scripted",
        "chat scripted",
        "execute_tool look",
    ]
    for words in ("Pumps", "the attic", "It is warm."):
        assert (words in seen.text) is records
    assert SECRET not in seen.text
    if records:
        last = seen.named("chat scripted")[1].attributes
        asked = json.loads(last["gen_ai.input.messages"])
        assert [one["role"] for one in asked] == ["system", "user", "assistant", "tool"]
        answer = {"role": "assistant", "parts": [{"type": "text", "content": "It is warm."}]}
        assert json.loads(last["gen_ai.output.messages"]) == [answer]


async def test_a_run_inside_a_node_is_below_it_and_its_calls_are_there_once(
    seen, own_tracer, tmp_path
):
    options = {"rehearse": True, "settings": PLAIN, "ledger": tmp_path / "l.db"}

    async def nested(state):
        with own_tracer.start_as_current_span("mine"):
            return (await arun(sequential(executor("a"), name="inner"), "Pumps.", **options)).output

    result = await arun(sequential(nested, name="outer"), "Pumps.", **options)
    assert seen.below(seen.one("invoke_workflow outer")) == ["nested"]
    assert seen.below(seen.one("nested")) == ["mine"]
    assert seen.below(seen.one("mine")) == ["invoke_workflow inner"]
    assert seen.below(seen.one("invoke_workflow inner")) == ["invoke_agent a"]
    (call,) = [one for one in seen.spans if one.kind is SpanKind.CLIENT]
    # The ledger counts the call to the outer run.
    assert call.attributes["aideon.run.id"] == result.run_id
    cost = pytest.approx(float(result.cost.usd))
    assert seen.one("nested").attributes["aideon.cost.usd"] == cost


async def test_a_run_that_waits_and_resumes_has_a_trace_each_with_its_run_id(seen, tmp_path):
    options = {"settings": PLAIN, "ledger": tmp_path / "l.db"}
    graph = sequential(executor("a", approve=True), executor("b"), name="w")
    waiting = await arun(graph, "Pumps.", rehearse=True, **options)
    assert seen.one("invoke_workflow w").attributes["aideon.status"] == "waiting"
    assert {one.status.status_code for one in seen.spans} == {StatusCode.UNSET}
    await aresume(graph, waiting.run_id, answer=True, **options)
    first, second = seen.named("invoke_workflow w")
    assert second.attributes["aideon.resumed"] is True
    assert second.attributes["aideon.run.id"] == first.attributes["aideon.run.id"]
    assert len(seen.named("invoke_agent b")) == 1


async def test_what_a_time_limit_cancels_ends_with_the_run(seen, tmp_path, pass_time, until):
    started = asyncio.Event()

    async def slow(state):
        started.set()
        await asyncio.Event().wait()

    work = asyncio.create_task(
        arun(
            sequential(slow, name="w"),
            "Pumps.",
            rehearse=True,
            settings=PLAIN,
            timeout=3600,
            ledger=tmp_path / "l.db",
        )
    )
    await started.wait()
    pass_time(3601)
    assert (await work).status == "stopped"
    assert seen.one("slow").attributes["error.type"] == "CancelledError"
    root = seen.one("invoke_workflow w").attributes
    assert (root["aideon.status"], root["aideon.stop_reason"]) == ("stopped", "timeout")
    assert root["error.type"] == "TimeLimit"


async def test_each_item_of_a_batch_is_a_run_with_its_batch(seen, own_tracer, tmp_path):
    with own_tracer.start_as_current_span("nightly"):
        made = await abatch(
            sequential(executor("a"), name="w"),
            ["One.", "Two."],
            tmp_path / "out.jsonl",
            rehearse=True,
            settings=PLAIN,
            ledger=tmp_path / "l.db",
        )
    runs = seen.named("invoke_workflow w")
    assert len(runs) == 2
    assert {one.attributes["aideon.batch.id"] for one in runs} == {made.batch_id}
    assert seen.below(seen.one("nightly")) == ["invoke_workflow w"] * 2


async def test_without_a_provider_of_the_program_nothing_is_traced(monkeypatch, seen, tmp_path):
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    options = {"rehearse": True, "ledger": tmp_path / "l.db"}
    result = await arun(executor("a"), "Pumps.", settings=PLAIN, **options)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", seen.provider)
    off = Settings(together_api_key="key", otel=False)
    await arun(executor("a"), "Pumps.", settings=off, **options)
    assert (result.status, seen.spans) == ("completed", [])
