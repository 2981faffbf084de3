"""What a user of the service may have besides money: requests, tokens and minutes, per UTC day.

A counter has its day in its name, so nothing is ever reset. What a call may need at most is held in the
transaction that holds its money, and settled with it; if its process dies, it counts as used. A request
is counted when it is admitted, and given back if nothing was called. Amounts are whole numbers: minutes
are counted in tenths.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from datetime import date, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypeVar, cast

from aideon_agents.errors import QuotaExceeded
from aideon_agents.ledger.budgets.limits import Account, LimitState, Refusal, Scope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aideon_agents.ledger.budgets.limits import CallDimensions, Kind
    from aideon_agents.ledger.database import Statements

Feature: TypeAlias = Literal[
    "text_generation",
    "code_generation",
    "image_generation",
    "vision_analysis",
    "audio_tts",
    "audio_stt",
]
KeySource: TypeAlias = Literal["system", "user"]
"""`user`: the user's own key was used, and the call uses nothing of what the service grants."""
Unit: TypeAlias = Literal["requests", "tokens", "tokens_per_request", "minutes"]

Exceeded = TypeVar("Exceeded", bound=QuotaExceeded)

_SCALE = {"minutes": 10}
_DAY = len("2026-11-21")


def stored(unit: Unit, amount: float) -> int:
    """An amount as it is counted; a part of a tenth of a minute counts as one."""
    return math.ceil(round(amount * _SCALE.get(unit, 1), 6))


def in_unit(unit: Unit, amount: int) -> float:
    """A counted amount in its unit: whole unless it is in minutes."""
    return amount / _SCALE[unit] if unit in _SCALE else amount


def _amount(amount: float | None, unit: Unit) -> str:
    """An amount with its unit: `1 request`, `1,200 tokens per request`."""
    words = unit.replace("_", " ")
    if amount is None:
        return f"an unknown number of {words}"
    noun, space, rest = words.partition(" ")
    return f"{amount:,g} {noun[:-1] if amount == 1 else noun}{space}{rest}"


class Use(NamedTuple):
    """An amount that a call or a request needs of one quota."""

    user: str
    feature: Feature
    unit: Unit
    day: str
    amount: int | None
    """As it is counted; None: nothing bounds it."""
    most: int | None
    """The quota; None: unlimited."""
    offers: Mapping[str, object] = MappingProxyType({})
    """What a refusal offers: `upgrade`, a tier with a higher quota, and `own_key`."""
    own_keys: frozenset[str] = frozenset()
    """The providers whose calls use none of it, because the user has a key of them."""
    counts: bool = True
    """False: it must fit, but is not counted: calls count it themselves."""

    def is_free(self, provider: str) -> bool:
        """Whether a call to a provider uses none of the quota."""
        return provider in self.own_keys

    @property
    def counter(self) -> str:
        """The name of its counter."""
        return f"day:{self.day}:user:{self.user}:{self.feature}:{self.unit}"

    def refusal(self, used: int, held: int) -> Refusal | None:
        """Why it does not fit beside what is used and held; None: it fits."""
        if self.most is None or (
            self.amount is not None and used + held + self.amount <= self.most
        ):
            return None
        kinds = (("user", self.user), (self.feature, self.unit))
        account = Account(cast("tuple[tuple[Kind, str], ...]", kinds), "day", self.day)
        state = LimitState(
            scope=Scope("day", "user", self.user),
            account=account,
            limit=self.most,
            warns=False,
            spent=used,
            held=held,
        )
        waits = self.amount is not None and used + self.amount <= self.most
        return Refusal(state, self.amount, waits=waits, use=self)

    def exceeded(
        self,
        used: int,
        kind: type[Exceeded] = QuotaExceeded,
        *,
        asked: str = "",
        cheaper: Mapping[str, object] | None = None,
    ) -> Exceeded:
        """The error for it, with figures in its unit; `cheaper` is what would fit."""
        most = in_unit(self.unit, self.most or 0)
        taken = in_unit(self.unit, used)
        ways = [f"wait until {self.reset_at}"]
        if cheaper:
            ways.append(
                "ask for " + " or ".join(f"{name} {fits}" for name, fits in cheaper.items())
            )
        if upgrade := cast("Any", self.offers.get("upgrade")):
            limit = "no limit" if upgrade["limit"] is None else f"{upgrade['limit']:,}"
            ways.append(f"change to {upgrade['tier']} ({limit})")
        if self.offers.get("own_key"):
            ways.append("store a provider's key of your own")
        amount = None if self.amount is None else in_unit(self.unit, self.amount)
        of = _amount(most, self.unit)
        needs = _amount(amount, self.unit)
        return kind(
            f"{f'{asked} was not asked: it' if asked else 'this'} needs {needs}, and of {of}"
            f" of {self.feature} a day {taken:,g} {'is' if taken == 1 else 'are'} used: {', or '.join(ways)}",
            used=taken,
            limit=most,
            feature=self.feature,
            unit=self.unit,
            reset_at=self.reset_at,
            cheaper=cheaper,
            **cast("Any", self.offers),
        )

    @property
    def reset_at(self) -> str:
        """When the quota resets: the next midnight, UTC."""
        return f"{date.fromisoformat(self.day) + timedelta(days=1)}T00:00:00Z"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
    """Who asked the service for a run, and what its calls may use."""

    user: str
    feature: Feature = "text_generation"
    key_id: str | None = None
    """The API key of the request; None: it came with a session, or the service is open."""
    request_id: str | None = None
    tokens: int | None = None
    """The quota of tokens per day; None: unlimited."""
    tokens_per_request: int | None = None
    """The most tokens of one answer; None: unlimited."""
    keys: Mapping[str, tuple[str | None, KeySource]] = dataclasses.field(
        default_factory=dict[str, "tuple[str | None, KeySource]"]
    )
    """By provider: the stored key that its calls use, and whose it is; others use the environment's."""
    offers: Mapping[str, object] = dataclasses.field(default_factory=dict[str, object])
    """What a refusal offers; see `Use`."""

    def tokens_of(self, at: str, amount: int | None) -> Use:
        """The tokens of a call that starts at a time."""
        own = frozenset(name for name, (_, source) in self.keys.items() if source == "user")
        day, most = at[:_DAY], self.tokens
        return Use(self.user, self.feature, "tokens", day, amount, most, self.offers, own)

    def source(self, provider: str) -> tuple[str | None, KeySource]:
        """The stored key of a provider, and whose it is."""
        return self.keys.get(provider, (None, "system"))

    def columns(self) -> dict[str, str | None]:
        """What the row of a run says of it."""
        sources = {source for _, source in self.keys.values()}
        source = "user" if sources == {"user"} else "system"
        return {"key_id": self.key_id, "request_id": self.request_id, "key_source": source}

    def counted(self, call: CallDimensions, tokens: int | None) -> CallDimensions:
        """A call that needs some tokens, with what it uses of the quota."""
        _, source = self.source(call.provider)
        uses = (self.tokens_of(call.at, tokens),) if source == "system" else ()
        return dataclasses.replace(call, uses=uses, own_key=source == "user")


def counted(tx: Statements, counters: Sequence[str]) -> dict[str, tuple[int, int]]:
    """What is used and held, by the name of a counter; all of them, also those that are not open."""
    names = {f"key{number}": name for number, name in enumerate(counters)}
    listed = ", ".join(f":{name}" for name in names) or "NULL"
    found = tx.select(f"{_COUNTERS} ({listed})", names)
    return {
        **dict.fromkeys(counters, (0, 0)),
        **{row["account"]: (row["used"], row["held"]) for row in found},
    }


def lacking(tx: Statements, uses: Sequence[Use]) -> Refusal | None:
    """Why one of some uses does not fit; None: all fit."""
    states = counted(tx, [use.counter for use in uses])
    return next((no for use in uses if (no := use.refusal(*states[use.counter]))), None)


def hold(tx: Statements, use_id: str, uses: Sequence[Use], at: str) -> None:
    """Hold what a call needs at most; it has been checked in this transaction."""
    _take(tx, use_id, uses, at, "held")


def use(tx: Statements, use_id: str, uses: Sequence[Use], at: str) -> Refusal | None:
    """Count what a request needs, unless it does not fit; what is counted already stays so."""
    rows = tx.select(_USE, {"use_id": use_id})
    if rows and any(json.loads(rows[0]["amounts"]).values()):
        return None
    if refused := lacking(tx, uses):
        return refused
    if rows:  # it was given back before
        tx.later("DELETE FROM uses WHERE use_id = :use_id", {"use_id": use_id})
    _take(tx, use_id, [one for one in uses if one.counts], at, "settled")
    return None


def settle(tx: Statements, use_id: str, spent: Mapping[str, int] | int | None) -> None:
    """Replace what was held, or counted, by what was used; None: that is not known, so it stays.

    `spent` is by the name of a counter, or is the same for all.
    """
    for row in tx.select(_USE, {"use_id": use_id}):
        amounts: dict[str, int] = json.loads(row["amounts"])
        now = spent if isinstance(spent, Mapping) else dict.fromkeys(amounts, spent)
        was_held = row["status"] == "held"
        ended = {
            name: was if (is_ := now.get(name)) is None else is_ for name, was in amounts.items()
        }
        for name, was in amounts.items():
            change = {
                "used": ended[name] - (0 if was_held else was),
                "held": -was if was_held else 0,
            }
            tx.later(_CHANGE, {"account": name, **change})
        tx.later(_END, {"use_id": use_id, "amounts": json.dumps(ended), "status": "settled"})


def forfeit(tx: Statements) -> None:
    """Count what is held for calls whose money is held no longer: their process is gone."""
    for row in tx.select(_LOST, {}):
        for name, was in json.loads(row["amounts"]).items():
            tx.later(_CHANGE, {"account": name, "used": was, "held": -was})
        tx.later(_END, {"use_id": row["use_id"], "amounts": row["amounts"], "status": "forfeited"})


def _take(tx: Statements, use_id: str, uses: Sequence[Use], at: str, status: str) -> None:
    amounts = {one.counter: one.amount or 0 for one in uses}
    part = "held" if status == "held" else "used"
    for name, amount in amounts.items():
        tx.later(_OPEN, {"account": name, "used": 0, "held": 0, part: amount})
    row = {"use_id": use_id, "amounts": json.dumps(amounts), "status": status, "taken_at": at}
    tx.later(_TAKE, row)


_COUNTERS = "SELECT account, used, held FROM counters WHERE account IN"
_OPEN = (
    "INSERT INTO counters (account, used, held) VALUES (:account, :used, :held)"
    " ON CONFLICT (account) DO UPDATE SET used = counters.used + :used, held = counters.held + :held"
)
_CHANGE = "UPDATE counters SET used = used + :used, held = held + :held WHERE account = :account"
_TAKE = (
    "INSERT INTO uses (use_id, amounts, status, taken_at)"
    " VALUES (:use_id, :amounts, :status, :taken_at)"
)
_USE = "SELECT amounts, status FROM uses WHERE use_id = :use_id"
_END = "UPDATE uses SET amounts = :amounts, status = :status WHERE use_id = :use_id"
_LOST = (
    "SELECT use_id, amounts FROM uses WHERE status = 'held' AND NOT EXISTS"
    " (SELECT 1 FROM holds WHERE holds.call_id = uses.use_id AND holds.status = 'held')"
)
