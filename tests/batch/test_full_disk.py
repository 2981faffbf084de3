"""A disk that is full while OUT is written: one line says so, and everything done so far is kept.

The ledger is on a server: in a file, it might be the first to meet the limit.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import warm

from aideon_agents import Ledger

LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
from aideon_agents.cli.app import main
sys.exit(main(sys.argv[1:]))
"""
LONG = """
import asyncio
from aideon_agents import sequential

async def long(state):
    await asyncio.sleep(0.03)
    return state["task"] * 20_000

graph = sequential(long)
"""
SHORT = """
from aideon_agents import sequential

def short(state):
    return {"text": "x" * 1000}

graph = sequential(short)
"""
WORDS = ("batch", "long.py", "items.jsonl", "-o", "out.jsonl", "--max-concurrency", "2")


ITEMS = [{"id": str(number), "task": f"item {number}"} for number in range(40)]


@pytest.fixture
def on_server(folder, written, postgres_url, monkeypatch):
    """Makes the files and puts the ledger on the server; gives its address."""
    monkeypatch.setenv("AIDEON_LEDGER", postgres_url)
    (folder / "long.py").write_text(LONG, encoding="utf-8")
    written(ITEMS)
    return postgres_url


def test_a_full_disk_is_one_line_and_what_is_done_is_kept(on_server, lines, start, ended):
    limited = warm.run(["-c", LIMITED, *WORDS], capture_output=True, text=True)
    assert limited.returncode == 1, limited.stderr
    complaint = limited.stderr.splitlines()[-1]
    assert complaint == (
        "aideon: out.jsonl cannot be written any more (File too large): finished items are kept, and "
        "the same command continues once it can be written"
    )
    assert limited.stderr.count("aideon:") == 1
    begun = lines()
    assert [line["id"] for line in begun] == [item["id"] for item in ITEMS][: len(begun)]
    with Ledger.from_url(on_server) as ledger:
        done = len(ledger.select("SELECT * FROM items WHERE status = 'completed'"))
        assert done >= len(begun)
        assert len(ledger.select("SELECT * FROM outputs")) >= done - len(begun)
    rest = ended(start(*WORDS[1:]))
    assert rest.document["completed"] == 40, rest.err
    assert [line["id"] for line in lines()] == [item["id"] for item in ITEMS]
    with Ledger.from_url(on_server) as ledger:
        assert len(ledger.runs()) == 40
    assert json.loads(Path("out.jsonl").read_text().splitlines()[-1])["output"].startswith(
        "item 39"
    )


def test_another_out_that_has_no_room_loses_nothing(on_server, lines, start, ended):
    assert ended(start(*WORDS[1:])).code == 0
    elsewhere = [word.replace("out.jsonl", "out.csv") for word in WORDS]
    limited = warm.run(["-c", LIMITED, *elsewhere], capture_output=True, text=True)
    assert limited.returncode == 1, limited.stderr
    assert limited.stderr.splitlines()[-1].startswith("aideon: out.csv.jsonl cannot be written any")
    again = ended(start(*elsewhere[1:]))
    assert (again.code, again.document["completed"]) == (0, 40), again.err
    assert lines("out.csv.jsonl") == lines()
    with Ledger.from_url(on_server) as ledger:
        assert len(ledger.runs()) == 40


@pytest.mark.parametrize(("out", "most"), [("out.csv", 60_000), ("out.xlsx", 3_000)])
@pytest.mark.usefixtures("on_server")
def test_a_table_without_room_is_one_line_and_written_later(folder, start, ended, out, most):
    (folder / "long.py").write_text(SHORT, encoding="utf-8")
    words = [word.replace("out.jsonl", out) for word in WORDS]
    assert ended(start(*words[1:])).code == 0
    before = Path(out).read_bytes()
    assert len(before) > most
    limited = LIMITED.replace("3_000_000", str(most))
    failed = warm.run(["-c", limited, *words], capture_output=True, text=True)
    assert failed.returncode == 1, failed.stderr
    # Below this limit a measured process cannot save its coverage either, and says so at its end.
    errors = [one for one in failed.stderr.splitlines() if one.startswith("aideon: ")]
    told = (
        f"aideon: {folder}/{out} cannot be written (File too large): all results are in "
        f"{folder}/{out}.jsonl, and the same command writes it once it can be written"
    )
    assert errors == [told]
    assert Path(out).read_bytes() == before
    assert ended(start(*words[1:])).code == 0
