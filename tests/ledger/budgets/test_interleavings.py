"""Whatever happens in whatever order: no limit is overspent, and accounts equal the rows.

Several ledgers on one file, and on one server, stand for several processes. A process that dies is a hold whose owner
is really gone; a process that was stopped for too long is a hold whose lease has run out. What
counts is worked out here once more from the tables, with no word of the ledger's own code.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import json
import sqlite3
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from aideon_agents.ledger.budgets.accounts import remove_limit, set_limit
from aideon_agents.ledger.budgets.limits import Budget
from aideon_agents.ledger.rows import Call, CallEnd, Run
from aideon_agents.ledger.store import Ledger

NANO = 10**9
TIMES = ("2026-11-30T23:59:59.999Z", "2026-12-01T00:00:00.000Z", "2026-12-02T00:00:00.000Z")
NODES = ("draft", "refine", "refine/draft")
PROVIDERS = ("together", "openai")
SCOPES = [
    *("run", "batch", "item", "item:b/1", "user", "user:ada", "tier:free", "node", "node:refine"),
    *("provider:openai", "day", "month", "day:user", "month:node:refine"),
]

amounts = st.integers(0, 20)
limits = st.integers(0, 60)
places = st.fixed_dictionaries(
    {
        "node_path": st.sampled_from(NODES),
        "provider": st.sampled_from(PROVIDERS),
        "at": st.sampled_from(TIMES),
    }
)
ledgers = st.integers(0, 2)


def keys_of(call, run):
    """The name of every account that a call can count in."""
    nodes = call["node_path"].split("/") if call["node_path"] else []
    plain = [("provider", call["provider"])]
    plain += [("node", "/".join(nodes[:end])) for end in range(1, len(nodes) + 1)]
    around = [("run", call["run_id"])]
    if run["batch_id"]:
        around += [("batch", run["batch_id"]), ("item", f"{run['batch_id']}/{run['item_id']}")]
    around += [(kind, run[kind]) for kind in ("user", "tier") if run[kind]]
    at = call["at"]
    for window in ((), ("day", at[:10]), ("month", at[:7])):
        if window:
            yield ":".join(window)
        for one in (*around, *plain):
            yield ":".join((*window, *one))
    for one in plain:
        yield ":".join(("run", call["run_id"], *one))


def applies(scope, key):
    """Whether a standing limit is about an account."""
    words, parts = scope.split(":"), key.split(":")
    if words[0] in {"day", "month"}:
        if parts[0] != words[0]:
            return False
        words, parts = words[1:], parts[2:]
    elif parts[0] in {"day", "month"}:
        return False
    if not words:
        return not parts
    return len(parts) == 2 and parts[: len(words)] == words


def _budget(total, node, provider):
    def usd(amount):
        return None if amount is None else f"{amount / NANO:.9f}"

    return Budget(
        usd(total),
        nodes={} if node is None else {"refine": usd(node)},
        providers={} if provider is None else {"openai": usd(provider)},
    )


class Interleavings(RuleBasedStateMachine):
    """Runs, limits, and calls in every state."""

    runs = Bundle("runs")
    held = Bundle("held")
    """Held, and not begun."""
    begun = Bundle("begun")
    """Their rows say started. Some have a hold."""

    def __init__(self):
        super().__init__()
        self.numbers = itertools.count(1)
        self.stack = contextlib.ExitStack()
        self.ledgers, self.db = self.opened()
        self.seen = {}
        self.excused = True
        """What the last step did may exceed a limit: it was no admission."""

    def opened(self):
        """Three ledgers in one place, and a way to its tables beside them."""
        path = Path(self.stack.enter_context(tempfile.TemporaryDirectory())) / "ledger.db"
        ledgers = [self.stack.enter_context(Ledger(path)) for _ in range(3)]
        beside = self.stack.enter_context(contextlib.closing(sqlite3.connect(path)))
        beside.row_factory = sqlite3.Row
        return ledgers, beside

    def teardown(self):
        with self.stack:
            self._rest()

    @initialize(target=runs, total=limits, scope=st.sampled_from(SCOPES), limit=limits)
    def begin_with_limits(self, total, scope, limit):
        set_limit(self.ledgers[0].database, scope, limit)
        return self._start_run(0, "ada", ("b", "1"), _budget(total, None, None))

    @rule(
        target=runs,
        where=ledgers,
        user=st.sampled_from([None, "ada", "bob"]),
        item=st.sampled_from([None, ("b", "1"), ("b", "2")]),
        budget=st.lists(st.none() | limits, min_size=3, max_size=3),
    )
    def start_run(self, where, user, item, budget):
        return self._start_run(where, user, item, _budget(*budget))

    def _start_run(self, where, user, item, budget):
        batch, number = item or (None, None)
        start = Run(workflow="w", user=user, tier="free", batch_id=batch, item_id=number)
        return self.ledgers[where].start_run(start, budget)

    @rule(where=ledgers, run=runs, total=st.none() | limits, node=st.none() | limits)
    def give_a_run_another_budget(self, where, run, total, node):
        self.ledgers[where].set_run_budget(run, _budget(total, node, None))
        self.excused = True

    @rule(where=ledgers, scope=st.sampled_from(SCOPES), limit=limits, warns=st.booleans())
    def set_limit(self, where, scope, limit, warns):
        set_limit(self.ledgers[where].database, scope, limit, warns=warns)
        self.excused = True

    @rule(where=ledgers, data=st.data())
    def remove_a_limit(self, where, data):
        rows = self.db.execute("SELECT scope FROM budgets ORDER BY scope").fetchall()
        if rows:
            scope = data.draw(st.sampled_from([row["scope"] for row in rows]))
            remove_limit(self.ledgers[where].database, scope)

    @rule(target=held, where=ledgers, run=runs, place=places, amount=amounts)
    def admit_one(self, where, run, place, amount):
        return self._admit(where, run, place, [amount])

    @rule(target=held, where=ledgers, run=runs, place=places, some=st.lists(st.none() | amounts))
    def admit_some(self, where, run, place, some):
        return self._admit(where, run, place, some)

    def _admit(self, where, run, place, some):
        given = []
        for amount in some:
            call = {**place, "run_id": run, "amount": amount, "where": where}
            call["call_id"] = f"call-{next(self.numbers)}"
            if self._is_admitted(call):
                given.append(call)
        return multiple(*given)

    def _is_admitted(self, call):
        """Ask, and see whether the answer is the right one."""
        amount = call["amount"]
        at = datetime.fromisoformat(call["at"])
        budget = self.ledgers[call["where"]].run_budget(call["run_id"])
        spent, on_hold = self._counted()
        enforced = self._limits(list(keys_of(call, self._runs()[call["run_id"]])))
        are_gone = self.db.execute(_GONE, (DEAD,)).fetchall()
        place = budget.dimensions(call["node_path"], call["provider"], at)
        refused = budget.budgets.take(call["call_id"], place, amount)
        if amount is None:
            assert bool(refused) == bool(enforced)
            assert refused is None or (refused.needed, refused.waits) == (None, False)
            return refused is None
        if are_gone:  # it may have looked after them
            spent, on_hold = self._counted()
            on_hold.subtract(dict.fromkeys(on_hold, 0 if refused else amount))
        never = amount and any(spent[key] + amount > limit for key, limit in enforced)
        full = amount and any(spent[key] + on_hold[key] + amount > limit for key, limit in enforced)
        if not are_gone:
            assert bool(refused) == bool(full)
        if refused is None:
            return True
        assert refused.waits is not never
        by = refused.by
        assert (by.spent, by.held) == (spent[by.account.key], on_hold[by.account.key])
        tightest = min(limit - spent[k] - (0 if never else on_hold[k]) for k, limit in enforced)
        assert tightest == by.limit - by.spent - (0 if never else by.held)
        return False

    @rule(target=begun, where=ledgers, call=consumes(held))
    def begin(self, where, call):
        self._write_start(where, call)
        return call

    @rule(target=begun, where=ledgers, run=runs, place=places, rehearsed=st.booleans())
    def begin_without_a_hold(self, where, run, place, rehearsed):
        call = {**place, "run_id": run, "amount": None, "where": where}
        call["call_id"] = f"call-{next(self.numbers)}"
        self._write_start(where, call, rehearsed=rehearsed)
        return call

    def _write_start(self, where, call, *, rehearsed=False):
        self.ledgers[where].start_call(
            Call(
                call_id=call["call_id"],
                run_id=call["run_id"],
                node_path=call["node_path"],
                provider=call["provider"],
                started_at=call["at"],
                role="",
                requested_model="m",
                rehearsed=rehearsed,
            )
        )

    @rule(call=consumes(held))
    def never_make_it(self, call):
        self.ledgers[call["where"]].budgets.release(call["call_id"])

    @rule(call=begun, where=ledgers)
    def let_go_of_one_under_way(self, where, call):
        self.ledgers[where].budgets.release(call["call_id"])

    @rule(where=ledgers, call=consumes(begun), share=st.none() | st.integers(0, 4))
    def settle(self, where, call, share):
        """An end: of unknown cost, or of some quarters of what was held. The first end stands."""
        most = 40 if call["amount"] is None else call["amount"]
        cost = None if share is None else most * share // 4
        self.excused = call["amount"] is None
        assert self._finish(where, call, cost)
        assert not self._finish(where, call, 7)

    def _finish(self, where, call, cost):
        end = CallEnd(status="ok", duration_ms=1, cost_nanousd=cost)
        return self.ledgers[where].finish_call(call["call_id"], end)

    @rule(call=begun, where=ledgers)
    def its_process_dies(self, call, where):
        self._lose("pid = ?, process_start = 'boot:1'", DEAD, call, where)

    @rule(call=held, where=ledgers)
    def its_process_dies_before_the_row(self, call, where):
        self._lose("pid = ?, process_start = 'boot:1'", DEAD, call, where)

    @rule(call=begun, where=ledgers)
    def its_lease_runs_out(self, call, where):
        self._lose("expires_at = ?", 0, call, where)

    @rule(call=consumes(begun), cost=amounts)
    def it_comes_back_when_it_was_given_up(self, call, cost):
        self._lose("expires_at = ?", 0, call, 1)
        most = 40 if call["amount"] is None else call["amount"]
        self.excused = call["amount"] is None
        assert self._finish(0, call, min(cost, most))

    def _lose(self, what, value, call, where):
        """Sometimes it is noticed only later, or never."""
        change = f"UPDATE holds SET {what} WHERE call_id = ?"  # noqa: S608 - written above
        with self.db:
            self.db.execute(change, (value, call["call_id"]))
        if where:
            self.ledgers[where].budgets.forfeit_dead()

    @invariant()
    def open_accounts_equal_the_rows(self):
        spent, on_hold = self._counted()
        for row in self.db.execute("SELECT * FROM accounts"):
            key = row["account"]
            assert (row["spent_nanousd"], row["held_nanousd"]) == (spent[key], on_hold[key]), key

    @invariant()
    def no_enforced_limit_is_exceeded(self):
        """But for what exceeded it when it was set, which can only become less."""
        spent, on_hold = self._counted()
        every = {key: spent[key] + on_hold[key] for key in {*spent, *on_hold}}
        for key, limit in self._limits(every):
            assert self.excused or every[key] <= max(limit, self.seen.get(key, 0)), key
        self.seen, self.excused = every, False

    def _limits(self, keys):
        rows = self.db.execute("SELECT * FROM budgets WHERE warns = 0").fetchall()
        own = {row["account"]: row["limit_nanousd"] for row in self.db.execute(_OWN)}
        found = [
            (key, row["limit_nanousd"])
            for key in keys
            for row in rows
            if applies(row["scope"], key)
        ]
        return found + [(key, own[key]) for key in keys if key in own]

    def _runs(self):
        return {row["run_id"]: dict(row) for row in self.db.execute("SELECT * FROM runs")}

    def _counted(self):
        """What is spent and held, by account: the rows, and the holds that stand for a row."""
        runs, spent, on_hold = self._runs(), collections.Counter(), collections.Counter()
        for row in self.db.execute("SELECT *, started_at AS at FROM calls WHERE rehearsed = 0"):
            for key in keys_of(row, runs[row["run_id"]]):
                spent[key] += row["cost_nanousd"] or 0
        for row in self.db.execute("SELECT *, taken_at AS at FROM holds"):
            counts = {"held": on_hold, "forfeited": spent, "unknown": spent}.get(row["status"])
            for key in keys_of(row, runs[row["run_id"]]) if counts is not None else ():
                counts[key] += row["amount_nanousd"]
        return spent, on_hold

    def _rest(self):
        """When all are dead nothing is held, and a count from scratch says what was counted."""
        with self.db:
            self.db.execute("UPDATE holds SET pid = ?, process_start = 'boot:1'", (DEAD,))
        self.ledgers[0].budgets.forfeit_dead()
        self.open_accounts_equal_the_rows()
        assert not self.db.execute("SELECT * FROM accounts WHERE held_nanousd <> 0").fetchall()
        assert not self.db.execute("SELECT * FROM holds WHERE status = 'held'").fetchall()
        for row in self.db.execute("SELECT * FROM holds").fetchall():
            cost = self.db.execute(_COST, (row["call_id"],)).fetchone()
            known = cost is not None and cost["cost_nanousd"] is not None
            assert (row["status"] == "settled") is known
            assert json.loads(row["accounts"]) == sorted(set(json.loads(row["accounts"])))


def _dead():
    """The id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    return child.pid


DEAD = _dead()
_OWN = "SELECT * FROM accounts WHERE limit_nanousd IS NOT NULL"
_COST = "SELECT cost_nanousd FROM calls WHERE call_id = ?"
_GONE = "SELECT * FROM holds WHERE status = 'held' AND (pid = ? OR expires_at = 0)"


class Server:
    """A server's tables, asked as SQLite's are."""

    def __init__(self, url):
        row = psycopg.rows.dict_row
        self.connection = psycopg.connect(url, autocommit=True, row_factory=row)

    def execute(self, sql, values=()):
        return self.connection.execute(sql.replace("?", "%s"), values)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Each statement is committed already."""

    def close(self):
        self.connection.close()


class OnServer(Interleavings):
    """The same on a server."""

    empty: object = None
    """Empties a ledger there and gives its address."""

    def opened(self):
        url = type(self).empty()
        beside = self.stack.enter_context(contextlib.closing(Server(url)))
        return [self.stack.enter_context(Ledger.from_url(url)) for _ in range(3)], beside


class TestInterleavings(Interleavings.TestCase):
    settings = settings(
        max_examples=60,
        stateful_step_count=50,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


class TestInterleavingsOnServer(OnServer.TestCase):
    # Each way to the server takes longer than a file, and what differs is found early.
    settings = settings(
        max_examples=6,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )

    @pytest.fixture(autouse=True)
    def on_server(self, emptied):
        OnServer.empty = staticmethod(emptied)
