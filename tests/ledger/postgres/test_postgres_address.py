"""An address is read as libpq reads it, and its password is nowhere to be seen."""

from __future__ import annotations

import subprocess
import sys

import pytest

from aideon_agents.errors import LedgerError
from aideon_agents.ledger.postgres.address import Address, names_a_server
from aideon_agents.ledger.redaction import one_line
from aideon_agents.ledger.store import Ledger

SECRET = "Tr0ub4dor"

LOADS = """
import sys
import aideon_agents.cli.app
from aideon_agents.ledger import checkpoints
from aideon_agents.ledger.store import Ledger

Ledger.from_url("sqlite:///ledger.db").close()
print(sorted({"psycopg", "psycopg_pool"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ada:Tr0ub4dor@db.example:6432/money", "ada@db.example:6432/money"),
        ("postgres://db.example", "db.example"),
        ("postgresql+psycopg://ada@db.example/money", "ada@db.example/money"),
        (" postgresql://ada@db/money?sslmode=require\n", "ada@db/money"),
        ("postgresql://db/money?user=ada&password=Tr0ub4dor", "ada@db/money"),
        ("postgresql:///money?host=/run/db&port=6432", "/money?host=/run/db&port=6432"),
        ("postgresql://ada%40corp:a%2FTr0ub4dor%40%25@db/m", "ada%40corp@db/m"),
        ("postgresql://a:5432,b:6432/money", "a:5432,b:6432/money"),
        ("postgresql://", ""),
    ],
)
def test_an_address_is_shown_without_its_password(url, shown):
    address = Address.read(url)
    assert address.shown == f"postgresql://{shown}"
    assert SECRET not in repr(address)


def test_what_an_address_does_not_say_is_set_and_what_it_says_stays():
    parameters = Address.read("postgresql://db/m?connect_timeout=3&sslmode=require").parameters
    assert (parameters["connect_timeout"], parameters["sslmode"]) == ("3", "require")
    assert (parameters["host"], parameters["application_name"]) == ("db", "aideon-agents")


def test_the_password_is_recognised_wherever_it_is_quoted():
    Address.read("postgresql://ada:correct-horse@db/m")
    assert one_line("FATAL: correct-horse") == "FATAL: [key]"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://ada:Tr0@ub4dor@db/m", "%40 for @"),
        ("postgresql://ada:Tr0/ub4dor@db/m", "%2F for /"),
        ("postgresql://ada:Tr0/ub4@dor@db/m", "%40 for @"),
        ("postgresql://ada:Tr0%ub4dor@db/m", "%25 for %"),
        ("postgresql:/ada:Tr0ub4dor@db/m", "cannot be read: write postgresql://user:password@"),
        ("postgresql://ada:Tr0ub4dor@db/m?colour=red", "cannot be read"),
        ("postgresql://[db/m?password=Tr0ub4dor", "cannot be read"),
    ],
)
def test_an_address_that_cannot_be_read_is_not_repeated(url, said):
    with pytest.raises(LedgerError, match=said) as refused:
        Ledger.from_url(url)
    assert "\n" not in str(refused.value)
    assert not any(piece in str(refused.value) for piece in ("Tr0", "ub4", "dor@"))
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "on_a_server"),
    [
        ("postgresql://db/m", True),
        ("POSTGRES://db/m", True),
        ("postgresql+psycopg://db/m", True),
        ("postgresql:/db/m", True),
        ("sqlite:///postgresql.db", False),
        ("postgresql.db", False),
        ("mysql://db/m", False),
    ],
)
def test_an_address_names_a_server_or_it_does_not(url, on_a_server):
    assert names_a_server(url) is on_a_server


@pytest.mark.parametrize("library", ["psycopg", "psycopg_pool"])
def test_without_the_extra_the_pip_line_is_said(monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(LedgerError, match=r"pip install 'aideon-agents\[postgres\]'"):
        Ledger.from_url("postgresql://db/m")


def test_whoever_has_a_file_waits_for_no_library_of_a_server(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LOADS], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
