"""What counts against a limit: an account's sum of what is spent, and what is held on top.

An account is opened by adding up the rows there are, and from then on every settlement adds to it,
so that it always equals those rows: a limit set in the middle of a month counts the whole month.
When a limit is removed its accounts are no longer kept up to date, so they are closed.

The limits that stand in a ledger, whatever is run.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aideon_agents.errors import UserError
from aideon_agents.ledger.budgets.alerts import Alert
from aideon_agents.ledger.budgets.limits import Account, Place, Scope, own_accounts
from aideon_agents.ledger.database import Database, Row, Statements
from aideon_agents.ledger.identity import now, utc_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


THRESHOLDS = (50, 80, 95, 100)
"""Percentages of a limit that are told of, once per window."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standing:
    """A limit that holds for a call, and how it stands."""

    scope: Scope
    account: Account
    limit: int
    """In nano-dollars, like all amounts here."""
    warns: bool
    """It only warns and refuses nothing."""
    spent: int
    held: int
    """Worst cases of calls under way."""

    @property
    def name(self) -> str:
        """What people call it: of a limit for each one, the one that it is about."""
        of_each = self.scope.kind not in {None, "run"} and self.scope.name is None
        one = self.account.kinds[-1][1] if of_each else self.scope.name
        return self.scope.text(one)

    @property
    def left(self) -> int:
        """What is neither spent nor held; less than nothing when a limit was lowered."""
        return self.limit - self.spent - self.held


def standings(tx: Statements, place: Place, *, opens: bool = True) -> list[Standing]:
    """Every limit that holds for a call."""
    own = _own(place)
    limits = [
        (scope, account, row["limit_nanousd"], bool(row["warns"]))
        for row in tx.select("SELECT scope, limit_nanousd, warns FROM budgets ORDER BY scope", {})
        for scope in (_scope(row["scope"]),)
        for account in scope.accounts(place)
    ]
    rows = _rows(tx, {*own, *(account.key for _, account, _, _ in limits)})
    for _, account, _, _ in limits if opens else ():
        if account.key not in rows:
            rows[account.key] = opened(tx, account)
    limits += [
        (*own[key], row["limit_nanousd"], False)
        for key, row in rows.items()
        if key in own and row["limit_nanousd"] is not None
    ]
    return [
        Standing(
            scope=scope,
            account=account,
            limit=limit,
            warns=warns,
            spent=row["spent_nanousd"],
            held=row["held_nanousd"],
        )
        for scope, account, limit, warns in limits
        if (row := rows.get(account.key))
    ]


def opened(tx: Statements, account: Account, limit: int | None = None) -> Row:
    """Open an account with what counts in it already; one that is open only takes the limit."""
    for row in _rows(tx, {account.key}).values():
        if limit is not None:
            tx.later(_LIMIT, {"account": account.key, "limit": limit})
        return {**row, "limit_nanousd": row["limit_nanousd"] if limit is None else limit}
    spent, holds = _counted(tx, account)
    of_status = {"held": 0, "forfeited": 0, "unknown": 0}
    for hold in holds:
        of_status[hold["status"]] += hold["amount_nanousd"]
        # So that its settlement counts here as well.
        keys = sorted({*json.loads(hold["accounts"]), account.key})
        tx.later(_JOIN, {"call_id": hold["call_id"], "accounts": json.dumps(keys)})
    row = {
        "account": account.key,
        "limit_nanousd": limit,
        "spent_nanousd": spent + of_status["forfeited"] + of_status["unknown"],
        "held_nanousd": of_status["held"],
    }
    tx.later(_OPEN, row)
    return row


def begun(tx: Statements, account: Account, limit: int) -> None:
    """Open the account of something that begins now: there is nothing to add up."""
    row = {"account": account.key, "limit_nanousd": limit, "spent_nanousd": 0, "held_nanousd": 0}
    tx.later(_OPEN, row)


def limited(tx: Statements, account: Account, limit: int | None) -> None:
    """Give an account another limit of its own, or none."""
    if limit is None:
        tx.later("DELETE FROM accounts WHERE account = :account", {"account": account.key})
    else:
        opened(tx, account, limit)


def close_unlimited(tx: Statements) -> None:
    """Forget the accounts that no limit of their own keeps up to date; they are opened anew."""
    tx.later("DELETE FROM accounts WHERE limit_nanousd IS NULL", {})


def add(tx: Statements, keys: Iterable[str], *, spent: int = 0, held: int = 0) -> None:
    """Add to those of some accounts that are open."""
    places, named = _listed(keys)
    if named and (spent or held):
        tx.later(f"{_ADD} ({places})", {**named, "spent": spent, "held": held})


def crossed(tx: Statements, limits: Iterable[Standing], run_id: str | None) -> list[Alert]:
    """Those of some limits that have passed a threshold since anybody was told."""
    found: list[Alert] = []
    for one in limits:
        percent = reached(one.spent, one.limit)
        told = {"account": one.account.key, "limit": one.limit, "percent": percent}
        if percent and tx.write(_TOLD, told):
            found.append(
                Alert(
                    scope=one.name,
                    window=one.account.begins,
                    run_id=run_id,
                    percent=percent,
                    limit_nanousd=one.limit,
                    spent_nanousd=one.spent,
                    warns=one.warns,
                )
            )
    return found


def are_near(limits: Iterable[Standing], percent: int) -> bool:
    """Whether so much of an enforced limit of the run, the day or the month is spent."""
    return any(
        one.spent * 100 >= one.limit * percent and one.name in {"run", "day", "month"}
        for one in limits
        if not one.warns
    )


def reached(spent: int, limit: int) -> int:
    """The highest threshold that an amount has reached, 0 when none."""
    return max((one for one in THRESHOLDS if spent * 100 >= limit * one and spent), default=0)


_scope = functools.lru_cache(maxsize=256)(Scope.parse)


@functools.lru_cache(maxsize=1024)
def _own(place: Place) -> Mapping[str, tuple[Scope, Account]]:
    """The accounts that may have a limit of their own, by key: each call asks for them twice."""
    return {account.key: (scope, account) for scope, account in own_accounts(place)}


def _listed(keys: Iterable[str]) -> tuple[str, dict[str, str]]:
    """The places of some values in a statement, and the values."""
    values = sorted(keys)
    names, places = _places(len(values))
    return places, dict(zip(names, values, strict=True))


@functools.cache
def _places(count: int) -> tuple[tuple[str, ...], str]:
    names = tuple(f"key{number}" for number in range(count))
    return names, ", ".join(f":{name}" for name in names)


def _rows(tx: Statements, keys: Iterable[str]) -> dict[str, Row]:
    places, named = _listed(keys)
    found = tx.select(f"SELECT * FROM accounts WHERE account IN ({places})", named) if named else []  # noqa: S608 - names of ours
    return {row["account"]: row for row in found}


def _counted(tx: Statements, account: Account) -> tuple[int, list[Row]]:
    """What the calls of an account are known to cost, and the holds that are not settled."""
    values: dict[str, Any] = {}
    calls = _where(account, values, at="calls.started_at", of="calls")
    holds = _where(account, values, at="holds.taken_at", of="holds")
    (known,) = tx.select(
        "SELECT COALESCE(SUM(cost_nanousd), 0) AS nanousd FROM calls"  # noqa: S608 - names of ours
        f" LEFT JOIN runs ON runs.run_id = calls.run_id WHERE calls.rehearsed = 0 AND {calls}",
        values,
    )
    unsettled = tx.select(
        "SELECT holds.* FROM holds LEFT JOIN runs ON runs.run_id = holds.run_id"  # noqa: S608 - as above
        " WHERE holds.status <> 'settled'"
        f" AND holds.status IN ('held', 'forfeited', 'unknown') AND {holds}",
        values,
    )
    return known["nanousd"], unsettled


def _where(account: Account, values: dict[str, Any], *, at: str, of: str) -> str:
    """The condition that picks an account's rows, its values put among `values`."""
    columns = {
        "run": f"{of}.run_id",
        "batch": "runs.batch_id",
        "user": 'runs."user"',
        "tier": "runs.tier",
        "provider": f"{of}.provider",
    }
    conditions = ["1 = 1"]
    for kind, name in account.kinds:
        values[kind] = name
        if kind == "node":  # and whatever is inside
            path = f"{of}.node_path"
            inside = f"substr({path}, 1, length(:node) + 1) = :node || '/'"
            conditions.append(f"({path} = :node OR {inside})")
        elif kind == "item":  # by the columns themselves, which have an index
            values["item_batch"], _, values["item"] = name.partition("/")
            conditions.append("runs.batch_id = :item_batch AND runs.item_id = :item")
        else:
            conditions.append(f"{columns[kind]} = :{kind}")
    if account.begins:
        values |= {"begins": account.begins, "ends": _after(account.begins)}
        conditions.append(f"{at} >= :begins AND {at} < :ends")
    return " AND ".join(conditions)


def _after(begins: str) -> str:
    """The day or month after a day or month."""
    if len(begins) == len("2026-11-21"):
        return (datetime.fromisoformat(begins) + timedelta(days=1)).date().isoformat()
    year, month = map(int, begins.split("-"))
    return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC).date().isoformat()[:7]


_OPEN = (
    "INSERT INTO accounts (account, limit_nanousd, spent_nanousd, held_nanousd)"
    " VALUES (:account, :limit_nanousd, :spent_nanousd, :held_nanousd)"
)
_LIMIT = "UPDATE accounts SET limit_nanousd = :limit WHERE account = :account"
_ADD = (
    "UPDATE accounts SET spent_nanousd = spent_nanousd + :spent,"
    " held_nanousd = held_nanousd + :held WHERE account IN"
)
_TOLD = (
    "INSERT INTO told (account, limit_nanousd, percent) VALUES (:account, :limit, :percent)"
    " ON CONFLICT (account, limit_nanousd) DO UPDATE SET percent = :percent"
    " WHERE told.percent < :percent"
)
_JOIN = "UPDATE holds SET accounts = :accounts WHERE call_id = :call_id"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limit:
    """A standing limit, and how it stands."""

    scope: str
    limit_nanousd: int
    warns: bool
    """It only warns and refuses nothing."""
    window: str | None
    """The day or month that counts now; None: it counts for good."""
    spent_nanousd: int | None
    """None: it is a limit for each one by itself, and there may be many."""
    held_nanousd: int | None
    """Worst cases of calls under way; None as above."""


def set_limit(database: Database, scope: str, limit: int, *, warns: bool = False) -> None:
    """Set a standing limit, in place of one on the same scope."""
    parsed = Scope.parse(scope)
    with database.transaction() as tx:
        tx.write(_SET, {"scope": str(parsed), "limit": limit, "warns": int(warns)})


def remove_limit(database: Database, scope: str) -> None:
    """Remove a standing limit."""
    named = str(Scope.parse(scope))
    with database.transaction() as tx:
        gone = tx.write("DELETE FROM budgets WHERE scope = :scope", {"scope": named})
        close_unlimited(tx)
    if not gone:
        raise UserError(f"there is no budget on {named}: `aideon budget list` shows what there is")


def limits(database: Database) -> list[Limit]:
    """The standing limits, by scope, as they stand now."""
    found: list[Limit] = []
    with database.transaction() as tx:
        for row in tx.select("SELECT * FROM budgets ORDER BY scope", {}):
            scope = Scope.parse(row["scope"])
            standing = next(iter(_limit_account(tx, scope)), None)
            found.append(
                Limit(
                    scope=str(scope),
                    limit_nanousd=row["limit_nanousd"],
                    warns=bool(row["warns"]),
                    window=standing.account.begins if standing else None,
                    spent_nanousd=standing.spent if standing else None,
                    held_nanousd=standing.held if standing else None,
                )
            )
    return found


def _limit_account(tx: Statements, scope: Scope) -> list[Standing]:
    """How a limit stands whose account is known without a call: that of a name, day or month."""
    if scope.kind is not None and scope.name is None:
        return []
    at = utc_text(now())
    named = {scope.kind: scope.name} if scope.kind else {}
    if scope.kind == "item":
        batch, _, item = (scope.name or "").partition("/")
        named = {"batch": batch, "item": item}
    place = Place(at=at, **named)  # pyright: ignore[reportArgumentType] - kinds are its fields
    return [one for one in standings(tx, place) if one.scope == scope]


_SET = (
    "INSERT INTO budgets (scope, limit_nanousd, warns) VALUES (:scope, :limit, :warns)"
    " ON CONFLICT (scope) DO UPDATE SET limit_nanousd = :limit, warns = :warns"
)
