"""The pytest plugin, in test sessions of their own: workflows are tested and nobody pays.

A session takes seconds to start, so the files of most tests below run in one: each is written down
where its test is, with `written`, and the test looks at what became of it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
ELSEWHERE = "http://0.0.0.0:9/v1"
"""No loopback address by its looks, yet nothing that is sent to it leaves this machine."""
PLUGIN = ("-p", "no:aideon", "-p", "aideon_agents.testing.plugin", "-p", "no:cacheprovider")
LIGHT = ("-p", "no:langsmith_plugin", "-p", "no:anyio")
"""Without the plugins of others that import LangChain."""

TOGETHER = {}
"""The files that run in one session, by name."""


def written(name, source):
    TOGETHER[f"test_{name}.py"] = source
    return f"test_{name}"


def outcomes_of(folder, files, *words, ini=""):
    """Run a session of files, in this order; gives each file's outcomes and what its failures say.

    Keys that look real are in its environment.
    """
    keys = {"TOGETHER_API_KEY": "a-real-key", "HF_TOKEN": "another-real-key"}
    environment = os.environ | keys | {"TOGETHER_BASE_URL": ELSEWHERE, "PYTHONPATH": str(ROOT)}
    environment.pop("AIDEON_OFFLINE", None)
    (folder / "pytest.ini").write_text(f"[pytest]\nasyncio_mode = auto\n{ini}")
    for name, source in files.items():
        (folder / name).write_text(textwrap.dedent(source))
    report = folder / "report.xml"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *PLUGIN, f"--junitxml={report}", *words, *files],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert report.exists(), done.stdout + done.stderr
    outcomes, messages = {}, {}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - pytest wrote it
        ends = list(case) or [case]
        name = case.get("classname")
        outcomes.setdefault(name, Counter()).update(
            {"failure": "failed", "error": "errors", "skipped": "skipped"}.get(end.tag, "passed")
            for end in ends
        )
        messages.setdefault(name, []).extend(end.get("message", end.text) for end in case)
    return outcomes, messages


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """The outcomes of the files that run together, and what their failures say."""
    return outcomes_of(tmp_path_factory.mktemp("session"), TOGETHER, "--strict-markers")


@pytest.fixture(scope="module")
def outcomes(session):
    return session[0]


OVER_HTTP = written(
    "over_http",
    """
    from aideon_agents import creative, run, sequential

    def test_it(simulated_provider, aideon_ledger):
        result = run(sequential(creative("draft")), "Heat pumps move heat.")
        assert result.status == "completed" and not result.rehearsed
        assert result.output == "Heat pumps move heat."
        assert simulated_provider.bill.requests == 1
        (run_row,) = aideon_ledger.runs()
        assert [call.status for call in aideon_ledger.calls(run_row.run_id)] == ["ok"]

    def test_the_next_one_starts_afresh(simulated_provider, aideon_ledger):
        assert simulated_provider.requests == []
        assert aideon_ledger.runs() == []
    """,
)


def test_a_workflow_is_tested_over_http_and_its_rows_are_at_hand(outcomes):
    assert outcomes[OVER_HTTP] == {"passed": 2}


BARE = written(
    "bare",
    """
    import pytest
    from aideon_agents import CostHandler, creative, sequential

    @pytest.mark.parametrize("nth", [1, 2])
    async def test_it(simulated_provider, aideon_ledger, nth):
        config = {"callbacks": [CostHandler(aideon_ledger)]}
        await sequential(creative("draft")).ainvoke({"task": "Heat pumps."}, config)
        assert simulated_provider.bill.requests == 1
    """,
)


def test_a_graph_that_is_invoked_bare_finds_the_provider_each_time(outcomes):
    assert outcomes[BARE] == {"passed": 2}


MARKED = written(
    "marked",
    """
    import pytest
    from aideon_agents import creative, run, sequential
    from aideon_agents.testing import Fault

    @pytest.mark.simulated_provider(faults=[Fault(404)], answer=lambda request: "Said.")
    def test_it(simulated_provider):
        result = run(sequential(creative("draft")), "A haiku.")
        assert (result.output, result.cost.calls, result.cost.failed_calls) == ("Said.", 2, 1)

    def test_no_breaker_remembers_it(simulated_provider):
        assert run(sequential(creative("draft")), "A haiku.").cost.calls == 1
    """,
)


def test_the_marker_says_what_goes_wrong(outcomes):
    assert outcomes[MARKED] == {"passed": 2}


ENVIRONMENT = written(
    "environment",
    """
    import os

    before = dict(os.environ)

    def test_it(simulated_provider):
        assert os.environ["TOGETHER_API_KEY"].startswith("simulated-")
        assert "HF_TOKEN" not in os.environ

    def test_after():
        changed = {k for k in before if os.environ.get(k) != before[k]}
        assert changed <= {"PYTEST_CURRENT_TEST"}
    """,
)


def test_the_environment_is_as_before_afterwards(outcomes):
    assert outcomes[ENVIRONMENT] == {"passed": 2}


TOLD = "Failed: this test asked a real provider at 0.0.0.0: take the fixture simulated_provider"
ASKING = written(
    "asking",
    """
    import pytest
    from aideon_agents import creative, run, sequential

    def ask(tmp_path):
        run(sequential(creative("draft")), "A haiku.", ledger=tmp_path / "l.db")

    def test_a_run(tmp_path):
        ask(tmp_path)

    async def test_a_bare_graph():
        await sequential(creative("draft")).ainvoke({"task": "A haiku."})

    def test_a_test_that_swallows_everything(tmp_path):
        try:
            ask(tmp_path)
        except BaseException:
            pass

    def test_a_test_that_fails_for_another_reason(tmp_path):
        try:
            ask(tmp_path)
        except BaseException:
            raise LookupError("no result")

    def test_one_that_asks_nobody():
        pass
    """,
)


def test_each_test_that_asks_a_real_provider_fails_and_says_so(session):
    outcomes, messages = session
    assert outcomes[ASKING] == {"failed": 4, "passed": 1}
    assert [message.partition(",")[0] for message in messages[ASKING]] == [TOLD] * 4


IMPORTS_NOTHING = """
    import sys

    def test_it():
        assert {"langchain_core", "openai", "h11"} & sys.modules.keys() == set()
"""
IMPORTS_INSIDE = """
    def test_it(tmp_path):
        from aideon_agents import creative, run, sequential
        run(sequential(creative("draft")), "A haiku.", ledger=tmp_path / "l.db")
"""


def test_nothing_heavy_is_imported_before_a_test_does_and_then_it_is_watched(tmp_path):
    files = {"test_nothing.py": IMPORTS_NOTHING, "test_inside.py": IMPORTS_INSIDE}
    outcomes, messages = outcomes_of(tmp_path, files, *LIGHT)
    assert outcomes == {"test_nothing": {"passed": 1}, "test_inside": {"failed": 1}}
    assert messages["test_inside"][0].startswith(TOLD)


FIXTURE = written(
    "fixture",
    """
    import pytest
    from aideon_agents import creative, run, sequential

    @pytest.fixture
    def asking(tmp_path):
        try:
            run(sequential(creative("draft")), "A haiku.", ledger=tmp_path / "l.db")
        except BaseException:
            pass

    def test_it(asking):
        pass

    def test_next():
        pass
    """,
)


def test_a_fixture_that_asks_a_real_provider_is_an_error_and_the_next_test_is_not_blamed(outcomes):
    assert outcomes[FIXTURE] == {"errors": 1, "passed": 1}


ALLOWED = """
    import pytest
    from aideon_agents import creative, run, sequential

    {mark}
    def test_it(tmp_path):
        result = run(sequential(creative("draft", timeout=0.05)), "A haiku.",
                     ledger=tmp_path / "l.db")
        assert result.status == "failed"
        assert "every model failed" in result.error
"""


PAYING = written("paying", ALLOWED.format(mark="@pytest.mark.aideon_real_providers"))


def test_a_marked_test_may_ask_a_real_provider(outcomes):
    assert outcomes[PAYING] == {"passed": 1}


def test_an_ini_option_lets_all_tests_ask_real_providers(tmp_path):
    files = {"test_paying.py": ALLOWED.format(mark="")}
    outcomes, _ = outcomes_of(tmp_path, files, ini="aideon_real_providers = true\n")
    assert outcomes == {"test_paying": {"passed": 1}}


LOCAL = written(
    "local",
    """
    import pytest
    from aideon_agents import Settings, creative, run, sequential
    from aideon_agents.testing import SimulatedProvider

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    def test_it(tmp_path, host):
        with SimulatedProvider() as server:
            url = server.base_url.replace("127.0.0.1", host)
            settings = Settings(together_api_key="key", together_base_url=url)
            graph = sequential(creative("draft"))
            done = run(graph, "A haiku.", settings=settings, ledger=tmp_path / "l.db")
            assert done.status == "completed"
    """,
)


def test_a_local_server_is_no_real_provider(outcomes):
    assert outcomes[LOCAL] == {"passed": 2}


CONNECTION = "Failed: this test opened a connection to "
OTHERS = written(
    "others",
    """
    import asyncio, socket, urllib.request
    import pytest
    from langchain.agents import create_agent
    from langchain_anthropic import ChatAnthropic
    from langchain_openai import ChatOpenAI

    OPENAI = ChatOpenAI(model="gpt-4o-mini", api_key="key", base_url="https://api.openai.com/v1")
    ANTHROPIC = ChatAnthropic(model="claude-haiku-4-5", api_key="key")

    def test_an_agent_with_a_model_of_its_own():
        create_agent(OPENAI, []).invoke({"messages": [("human", "hello")]})

    async def test_the_same_in_a_loop():
        await create_agent(OPENAI, []).ainvoke({"messages": [("human", "hello")]})

    def test_another_providers_client():
        ANTHROPIC.invoke("hello")

    async def test_another_providers_client_in_a_loop():
        await ANTHROPIC.ainvoke("hello")

    async def test_a_stream():
        async for _ in ANTHROPIC.astream("hello"):
            pass

    def test_one_that_swallows_everything():
        try:
            urllib.request.urlopen("http://192.0.2.1/")
        except BaseException:
            pass

    async def test_a_connection_of_a_loop():
        await asyncio.open_connection("192.0.2.1", 443)

    def test_a_thread():
        async def ask():
            await asyncio.to_thread(socket.create_connection, ("2001:db8::1", 443))
        asyncio.run(ask())

    def test_a_call_that_only_returns_an_error():
        with socket.socket() as one:
            one.connect_ex(("192.0.2.1", 443))
    """,
)


def test_models_and_clients_of_others_cannot_reach_a_real_provider_either(session):
    outcomes, messages = session
    assert outcomes[OTHERS] == {"failed": 9}
    hosts = [
        message.removeprefix(CONNECTION).partition(": take ")[0] for message in messages[OTHERS]
    ]
    assert hosts == [
        *["api.openai.com"] * 2,
        *["api.anthropic.com"] * 3,
        *["192.0.2.1"] * 2,
        "2001:db8::1",
        "192.0.2.1",
    ]


AT_HOME = written(
    "at_home",
    """
    import asyncio, socket
    from langchain.agents import create_agent
    from langchain_openai import ChatOpenAI

    async def echo(reader, writer):
        writer.write(await reader.readline())
        writer.close()

    async def test_a_server_that_listens_everywhere():
        server = await asyncio.start_server(echo, "0.0.0.0", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("localhost", port)
        writer.write(b"hello\\n")
        assert await reader.readline() == b"hello\\n"
        writer.close()
        server.close()

    def test_a_model_of_ones_own_asks_the_simulated_provider(simulated_provider):
        agent = create_agent(ChatOpenAI(model="gpt-4o-mini"), [])
        said = agent.invoke({"messages": [("human", "Heat pumps move heat.")]})
        assert said["messages"][-1].content == "Heat pumps move heat."
        assert simulated_provider.bill.requests == 1

    def test_own_address_by_a_socket_that_sends_nothing():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            try:
                one.connect(("192.0.2.1", 9))
            except OSError:
                pass  # there is no route
    """,
)


def test_what_stays_on_this_machine_works_as_ever(outcomes):
    assert outcomes[AT_HOME] == {"passed": 3}


def test_a_host_that_is_no_provider_can_be_allowed_and_a_proxy_hides_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    source = """
        import socket
        import httpx

        def test_a_database():
            with socket.socket() as one:
                one.settimeout(0.01)
                one.connect_ex(("192.0.2.1", 5432))

        def test_a_proxy():
            httpx.get("https://api.openai.com/v1/models")
    """
    ini = "aideon_allowed_hosts = 192.0.2.1 db\n"
    outcomes, messages = outcomes_of(tmp_path, {"test_hosts.py": source}, *LIGHT, ini=ini)
    assert outcomes == {"test_hosts": {"passed": 1, "failed": 1}}
    assert messages["test_hosts"][0].startswith(f"{CONNECTION}127.0.0.1")


def test_it_is_an_entry_point_so_that_installing_is_enough():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["entry-points"]["pytest11"] == {
        "aideon": "aideon_agents.testing.plugin"
    }


def test_the_markers_and_the_option_are_listed_with_pytests_own(pytester, monkeypatch):
    monkeypatch.setenv("TOGETHER_API_KEY", "a-real-key")
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    listed = pytester.runpytest(*PLUGIN, "--markers").stdout.str()
    assert re.search(r"@pytest\.mark\.simulated_provider\(\*\*options\)", listed)
    assert "@pytest.mark.aideon_real_providers" in listed
    assert "aideon_real_providers" in pytester.runpytest(*PLUGIN, "--help").stdout.str()
    assert os.environ["TOGETHER_API_KEY"] == "a-real-key"  # sessions inside this one left it
