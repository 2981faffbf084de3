"""What a ledger's database promises, wherever it is: transactions that count or do not."""

from __future__ import annotations

import concurrent.futures
import subprocess
import threading

import pytest
import warm

from aideon_agents.errors import LedgerError
from aideon_agents.ledger.rows import Run

SETS = "UPDATE runs SET pid = :pid WHERE run_id = :run_id"
READS = "SELECT pid FROM runs WHERE run_id = :run_id"

COUNTS = """
import sys
from aideon_agents.ledger.store import Ledger

with Ledger.from_url(sys.argv[1]) as ledger:
    print("open", flush=True)
    sys.stdin.readline()
    for _ in range(50):
        with ledger.database.transaction() as tx:
            (row,) = tx.select("SELECT pid FROM runs", {})
            tx.write("UPDATE runs SET pid = :pid", {"pid": row["pid"] + 1})
"""


def set_pid(tx, run_id, pid):
    assert tx.write(SETS, {"run_id": run_id, "pid": pid}) == 1


def pid_of(ledger, run_id):
    return ledger.select(READS, {"run_id": run_id})[0]["pid"]


@pytest.fixture
def counter(ledger):
    """A run whose process id counts, from 0."""
    run_id = ledger.start_run(Run(workflow="counter"))
    ledger.database.write(SETS, {"run_id": run_id, "pid": 0})
    return run_id


def test_a_transaction_is_seen_by_others_when_it_has_ended_and_by_itself_before(
    ledger, another, counter
):
    elsewhere = another()
    with ledger.database.transaction() as tx:
        set_pid(tx, counter, 1)
        assert pid_of(elsewhere, counter) == 0
        assert tx.select(READS, {"run_id": counter})[0]["pid"] == 1
        assert pid_of(ledger, counter) == 1, "the ledger itself is in it, in this thread"
        ledger.database.write(SETS, {"run_id": counter, "pid": 2})
    assert pid_of(elsewhere, counter) == 2


@pytest.mark.parametrize("raised", [ValueError, UnicodeError, KeyboardInterrupt, GeneratorExit])
def test_what_is_raised_inside_undoes_it_and_comes_out_as_it_was(ledger, counter, raised):
    def write():
        with ledger.database.transaction() as tx:
            set_pid(tx, counter, 1)
            ledger.database.write(SETS, {"run_id": counter, "pid": 2})
            raise raised

    with pytest.raises(raised):
        write()
    assert pid_of(ledger, counter) == 0
    ledger.database.write(SETS, {"run_id": counter, "pid": 7})
    assert pid_of(ledger, counter) == 7, "statements commit by themselves again"


def test_a_statement_that_fails_undoes_the_ones_before(ledger, counter):
    def write():
        with ledger.database.transaction() as tx:
            set_pid(tx, counter, 1)
            tx.write("DELETE FROM elsewhere", {})

    with pytest.raises(LedgerError, match="elsewhere"):
        write()
    assert pid_of(ledger, counter) == 0
    with ledger.database.transaction() as tx:
        set_pid(tx, counter, 2)
    assert pid_of(ledger, counter) == 2


def test_a_transaction_in_a_transaction_is_a_mistake_that_undoes_both(ledger, counter):
    def nest():
        with ledger.database.transaction() as outer:
            set_pid(outer, counter, 1)
            with ledger.database.transaction():
                pytest.fail("it was begun")

    with pytest.raises(RuntimeError, match="inside"):
        nest()
    assert pid_of(ledger, counter) == 0
    with ledger.database.transaction() as tx:
        set_pid(tx, counter, 2)
    assert pid_of(ledger, counter) == 2


def test_what_another_thread_writes_meanwhile_stays_when_the_transaction_is_undone(ledger, counter):
    beside = ledger.start_run(Run(workflow="beside"))
    about_to = threading.Event()

    def write():
        about_to.set()
        ledger.database.write(SETS, {"run_id": beside, "pid": 7})

    other = threading.Thread(target=write)

    def undone():
        with ledger.database.transaction() as tx:
            set_pid(tx, counter, 1)
            other.start()
            about_to.wait()
            raise ValueError("undo")

    with pytest.raises(ValueError, match="undo"):
        undone()
    other.join()
    assert (pid_of(ledger, counter), pid_of(ledger, beside)) == (0, 7)


def test_no_transaction_of_another_thread_comes_between(ledger, counter):
    def count(_):
        with ledger.database.transaction() as tx:
            (row,) = tx.select(READS, {"run_id": counter})
            set_pid(tx, counter, row["pid"] + 1)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(200)))
    assert pid_of(ledger, counter) == 200


def test_no_transaction_of_another_process_comes_between(ledger, counter, ledger_url):
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = ["-c", COUNTS, ledger_url]
    counting = [warm.Process(command, **piped) for _ in range(3)]
    assert [process.stdout.readline() for process in counting] == ["open\n"] * 3
    assert [process.communicate("go\n", timeout=60) for process in counting] == [("", None)] * 3
    assert pid_of(ledger, counter) == 150


def test_a_closed_ledger_says_so_to_whoever_asks(ledger):
    ledger.close()
    ledger.close()
    for ask in (
        lambda: ledger.select("SELECT 1"),
        lambda: ledger.database.write("DELETE FROM runs", {}),
        lambda: ledger.database.transaction().__enter__(),
        ledger.database.check,
    ):
        with pytest.raises(LedgerError, match="was closed: open it again"):
            ask()


def test_one_of_two_on_the_same_ledger_goes_on_when_the_other_is_closed(ledger, another, counter):
    another().close()
    assert pid_of(ledger, counter) == 0


@pytest.mark.parametrize("value", [2**63, "\ud800"])
def test_a_value_that_fits_no_row_is_an_error_of_the_ledger(ledger, counter, value):
    with pytest.raises(LedgerError, match=f"ledger {ledger.database.name}".replace("?", r"\?")):
        ledger.database.write(SETS, {"run_id": counter, "pid": value})
    assert pid_of(ledger, counter) == 0


def test_a_sound_ledger_passes_its_check_and_keeps_what_it_has(ledger, counter, record):
    record(ledger, counter)
    before = [ledger.select(f"SELECT * FROM {table}") for table in ("runs", "calls", "holds")]  # noqa: S608 - ours
    ledger.database.check()
    after = [ledger.select(f"SELECT * FROM {table}") for table in ("runs", "calls", "holds")]  # noqa: S608 - ours
    assert [list(map(dict, rows)) for rows in after] == [list(map(dict, rows)) for rows in before]


def test_what_adds_up_is_a_whole_number_and_what_does_not_is_none(ledger, run_id, record):
    for nanousd in (2**53 + 1, 2**53 + 1):  # more than a float can count
        record(ledger, run_id, nanousd=nanousd)
    sums = "SELECT SUM(cost_nanousd) AS spent, COUNT(*) AS calls, MAX(round) AS round FROM calls"
    (row,) = ledger.select(sums)
    assert [(type(row[name]), row[name]) for name in ("spent", "calls", "round")] == [
        (int, 2**54 + 2),
        (int, 2),
        (int, 1),
    ]
    (row,) = ledger.select(f"{sums} WHERE run_id = :run_id", {"run_id": "none"})
    assert (row["spent"], row["calls"], row["round"]) == (None, 0, None)


def test_a_colon_in_a_literal_is_no_parameter_and_a_percent_sign_is_itself(ledger):
    (row,) = ledger.select(
        "SELECT 'a:b' AS colon, '100 %' AS percent, :name AS name", {"name": "x"}
    )
    assert dict(row) == {"colon": "a:b", "percent": "100 %", "name": "x"}


def test_ids_and_times_are_in_the_order_of_their_characters(ledger):
    ids = ["01B", "01a", "01A", "01-", "01_", "01é"]
    for run_id in ids:
        ledger.start_run(Run(workflow="w", run_id=run_id))
    rows = ledger.select("SELECT run_id FROM runs WHERE run_id > '01A' ORDER BY run_id")
    assert [row["run_id"] for row in rows] == sorted(one for one in ids if one > "01A")
