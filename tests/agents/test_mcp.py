"""MCP servers as tools, each a real one: a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.messages.tool import tool_call

from aideon_agents import Context, Ledger, Settings, arun, executor, sequential
from aideon_agents.agents import mcp_server
from aideon_agents.errors import StepFailed, UserError
from aideon_agents.models.answers.rehearsal import RehearsalChatModel
from aideon_agents.testing import GivenModels, ScriptedChatModel, SimulatedProvider

PUMPS = "Heat pumps move heat from outdoor air into a house."
SERVER = str(Path(__file__).with_name("mcp_calculator.py"))
CALCULATOR = mcp_server(sys.executable, [SERVER])


def call(name: str, **args: Any) -> AIMessage:
    return AIMessage("", tool_calls=[tool_call(name=name, args=args, id="c")])


async def asked(
    *answers: Any, tools: Any = (CALCULATOR,), tool_timeout: float = 20
) -> list[ToolMessage]:
    """The tool results that the model received, in the order of the calls."""
    model = ScriptedChatModel(answers=[*answers, "done"])
    graph = sequential(executor(tools=tools, tool_timeout=tool_timeout))
    await graph.ainvoke({"task": PUMPS}, context=Context(models=GivenModels(model)))
    results = model.requests[-1].messages
    return [message for message in results if isinstance(message, ToolMessage)]


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_servers_tools_are_called_over_stdin_and_stdout():
    results = await asked(call("add", a=1, b=2), call("draw"))
    assert [message.content for message in results] == ["3", "[image]"]


async def test_one_server_serves_all_rounds_of_a_node_and_ends_with_it():
    results = await asked(call("process"), call("process"))
    first, second = (int(str(message.content).split()[0]) for message in results)
    assert first == second != os.getpid()
    assert not is_running(first)


async def test_a_server_gets_the_environment_it_was_given_and_no_key(monkeypatch):
    monkeypatch.setenv("TOGETHER_API_KEY", "key-1234")
    server = mcp_server(sys.executable, [SERVER], env={"PRECISION": "2"})
    (results,) = await asked(call("process"), tools=[server])
    assert str(results.content).split()[1:] == ["None", "2"]


async def test_an_error_of_a_servers_tool_is_sent_to_the_model():
    divided, added = await asked(call("divide", a=1, b=0), call("add", a=1))
    assert divided.status == added.status == "error"
    assert divided.content == "Error: Error executing tool divide: division by zero"
    assert str(added.content).startswith("Error: Error executing tool add: 1 validation error")
    assert "\n" not in str(added.content)


async def test_a_servers_tools_work_beside_functions():
    def double(number: int) -> int:
        """Double a number."""
        return 2 * number

    results = await asked(
        call("add", a=1, b=2), call("double", number=3), tools=[CALCULATOR, double]
    )
    assert [message.content for message in results] == ["3", "6"]


async def test_a_function_and_a_servers_tool_of_the_same_name_are_the_callers_mistake():
    def add(a: int) -> int:
        """Add."""
        return a

    with pytest.raises(UserError, match="two tools are called 'add'"):
        await asked(tools=[CALCULATOR, add])


def test_a_graph_with_a_server_runs_from_synchronous_code():
    model = ScriptedChatModel(answers=[call("add", a=1, b=2), "It is 3."])
    graph = sequential(executor(tools=[CALCULATOR]))
    values = graph.invoke({"task": PUMPS}, context=Context(models=GivenModels(model)))
    assert values["results"]["executor"].content == "It is 3."


@pytest.mark.parametrize(
    ("command", "args", "reason"),
    [
        ("no-such-program", [], "FileNotFoundError: "),
        (sys.executable, ["-c", "import no_such_module"], "ModuleNotFoundError: No module named"),
        (sys.executable, ["-c", "pass"], "it closed the connection"),
    ],
)
async def test_a_server_that_does_not_start_fails_the_step_and_says_why(command, args, reason):
    with pytest.raises(StepFailed) as caught:
        await asked(tools=[mcp_server(command, args)])
    message = str(caught.value)
    assert message.startswith(f"the MCP server `{command}")
    assert f"did not start: {reason}" in message
    assert "\n" not in message


async def test_a_server_that_is_silent_for_too_long_is_ended(tmp_path, pass_time, until):
    noted = tmp_path / "process"
    source = f"import os, time; print(os.getpid(), file=open({str(noted)!r}, 'w')); time.sleep(600)"
    server = mcp_server(sys.executable, ["-c", source], timeout=600)
    asking = asyncio.create_task(asked(tools=[server]))
    await until(lambda: noted.exists() and noted.read_text().endswith("\n"))
    while not asking.done():  # each limit begins when the one before it is over
        pass_time(600)
        await asyncio.sleep(0.1)
    with pytest.raises(StepFailed, match=r"did not start within 600 s"):
        await asking
    assert not is_running(int(noted.read_text()))


async def test_a_server_that_dies_in_a_call_fails_the_step_with_its_last_words():
    with pytest.raises(StepFailed) as caught:
        await asked(call("die", last_words="out of paper, sk-1234567890"))
    expected = f"the MCP server `{sys.executable} {SERVER}` has died: out of paper, [key]"
    assert str(caught.value) == expected


async def test_a_server_that_dies_between_two_calls_fails_the_step(tmp_path):
    sign = tmp_path / "now"

    def after(_: Any) -> AIMessage:
        sign.touch()
        return call("add", a=1, b=2)

    with pytest.raises(StepFailed, match="has died"):
        await asked(call("die_soon", after=str(sign)), after, after, after)


async def test_a_node_that_is_cancelled_ends_its_server(tmp_path):
    noted, begun = [], asyncio.Event()

    async def wait() -> str:
        """Wait for ever."""
        begun.set()
        await asyncio.Event().wait()
        return ""

    def then(messages: Any) -> AIMessage:
        noted.append(int(str(messages[-1].content).split()[0]))
        return call("wait")

    running = asyncio.create_task(asked(call("process"), then, tools=[CALCULATOR, wait]))
    await begun.wait()
    assert is_running(noted[0])
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not is_running(noted[0])


async def test_a_rehearsal_starts_no_server():
    graph = sequential(executor(tools=[mcp_server("no-such-program")]))
    model = RehearsalChatModel(provider="together", model="m")
    values = await graph.ainvoke({"task": PUMPS}, context=Context(models=GivenModels(model)))
    assert values["results"]["executor"].content == PUMPS


async def test_a_run_that_loses_its_server_fails_in_one_line_and_keeps_its_rows(tmp_path):
    server = mcp_server(sys.executable, ["-c", "raise SystemExit('no licence')"])
    with SimulatedProvider() as provider, Ledger(tmp_path / "ledger.db") as ledger:
        settings = Settings(openai_api_key="key", openai_base_url=provider.base_url)
        node = executor(tools=[server], model="openai:m")
        result = await arun(node, PUMPS, settings=settings, ledger=ledger)
    assert result.status == "failed"
    assert str(result.error).endswith("did not start: no licence")
    assert provider.requests == []


@pytest.fixture
def port():
    """A calculator over HTTP."""
    command = [sys.executable, SERVER, "0"]  # any port; the server tells which
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        told = (re.search(r"running on http://127\.0\.0\.1:(\d+)", line) for line in process.stderr)
        yield next(int(one[1]) for one in told if one)
        process.kill()


def is_listened_to(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


async def test_a_servers_tools_are_called_over_http(port):
    server = mcp_server(url=f"http://127.0.0.1:{port}/mcp")
    results = await asked(call("add", a=1, b=2), call("divide", a=1, b=0), tools=[server])
    assert results[0].content == "3"
    assert results[1].content == "Error: Error executing tool divide: division by zero"


async def test_a_server_over_http_that_dies_fails_the_step_at_the_next_call(port, pass_time, until):
    server = mcp_server(url=f"http://127.0.0.1:{port}/mcp")
    answers = call("die", last_words=""), call("add", a=1, b=2)
    asking = asyncio.create_task(asked(*answers, tools=[server], tool_timeout=100))
    await until(lambda: not is_listened_to(port))
    while not asking.done():
        pass_time(100)
        await asyncio.sleep(0.1)
    with pytest.raises(StepFailed, match=f"`http://127.0.0.1:{port}/mcp` has died"):
        await asking


async def test_an_address_without_a_server_fails_the_step_and_keeps_what_is_secret_in_it():
    with pytest.raises(StepFailed) as caught:
        await asked(tools=[mcp_server(url="http://me:word@127.0.0.1:9/mcp?key=word")])
    assert str(caught.value).startswith("the MCP server `http://127.0.0.1:9/mcp` did not start: ")
    assert "word" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, "needs exactly one of command and url"),
        ({"command": "a", "url": "http://a"}, "needs exactly one of command and url"),
        ({"command": "a", "timeout": 0}, "timeout must be more than 0"),
        ({"command": "a", "prefix": "my notes"}, "use 1 to 64 letters, digits, _ and -"),
    ],
)
def test_a_description_of_no_server_is_refused(given, problem):
    with pytest.raises(UserError, match=f"mcp_server.*{problem}"):
        mcp_server(**given)


def test_without_the_extra_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "langchain_mcp_adapters", None)
    with pytest.raises(UserError, match=r"pip install 'aideon-agents\[mcp\]'"):
        mcp_server("a")


ODD = str(Path(__file__).with_name("mcp_odd.py"))
GIVEN = {"config": "a", "runtime": "b", "self": "c", "_x": "d"}


async def offered(*tools: Any) -> list[str]:
    """The names of the tools that the model is offered."""
    model = ScriptedChatModel(answers=["done"])
    graph = sequential(executor(tools=tools))
    await graph.ainvoke({"task": PUMPS}, context=Context(models=GivenModels(model)))
    return [tool["function"]["name"] for tool in model.requests[0].options["tools"]]


async def test_a_servers_tools_have_names_that_providers_accept_and_are_called_by_their_own():
    names = [
        "notes_search", "notes_search_2", "find_a_note", "n" * 64, f"{'n' * 60}_2", "search",
    ]  # fmt: skip
    server = mcp_server(sys.executable, [ODD, "a"])
    assert await offered(server) == names
    results = await asked(*(call(name) for name in names), tools=[server])
    own = ["notes.search", "notes/search", "find a note", "n" * 80, "n" * 80 + "x"]
    assert [str(one.content).split(" {")[0] for one in results[:5]] == [f"a {name}" for name in own]


async def test_arguments_of_a_servers_tool_may_have_any_name():
    server = mcp_server(sys.executable, [ODD, "a"])
    (result,) = await asked(call("notes_search", **GIVEN), tools=[server])
    assert result.content == f"a notes.search {GIVEN}"


async def test_structured_content_alone_is_sent_as_json_and_a_sound_is_named():
    server = mcp_server(sys.executable, [ODD, "ä"])
    structured, sound = await asked(call("search"), call("find_a_note"), tools=[server])
    assert structured.content == '{"word": "ä", "tool": "search", "given": {}}'
    assert sound.content == "ä find a note {}\n[audio]"


async def test_two_servers_with_tools_of_one_name_are_told_apart():
    first, second = (mcp_server(sys.executable, [ODD, word]) for word in "ab")
    names = await offered(first, second)
    assert len(set(names)) == len(names) == 12
    assert {"a_search", "b_search"} <= set(names)
    answers = call("a_search"), call("b_search")
    one, other = await asked(*answers, tools=[first, second])
    assert '"word": "a"' in str(one.content)
    assert '"word": "b"' in str(other.content)
    named = mcp_server(sys.executable, [ODD, "b"], prefix="notes")
    assert "notes_search" in await offered(named)
