"""A process that is killed after a provider has answered, and before its call is settled."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
from decimal import Decimal

import warm

from aideon_agents import image, run, sequential
from aideon_agents.ledger.store import Ledger
from aideon_agents.media.rehearsal import png

DIES = """
import os, signal, sys
from aideon_agents import image, run, sequential
from aideon_agents.media import attempts

note = attempts.files.note

def noted(*given):
    note(*given)
    os.kill(os.getpid(), signal.SIGKILL)

attempts.files.note = noted
run(sequential(image()), "A red house", tier="free", budget="1", ledger=sys.argv[1])
"""


def test_a_killed_process_leaves_the_file_and_its_money_counts_as_spent(together, folder):
    picture = base64.b64encode(png(1024, 1024)).decode()
    together.says("generations", {"data": [{"b64_json": picture}]})
    path = folder / "ledger.db"
    killed = warm.run(["-c", DIES, str(path)], stderr=subprocess.PIPE, cwd=folder)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(together.asked) == 1
    with Ledger(path) as ledger:
        (dead,) = ledger.runs()
        (call,) = ledger.calls(dead.run_id)
        assert (dead.status, call.status, call.cost_nanousd) == ("crashed", "started", None)
        (row,) = ledger.select("SELECT sha256, call_id FROM artifacts")
        assert row["call_id"] == call.call_id
        assert [one.name for one in (folder / "artifacts").rglob("*.png")] == [
            f"{row['sha256'][2:]}.png"
        ]
        assert not list((folder / "artifacts").glob(".partial*"))
        again = run(sequential(image()), "A red house", tier="free", ledger=ledger, budget="1")
        assert again.status == "completed"
        ledger.budgets.forfeit_dead()
        holds = {one["call_id"]: one["status"] for one in ledger.select("SELECT * FROM holds")}
        assert holds[call.call_id] == "forfeited"
        spent = ledger.select(
            "SELECT spent_nanousd AS spent FROM accounts WHERE account LIKE 'day:%'"
        )
    billed = [json.loads(body)["n"] for *_, body in together.asked]
    price = Decimal("0.0027") * 1024 * 1024 * 1000
    assert {row["spent"] for row in spent} == {sum(billed) * round(price)}
