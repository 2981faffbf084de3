"""`aideon backup` and `aideon restore`: what they say, and whom they refuse."""

from __future__ import annotations

import subprocess
import sys

import pytest

HOLDS = """
import sys
from aideon_agents.ledger.store import Ledger
ledger = Ledger(".aideon/ledger.db")
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def ran(aideon):
    assert aideon("run", "one.py", "--task", "Pumps move heat.").code == 0
    return aideon("runs", "list", "--json").document[0]["run_id"]


def test_a_ledger_comes_back_as_it_was(ran, aideon, folder):
    saved = aideon("backup", "copies/first.tar.gz")
    assert saved.code == 0
    assert saved.out.startswith("saved .aideon/ledger.db in copies/first.tar.gz: 2 files, ")
    assert "AIDEON_KEY_RING" in saved.err
    assert aideon("run", "one.py", "--task", "Later.").code == 0
    assert "exists: --force moves it aside" in aideon("restore", "copies/first.tar.gz").complaint
    back = aideon("restore", "copies/first.tar.gz", "--force")
    assert back.code == 0
    assert back.out.startswith("restored .aideon/ledger.db as it was at 20")
    assert "ledger.db.replaced-" in back.err
    assert [one["run_id"] for one in aideon("runs", "list", "--json").document] == [ran]


def test_both_print_one_document(ran, aideon, folder):
    saved = aideon("backup", "copy", "--json").document
    assert saved.keys() == {"path", "made_at", "files", "bytes"}
    back = aideon("restore", "copy", "--force", "--json").document
    assert back.keys() == {"ledger", "made_at", "files", "bytes", "aside"}
    assert [back[name] for name in ("made_at", "files", "bytes")] == [
        saved[name] for name in ("made_at", "files", "bytes")
    ]
    assert len(back["aside"]) == 2


def test_a_ledger_that_a_process_has_open_is_not_replaced(ran, aideon, folder):
    aideon("backup", "copy")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout.readline() == "open\n"
        refused = aideon("restore", "copy", "--force")
        assert refused.code == 2
        assert "ledger.db is in use: stop the service, the workers" in refused.complaint
        holder.communicate()
    assert aideon("restore", "copy", "--force").code == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("backup", "copy"), "there is no ledger .aideon/ledger.db: name it with AIDEON_LEDGER"),
        (("backup", "one.py"), "there is no ledger"),
        (("restore", "copy"), "copy is not a backup"),
        (("restore", "one.py"), "one.py is not a backup"),
        (("restore", "."), "manifest.json is missing"),
    ],
)
def test_a_mistake_is_one_line(aideon, words, says):
    refused = aideon(*words)
    assert refused.code == 2
    assert says in refused.complaint


def test_a_backup_replaces_nothing(ran, aideon):
    refused = aideon("backup", "one.py")
    assert refused.code == 2
    assert refused.complaint == "one.py exists: give each backup a new name"


@pytest.mark.parametrize(
    ("word", "tool"), [("backup", "pg_dump --format=custom"), ("restore", "pg_restore --clean")]
)
def test_a_server_has_its_own_tools(aideon, monkeypatch, word, tool):
    monkeypatch.setenv("AIDEON_LEDGER", "postgresql://ada:secret-word@127.0.0.1:1/x")
    refused = aideon(word, "copy")
    assert refused.code == 2
    assert tool in refused.complaint
    assert "secret-word" not in refused.complaint
