"""A test of a workflow: chosen answers, a real server that fails, and no bill. Run it with pytest."""

from pathlib import Path

import pytest

from aideon_agents import Ledger, Settings, creative, iterative, run, validator
from aideon_agents.testing import Fault, ScriptedChatModel, SimulatedProvider

graph = iterative(creative("draft"), validator("check", criteria="short"), max_rounds=3)


def test_the_writer_reads_what_to_change(tmp_path: Path) -> None:
    """`ScriptedChatModel` gives the answers of a list, and keeps what it was asked."""
    drafts = ScriptedChatModel(answers=["A long text.", "Short."])
    bad = {"passed": False, "score": 0.2, "feedback": "Make it shorter."}
    good = {"passed": True, "score": 0.9, "feedback": ""}
    models = {"creative": drafts, "validator": ScriptedChatModel(answers=[bad, good])}
    settings = Settings(offline=False)
    result = run(graph, "Pumps.", model=models, settings=settings, ledger=tmp_path / "ledger.db")
    assert result.output == "Short."
    assert "Make it shorter." in str(drafts.requests[1].messages)


def test_an_overloaded_server_is_asked_again(tmp_path: Path) -> None:
    """`SimulatedProvider` is a server on this machine, with faults and a bill."""
    with SimulatedProvider(faults=[Fault(503)]) as server, Ledger(tmp_path / "ledger.db") as ledger:
        settings = Settings(together_api_key="k", together_base_url=server.base_url, offline=False)
        result = run(graph, "Heat pumps.", settings=settings, ledger=ledger)
        assert [call.status for call in ledger.calls(result.run_id)] == ["error", "ok", "ok"]
        assert result.cost.output_tokens == server.bill.output_tokens


if __name__ == "__main__":
    raise SystemExit(pytest.main(["-q", "-W", "ignore", "-p", "no:cacheprovider", __file__]))
