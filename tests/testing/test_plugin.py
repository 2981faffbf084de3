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
