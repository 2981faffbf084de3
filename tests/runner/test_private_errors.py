"""An error shows how a wrong answer begins; the ledger keeps that only where it was asked to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langgraph.types import interrupt
from pydantic import BaseModel

from aideon_agents import Ledger, Settings, executor, run, sequential
from aideon_agents.ledger.redaction import quoted, stored_line
from aideon_agents.models.faults import unreadable
from aideon_agents.testing import SimulatedProvider

if TYPE_CHECKING:
    from pathlib import Path

SAID = 'My "secret" answer is \\ forty-two'


class Facts(BaseModel):
    facts: list[str]


def test_a_wrong_answer_is_shown_to_the_caller_and_kept_out_of_the_ledger(tmp_path: Path):
    file = tmp_path / "ledger.db"
    with SimulatedProvider(answer=lambda _: SAID) as provider, Ledger(file) as ledger:
        settings = Settings(
            together_api_key="a-key-of-mine", together_base_url=provider.base_url, offline=False
        )
        result = run(executor("facts", output=Facts), "Task.", settings=settings, ledger=ledger)
        kept = ledger.find_run(result.run_id).error
    assert "secret" in (result.error or "")
    assert kept is not None
    assert "every model failed" in kept
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"secret" not in stored
    assert b"forty-two" not in stored


def test_a_question_to_a_person_is_shown_and_kept_out_of_the_ledger(tmp_path: Path):
    graph = sequential(lambda _state: interrupt({"draft": SAID}))
    with Ledger(tmp_path / "ledger.db") as ledger:
        result = run(graph, "Task.", rehearse=True, ledger=ledger)
    assert result.questions[0]["question"] == {"draft": SAID}
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("ledger.db*"))
    assert b"secret" not in stored


def test_a_refusal_and_an_answer_that_cannot_be_read_are_kept_out_of_the_ledger():
    unread = unreadable("together:m", f"got {SAID}")
    assert "secret" in str(unread)
    assert stored_line(f"{unread}; and more") == (
        "together:m sent an answer that cannot be read; and more"
    )
    assert stored_line("together:m refused" + quoted(SAID)) == "together:m refused"
