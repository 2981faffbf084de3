"""What a limit stands on, and which accounts a call is counted in.

A scope is written `[day|month][:]KIND[:NAME]`: `day`, `run`, `user:alice`, `day:user:alice`. Without
a name it means each one by itself: `run` is a limit for every run, `day:user` one for every user and
day, `node` one for every agent and every pattern with all inside it. Days and months are UTC, by the time at which a call began, as in the costs report.

What a run may cost, as its caller says it.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Literal, TypeAlias, cast, get_args

from aideon_agents.errors import UserError
from aideon_agents.ledger.pricing import NANO, usd

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


Kind: TypeAlias = Literal["run", "item", "batch", "user", "tier", "node", "provider"]
Window: TypeAlias = Literal["day", "month"]

_WINDOWS: dict[str, int] = {"day": len("2026-11-21"), "month": len("2026-11")}
"""How much of a UTC time names the window."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """What a call is counted by. None: it belongs to nothing of the kind."""

    at: str = dataclasses.field(compare=False)
    """When it began, as `clock.utc_text` writes it. It is the same place at any time."""
    run: str | None = None
    batch: str | None = None
    item: str | None = None
    user: str | None = None
    tier: str | None = None
    node: str = ""
    """Its node path."""
    provider: str = ""
    inner: tuple[Place, ...] = ()
    """What runs are counted by that a node of that run began, and that make the call: the row is
    the outermost run's, and the limits of all of them hold."""

    def names(self, kind: Kind) -> Iterator[str]:
        """What of a kind it belongs to: of nodes, those around it as well, the innermost first."""
        yield from self._names(kind)
        for run in self.inner if kind in {"run", "batch", "item"} else ():
            yield from run.names(kind)

    def _names(self, kind: Kind) -> Iterator[str]:
        if kind == "node":
            parts = self.node.split("/") if self.node else []
            yield from ("/".join(parts[:end]) for end in range(len(parts), 0, -1))
        elif kind == "item":
            if self.batch and self.item:
                yield f"{self.batch}/{self.item}"
        elif name := getattr(self, kind):
            yield name


@dataclasses.dataclass(frozen=True)
class Account:
    """What adds up: the calls of some run, user, node, in some window or for good."""

    kinds: tuple[tuple[Kind, str], ...] = ()
    window: Window | None = None
    begins: str | None = None
    """The window's name, such as `2026-11-21`; None without a window."""

    @functools.cached_property
    def key(self) -> str:
        """Its name in the ledger."""
        when = (self.window, self.begins) if self.window and self.begins else ()
        return ":".join((*when, *(part for kind in self.kinds for part in kind)))


_account = functools.lru_cache(maxsize=1024)(Account)
"""Each call is counted in the same few, and their keys take longer to write than to look up."""


@dataclasses.dataclass(frozen=True)
class Scope:
    """What a standing limit stands on."""

    window: Window | None = None
    kind: Kind | None = None
    name: str | None = None
    """None: each one by itself."""

    @classmethod
    def parse(cls, text: str) -> Scope:
        """Read a scope as people write it."""
        first, colon, rest = text.strip().partition(":")
        window = cast("Window", first) if first in _WINDOWS else None
        if window and not colon:
            return cls(window)
        kind, colon, name = (rest if window else text).strip().partition(":")
        name = name.strip()
        if kind not in get_args(Kind) or (colon and not name):
            kinds = ", ".join(get_args(Kind))
            raise UserError(
                f"{text!r} is no scope: write day, month, or one of {kinds}, with :NAME for one "
                "alone; day: or month: before it counts by UTC day or month (day:user:alice)"
            )
        return cls(window, cast("Kind", kind), name or None)

    def __str__(self) -> str:
        return self.text(self.name)

    def text(self, name: str | None) -> str:
        """How it is written; with another name, how one is written that is about that one alone."""
        return ":".join(part for part in (self.window, self.kind, name) if part)

    def accounts(self, place: Place) -> Iterator[Account]:
        """The accounts in which a call is counted for this scope."""
        begins = place.at[: _WINDOWS[self.window]] if self.window else None
        if self.kind is None:
            yield _account((), self.window, begins)
            return
        for name in place.names(self.kind):
            if self.name in {None, name}:
                yield _account(((self.kind, name),), self.window, begins)


def own_accounts(place: Place) -> Iterator[tuple[Scope, Account]]:
    """The accounts of a call that may have a limit of their own, with how their scope is called."""
    for kind in cast("tuple[Kind, ...]", ("run", "batch", "item")):
        for name in place.names(kind):
            yield Scope(kind=kind), Account(((kind, name),))
    for kind in cast("tuple[Kind, ...]", ("node", "provider")):
        for run, name in itertools.product(place.names("run"), place.names(kind)):
            yield Scope(kind=kind, name=name), run_account(run, kind, name)


def run_account(run_id: str, kind: Kind | None = None, name: str = "") -> Account:
    """A run's account, or that of one of its nodes or providers."""
    inside: tuple[tuple[Kind, str], ...] = ((kind, name),) if kind else ()
    return Account((("run", run_id), *inside))


Amount: TypeAlias = Decimal | str | float
"""US dollars. Text and Decimal are exact; of a float, what it prints as is meant."""

_MOST = Decimal(10**9)
"""A billion dollars: in nano-dollars it fits a column with room to spare."""


def nanousd(amount: Amount) -> int:
    """An amount of US dollars in whole nano-dollars."""
    text = str(amount).strip().removeprefix("$")
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("nan")
    fits = value.is_finite() and 0 <= value <= _MOST
    whole = int(value.scaleb(NANO)) if fits else 0
    if not fits or usd(whole) != value:
        raise UserError(
            f"{text!r} is no budget: write US dollars such as 0.05, with at most {NANO} decimals"
        )
    return whole


@dataclasses.dataclass(frozen=True, init=False)
class Budget:
    """What one run may cost. Whatever does not fit is not asked for, and the run stops.

    Args:
        total: US dollars for the whole run; None: only what else is said limits it.
        nodes: US dollars by node path, for that node and all inside it.
        providers: US dollars by provider.

    Raises:
        UserError: An amount is none.
    """

    total_nanousd: int | None
    nodes: Mapping[str, int]
    """In nano-dollars."""
    providers: Mapping[str, int]
    """In nano-dollars."""

    def __init__(
        self,
        total: Amount | None = None,
        *,
        nodes: Mapping[str, Amount] | None = None,
        providers: Mapping[str, Amount] | None = None,
    ) -> None:
        put = object.__setattr__  # the class is frozen
        put(self, "total_nanousd", None if total is None else nanousd(total))
        put(self, "nodes", {name: nanousd(one) for name, one in (nodes or {}).items()})
        put(self, "providers", {name: nanousd(one) for name, one in (providers or {}).items()})

    @classmethod
    def of(cls, given: Budget | Amount) -> Budget:
        """A budget as it was given, or one of so many dollars in all."""
        return given if isinstance(given, Budget) else cls(given)

    @property
    def total(self) -> Decimal | None:
        """US dollars for the whole run; None: there is no such limit."""
        return None if self.total_nanousd is None else usd(self.total_nanousd)

    def limits(self, run_id: str) -> Iterator[tuple[Account, int]]:
        """Its limits, in nano-dollars, and the accounts of a run that they stand on."""
        if self.total_nanousd is not None:
            yield run_account(run_id), self.total_nanousd
        for name, limit in self.nodes.items():
            yield run_account(run_id, "node", name), limit
        for name, limit in self.providers.items():
            yield run_account(run_id, "provider", name), limit
