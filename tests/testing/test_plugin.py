"""The pytest plugin, in test sessions of their own: workflows are tested and nobody pays."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
ELSEWHERE = "http://0.0.0.0:9/v1"
"""No loopback address by its looks, yet nothing that is sent to it leaves this machine."""


@pytest.fixture
def session(pytester, monkeypatch):
    """Runs tests in a process of their own; keys that look real are in its environment."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TOGETHER_API_KEY", "a-real-key")
    monkeypatch.setenv("TOGETHER_BASE_URL", ELSEWHERE)
    monkeypatch.setenv("HF_TOKEN", "another-real-key")
    monkeypatch.delenv("AIDEON_OFFLINE", raising=False)
    pytester.makeini("[pytest]\nasyncio_mode = auto\n")

    def run(source, *words, plugin="aideon_agents.testing.plugin"):
        pytester.makepyfile(source)
        return pytester.runpytest_subprocess(
            "-p", "no:aideon", "-p", plugin, "-p", "no:cacheprovider", "-q", *words
        )

    return run


def test_a_workflow_is_tested_over_http_and_its_rows_are_at_hand(session):
    done = session(
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
        """
    )
    done.assert_outcomes(passed=2)


def test_a_graph_that_is_invoked_bare_finds_the_provider_each_time(session):
    done = session(
        """
        import pytest
        from aideon_agents import CostHandler, creative, sequential

        @pytest.mark.parametrize("nth", [1, 2])
        async def test_it(simulated_provider, aideon_ledger, nth):
            config = {"callbacks": [CostHandler(aideon_ledger)]}
            await sequential(creative("draft")).ainvoke({"task": "Heat pumps."}, config)
            assert simulated_provider.bill.requests == 1
        """
    )
    done.assert_outcomes(passed=2)


def test_the_marker_says_what_goes_wrong(session):
    done = session(
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
        "--strict-markers",
    )
    done.assert_outcomes(passed=2)


def test_the_environment_is_as_before_afterwards(session):
    done = session(
        """
        import os

        before = dict(os.environ)

        def test_it(simulated_provider):
            assert os.environ["TOGETHER_API_KEY"].startswith("simulated-")
            assert "HF_TOKEN" not in os.environ

        def test_after():
            changed = {k for k in before if os.environ.get(k) != before[k]}
            assert changed <= {"PYTEST_CURRENT_TEST"}
        """
    )
    done.assert_outcomes(passed=2)


TOLD = "this test asked a real provider at 0.0.0.0: take the fixture simulated_provider"


def test_each_test_that_asks_a_real_provider_fails_and_says_so(session):
    done = session(
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
        """
    )
    done.assert_outcomes(failed=4, passed=1)
    assert done.stdout.str().count(f"\n{TOLD}") == 4


def test_an_import_inside_the_test_is_no_way_around(session):
    done = session(
        """
        def test_it(tmp_path):
            from aideon_agents import creative, run, sequential
            run(sequential(creative("draft")), "A haiku.", ledger=tmp_path / "l.db")
        """
    )
    done.assert_outcomes(failed=1)
    assert TOLD in done.stdout.str()


def test_a_fixture_that_asks_a_real_provider_is_an_error_and_the_next_test_is_not_blamed(session):
    done = session(
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
        """
    )
    done.assert_outcomes(errors=1, passed=1)


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


def test_a_marked_test_may_ask_a_real_provider(session):
    session(ALLOWED.format(mark="@pytest.mark.aideon_real_providers")).assert_outcomes(passed=1)


def test_an_ini_option_lets_all_tests_ask_real_providers(session, pytester):
    pytester.makeini("[pytest]\naideon_real_providers = true\n")
    session(ALLOWED.format(mark="")).assert_outcomes(passed=1)


def test_a_local_server_is_no_real_provider(session):
    done = session(
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
        """
    )
    done.assert_outcomes(passed=2)


def test_whoever_does_not_use_the_package_pays_nothing_for_it(session):
    done = session(
        """
        import sys

        def test_it():
            assert {"langchain_core", "openai", "h11"} & sys.modules.keys() == set()
        """,
        "-p",
        "no:langsmith_plugin",
        "-p",
        "no:anyio",
    )
    done.assert_outcomes(passed=1)


def test_it_is_an_entry_point_so_that_installing_is_enough():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["entry-points"]["pytest11"] == {
        "aideon": "aideon_agents.testing.plugin"
    }


def test_the_markers_and_the_option_are_listed_with_pytests_own(session):
    listed = session("", "--markers").stdout.str()
    assert re.search(r"@pytest\.mark\.simulated_provider\(\*\*options\)", listed)
    assert "@pytest.mark.aideon_real_providers" in listed
    assert "aideon_real_providers" in session("", "--help").stdout.str()
    assert os.environ["TOGETHER_API_KEY"] == "a-real-key"
