"""A server that cannot be used as it is: one line that says why, before anything is paid."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import threading

import pytest
import warm

from aideon_agents.errors import LedgerError
from aideon_agents.ledger import schema
from aideon_agents.ledger.budgets.limits import Budget
from aideon_agents.ledger.checkpoints import open_checkpointer
from aideon_agents.ledger.costs import run_cost
from aideon_agents.ledger.postgres.address import Address
from aideon_agents.ledger.postgres.database import PostgresDatabase
from aideon_agents.ledger.postgres.functions import OF_STEP
from aideon_agents.ledger.rows import Run
from aideon_agents.ledger.schema import STEPS, for_postgres, table_names
from aideon_agents.ledger.store import Ledger

SECRET = "Tr0ub4dor"

OPENS = """
import sys
from aideon_agents.ledger.store import Ledger

print("up", flush=True)
sys.stdin.readline()
with Ledger.from_url(sys.argv[1]) as ledger:
    print(len(ledger.select("SELECT * FROM aideon_steps")), flush=True)
"""


def refusal(url):
    with pytest.raises(LedgerError) as refused, Ledger.from_url(url) as ledger:
        ledger.start_run(Run(workflow="w"))
    line = str(refused.value)
    assert "\n" not in line
    assert SECRET not in line
    assert line.startswith("the ledger postgresql://")
    return line


def schema_of(url):
    return url.rpartition("%3D")[2]


@pytest.fixture
def role(postgres):
    """Makes a role that may do only what it is granted."""
    made = []

    def make(name, *statements):
        postgres.execute(f"CREATE ROLE {name} LOGIN", *statements)
        made.append(name)
        return name

    yield make
    for name in made:
        postgres.execute(f"DROP OWNED BY {name}", f"DROP ROLE {name}")


@contextlib.contextmanager
def old_server():
    """Takes any login as Postgres 9.6 does, and says nothing more."""

    def status(name, value):
        said = f"{name}\0{value}\0".encode()
        return b"S" + struct.pack("!I", len(said) + 4) + said

    def greet():
        connection, _ = listening.accept()
        with connection:
            connection.recv(8)  # asks for encryption
            connection.sendall(b"N")
            connection.recv(4096)
            welcome = b"R" + struct.pack("!II", 8, 0)
            welcome += status("server_version", "9.6.24") + status("server_encoding", "UTF8")
            connection.sendall(welcome + b"Z" + struct.pack("!I", 5) + b"I")
            connection.recv(4096)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        greeting = threading.Thread(target=greet)
        greeting.start()
        yield listening.getsockname()[1]
        greeting.join()


def test_a_server_that_is_not_there_cannot_be_reached(tmp_path):
    line = refusal(f"postgresql://ada:{SECRET}@/money?host={tmp_path}")
    assert "cannot be reached: start its server, or mend its address in AIDEON_LEDGER (" in line
    assert "No such file or directory" in line


def test_a_port_where_nobody_listens_is_named():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    line = refusal(f"postgresql://ada:{SECRET}@127.0.0.1:{port}/money")
    assert f"ada@127.0.0.1:{port}/money cannot be reached" in line
    assert "Connection refused" in line


def test_a_database_that_is_missing_can_be_made(postgres):
    assert "is not there: CREATE DATABASE makes it" in refusal(postgres.url("nothing"))


@pytest.mark.parametrize("login", ["locked", f"locked:{SECRET}", f"nobody-known:{SECRET}"])
def test_a_login_that_is_wrong_is_said_without_the_password(postgres, role, login):
    role("locked", "ALTER ROLE locked PASSWORD 'another'")
    assert "does not take this user and password" in refusal(postgres.url(user=login))


def test_a_login_that_is_right_is_taken(postgres, role):
    role("locked", f"ALTER ROLE locked PASSWORD '{SECRET}'", "CREATE SCHEMA AUTHORIZATION locked")
    with Ledger.from_url(postgres.url(user=f"locked:{SECRET}")) as ledger:
        assert ledger.runs() == []
        assert SECRET not in repr(ledger)


def test_a_server_that_is_too_old_says_what_is_needed():
    with old_server() as port:
        line = refusal(f"postgresql://ada:{SECRET}@127.0.0.1:{port}/money?sslmode=prefer")
    assert line.endswith("is on Postgres 9: it needs 14 or newer")


def test_a_database_in_another_encoding_is_refused(postgres):
    postgres.execute("CREATE DATABASE latin ENCODING LATIN1 LOCALE 'C' TEMPLATE template0")
    assert "is in LATIN1: make its database again with ENCODING 'UTF8'" in refusal(
        postgres.url("latin")
    )


def test_a_ledger_of_a_newer_version_on_a_server_is_left_alone(postgres, postgres_url):
    Ledger.from_url(postgres_url).close()
    steps = f"{schema_of(postgres_url)}.aideon_steps"
    postgres.execute(f"INSERT INTO {steps} VALUES ('m999_wonders', '2030-01-01')")  # noqa: S608 - ours
    assert "newer version (m999_wonders): upgrade aideon-agents" in refusal(postgres_url)


def test_a_stream_that_broke_off_in_an_older_ledger_on_a_server_is_broken(
    postgres_url, monkeypatch, record
):
    older = tuple(one for one in STEPS if one.__name__ < "m008")
    monkeypatch.setattr(schema, "STEPS", older)
    with Ledger.from_url(postgres_url) as ledger:
        run_id = "01M7Z000000000000000000001"
        run = {"run_id": run_id, "workflow": "w", "status": "running", "rehearsed": 0}
        run |= {"host": "h", "pid": 1, "started_at": "2026-11-20T09:00:00.000Z"}
        values = {"run_id": run_id, "role": "", "node_path": "", "round": 1, "candidate": 0}
        values |= {"attempt": 1, "provider": "local", "requested_model": "m", "rehearsed": 0}
        values |= {"started_at": "2026-11-20T09:00:00.000Z"}
        calls = [
            {**values, "call_id": call_id, "status": status, "finish_reason": reason}
            for call_id, status, reason in (("1", "truncated", None), ("2", "ok", "LENGTH"))
        ]
        for table, row in (("runs", run), *(("calls", call) for call in calls)):
            names, places = ", ".join(row), ", ".join(f":{name}" for name in row)
            ledger.database.write(f"INSERT INTO {table} ({names}) VALUES ({places})", row)  # noqa: S608 - our names
    monkeypatch.undo()
    with Ledger.from_url(postgres_url) as ledger:
        record(ledger, run_id, end={"truncated": True})
        found = [(call.status, call.truncated) for call in ledger.calls(run_id)]
    assert found == [("broken", False), ("ok", True), ("ok", True)]


def test_somebody_elses_table_by_one_of_our_names_is_left_alone(postgres, postgres_url):
    schema = schema_of(postgres_url)
    postgres.execute(f"CREATE TABLE {schema}.calls (number text)")
    line = refusal(postgres_url)
    assert "something else by a name of the ledger's" in line
    assert '"calls"' in line
    assert postgres.execute(f"TABLE {schema}.calls") == ["SELECT 0"]
    assert postgres.execute(f"SELECT FROM pg_tables WHERE schemaname = '{schema}'") == ["SELECT 1"]


def test_tables_of_others_by_other_names_do_no_harm(postgres, postgres_url):
    postgres.execute(f"CREATE TABLE {schema_of(postgres_url)}.customers (name text)")
    with Ledger.from_url(postgres_url) as ledger:
        assert ledger.runs() == []


def test_a_search_path_that_leads_nowhere_is_named(postgres):
    url = postgres.url(options="&options=-csearch_path%3Dnowhere")
    assert "has no schema to make its tables in: CREATE SCHEMA" in refusal(url)


def test_a_role_that_may_make_no_tables_is_told_what_to_be_granted(postgres, postgres_url, role):
    schema = schema_of(postgres_url)
    name = role("newcomer", f"GRANT USAGE ON SCHEMA {schema} TO newcomer")
    line = refusal(postgres_url.replace("postgres@", f"{name}@"))
    assert "may not be used by this user: GRANT it USAGE and CREATE on the schema" in line
    assert line.endswith(f"(permission denied for schema {schema})")


def test_a_role_that_may_only_read_reads_reports_and_starts_nothing(postgres, postgres_url, role):
    schema = schema_of(postgres_url)
    with Ledger.from_url(postgres_url) as ledger:
        run_id = ledger.start_run(Run(workflow="w"))
    grants = ("USAGE ON SCHEMA", "SELECT ON ALL TABLES IN SCHEMA")
    name = role("reader", *(f"GRANT {grant} {schema} TO reader" for grant in grants))
    url = postgres_url.replace("postgres@", f"{name}@")
    with Ledger.from_url(url) as ledger:
        assert ledger.find_run("last").run_id == run_id
        assert run_cost(ledger, "last").calls == 0
        with pytest.raises(LedgerError, match="permission denied for table"):
            ledger.database.check()
    assert "(permission denied for table runs)" in refusal(url)


def test_a_role_that_is_read_only_by_setting_is_told_so(postgres, postgres_url, role):
    Ledger.from_url(postgres_url).close()
    schema = schema_of(postgres_url)
    name = role("cautious", f"GRANT ALL ON SCHEMA {schema} TO cautious")
    postgres.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {name}")
    postgres.execute(f"ALTER ROLE {name} SET default_transaction_read_only = on")
    assert "can only be read here: name the primary server" in refusal(
        postgres_url.replace("postgres@", f"{name}@")
    )


def test_a_role_without_a_connection_left_is_told_so(postgres, role):
    name = role("crowded", "ALTER ROLE crowded CONNECTION LIMIT 0")
    assert "has no connection left: end some" in refusal(postgres.url(user=name))


def test_a_transaction_that_is_in_the_way_for_too_long_is_said(postgres_url):
    address = Address.read(postgres_url)
    with Ledger(PostgresDatabase(address)) as holder:
        # Another server process than the holder's, as another client's would be.
        patient = PostgresDatabase(
            Address.read(f"{postgres_url}&application_name=b"), busy_seconds=0.05
        )
        with contextlib.closing(patient), holder.database.transaction() as tx:
            tx.select("SELECT 1", {})
            for _ in range(2):
                with pytest.raises(LedgerError, match="is locked by another process: wait"):
                    Ledger(patient).start_run(Run(workflow="w"), Budget(1))
        assert holder.runs() == []


def test_processes_that_make_one_ledger_at_once_make_it_once(postgres_url):
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = ["-c", OPENS, postgres_url]
    opening = [warm.Process(command, text=True, **piped) for _ in range(4)]
    assert [process.stdout.readline() for process in opening] == ["up\n"] * 4
    for process in opening:  # all are up before any of them asks
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60) for process in opening]
    assert said == [(f"{len(STEPS)}\n", "")] * 4


@pytest.mark.parametrize("taken", range(1, len(STEPS)))
def test_an_older_ledger_on_a_server_takes_the_steps_that_it_lacks(
    postgres, postgres_url, tmp_path, taken
):
    before = PostgresDatabase(Address.read(postgres_url))
    schema = schema_of(postgres_url)
    with contextlib.closing(before):
        whole = shape(before)
    postgres.execute(f"DROP SCHEMA {schema} CASCADE", f"CREATE SCHEMA {schema}")
    make_older(postgres_url, taken)
    with Ledger.from_url(postgres_url) as ledger:
        assert shape(ledger.database) == whole
        steps = [row["name"] for row in ledger.select("SELECT name FROM aideon_steps")]
        assert sorted(steps) == [step.__name__ for step in STEPS]


def test_the_runs_of_an_older_ledger_on_a_server_keep_their_order_before_new_ones(postgres_url):
    make_older(postgres_url, [step.__name__ for step in STEPS].index("m014_order_of_beginning"))
    import psycopg

    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for name, day in (("01NEW", "2030-01-02"), ("01OLD", "2030-01-01"), ("01B", "2030-01-02")):
            connection.execute(
                "INSERT INTO runs (run_id, workflow, status, rehearsed, host, pid, started_at)"
                " VALUES (%s, 'w', 'completed', 0, 'h', 1, %s)",
                [name, day],
            )
    with Ledger.from_url(postgres_url) as ledger:
        new = [ledger.start_run(Run(workflow="w")) for _ in range(2)]  # by a clock before 2030
        found = [run.run_id for run in ledger.runs()]
        assert found == [*new[::-1], "01NEW", "01B", "01OLD"]


def make_older(url, taken):
    """A ledger as it was when there were only so many steps."""
    import psycopg

    class Older:
        def execute(self, sql):
            connection.execute(for_postgres(sql))

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            'CREATE TABLE aideon_steps (name TEXT COLLATE "C" PRIMARY KEY, taken_at TEXT NOT NULL)'
        )
        for step in STEPS[:taken]:
            step(Older())
            for statement in OF_STEP.get(step.__name__, ()):
                connection.execute(statement)
            connection.execute("INSERT INTO aideon_steps VALUES (%s, 'before')", [step.__name__])


def shape(database):
    """Every column of every table, and every index."""
    columns = (
        "SELECT table_name, column_name, ordinal_position, data_type, is_nullable, column_default,"
        " collation_name FROM information_schema.columns WHERE table_schema = current_schema()"
        " ORDER BY table_name, ordinal_position"
    )
    indexes = "SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema() ORDER BY 1"
    return [dict(row) for sql in (columns, indexes) for row in database.select(sql, {})]


def test_tables_on_a_server_have_the_columns_of_those_in_a_file(postgres_url, tmp_path):
    types = {"INTEGER": "bigint", "TEXT": "text"}
    with Ledger.from_url(postgres_url) as there, Ledger(tmp_path / "ledger.db") as here:
        made = [row for row in shape(there.database) if "table_name" in row]
        for table in table_names():
            in_file = here.select(f"PRAGMA table_info({table})")
            on_server = [
                row
                for row in made
                if row["table_name"] == table and row["column_name"] != "begun"  # a file's rowid
            ]
            assert [row["column_name"] for row in on_server] == [row["name"] for row in in_file]
            assert [row["data_type"] for row in on_server] == [
                types.get(row["type"], row["type"].lower()) for row in in_file
            ]
            for row, twin in zip(on_server, in_file, strict=True):
                nothing_allowed = bool(twin["notnull"] or twin["pk"])
                assert (row["is_nullable"] == "NO") is nothing_allowed, row["column_name"]
                assert row["collation_name"] == ("C" if row["data_type"] == "text" else None)
        assert len(table_names()) >= 8


async def test_no_connection_waits_without_end_or_stays_in_a_transaction(postgres_url):
    limits = (
        "SELECT current_setting('lock_timeout') AS lock,"
        " current_setting('idle_in_transaction_session_timeout') AS idle"
    )
    with Ledger.from_url(postgres_url) as ledger:
        found = [dict(*ledger.select(limits))]
        async with open_checkpointer(ledger, []) as checkpointer:
            found.append(await (await checkpointer.conn.execute(limits)).fetchone())
    assert found == [{"lock": "15s", "idle": "5s"}] * 2
