"""Scopes of limits, the accounts that a call is counted in, and the budget of a run.

A scope is written `[day|month][:]KIND[:NAME]`: `day`, `run`, `user:alice`, `day:user:alice`. A scope
without a name applies to each one separately: `run` limits every run, `day:user` every user per day,
`node` every agent and every pattern, including the nodes inside it. Days and months are UTC, by the
start time of a call, as in the costs report.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

from aideon_agents.errors import UserError
from aideon_agents.ledger.forks import lazily
from aideon_agents.ledger.money import NANO, usd
from aideon_agents.state import Tier

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


Kind: TypeAlias = Literal["run", "item", "batch", "user", "tier", "node", "provider"]
Window: TypeAlias = Literal["day", "month"]

_OWN: tuple[Kind, ...] = ("run", "batch", "item")
"""Kinds whose accounts can have their own limit, besides the standing ones."""

_WINDOWS: dict[str, int] = {"day": len("2026-11-21"), "month": len("2026-11")}
"""How many characters of a UTC time name the window."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CallDimensions:
    """The dimensions that a call is counted under. None: the call has no such dimension."""

    at: str = dataclasses.field(compare=False)
    """Start time, as `utc_text` writes it. Not compared: the dimensions are the same at any time."""
    run: str | None = None
    batch: str | None = None
    item: str | None = None
    user: str | None = None
    tier: str | None = None
    node: str = ""
    """Node path."""
    provider: str = ""
    simulated: bool = False
    """A simulated provider is asked. The call counts only in the limits of its own runs, items and
    batches, so that these can be tried out."""
    own_key: bool = False
    """A key of the user's own is used. The call counts in the same limits as a simulated one."""
    inner: tuple[CallDimensions, ...] = ()
    """The dimensions of nested runs, which a node of `run` started and which make the call. The row
    belongs to the outermost run; the limits of all of them apply."""
    uses: tuple[Any, ...] = dataclasses.field(default=(), compare=False)
    """What the call needs of quotas (`units.Use`), in a run of the service. Held with its money."""

    in_scopes: dict[str, list[tuple[Scope, Account]]] = dataclasses.field(
        init=False, repr=False, compare=False, default_factory=dict
    )
    """The accounts of the call by the text of a standing limit's scope, as far as looked up."""

    def names(self, kind: Kind) -> Iterator[str]:
        """The names of one kind; for nodes, the enclosing ones as well, the innermost first."""
        if kind == "node":
            parts = self.node.split("/") if self.node else []
            yield from ("/".join(parts[:end]) for end in range(len(parts), 0, -1))
        elif kind == "item":
            if self.batch and self.item:
                yield f"{self.batch}/{self.item}"
        elif name := getattr(self, kind):
            yield name
        for run in self.inner if kind in {"run", "batch", "item"} else ():
            yield from run.names(kind)

    @lazily
    def own(self) -> Mapping[str, tuple[Kind, str, str | None]]:
        """The accounts that can have their own limit: by key, what `own_account` makes one of.

        These are the call's runs, batches and items; and in each run its node, the enclosing nodes
        and its provider.
        """
        found: dict[str, tuple[Kind, str, str | None]] = {}
        for kind in _OWN:
            found |= {f"{kind}:{name}": (kind, name, None) for name in self.names(kind)}
        for kind, run in itertools.product(("node", "provider"), self.names("run")):
            found |= {f"run:{run}:{kind}:{name}": (kind, name, run) for name in self.names(kind)}
        return found


OF_RUNS = tuple(f"{kind}:" for kind in _OWN)
"""How the keys of accounts begin in which calls of a simulated provider count as well."""


@dataclasses.dataclass(frozen=True)
class Account:
    """A sum over calls: those of a run, a user or a node, in a window or without one."""

    kinds: tuple[tuple[Kind, str], ...] = ()
    window: Window | None = None
    begins: str | None = None
    """The window's name, such as `2026-11-21`; None without a window."""

    @lazily
    def key(self) -> str:
        """The account's name in the ledger."""
        when = (self.window, self.begins) if self.window and self.begins else ()
        return ":".join((*when, *(part for kind in self.kinds for part in kind)))


@dataclasses.dataclass(frozen=True)
class Scope:
    """What a limit applies to."""

    window: Window | None = None
    kind: Kind | None = None
    name: str | None = None
    """None: each one separately."""

    @classmethod
    @functools.lru_cache(maxsize=1024)
    def parse(cls, text: str) -> Scope:
        """Read a scope such as `day`, `run`, `user:alice` or `month:provider:openai`."""
        first, colon, rest = text.strip().partition(":")
        window = cast("Window", first) if first in _WINDOWS else None
        if window and not colon:
            return cls(window)
        kind, colon, name = (rest if window else text).strip().partition(":")
        name = name.strip()
        if kind not in get_args(Kind) or (colon and not name):
            kinds = ", ".join(get_args(Kind))
            raise UserError(
                f"{text!r} is not a scope: write day, month, or one of {kinds}, with :NAME for one "
                "alone; day: or month: before it counts by UTC day or month (day:user:alice)"
            )
        return cls(window, cast("Kind", kind), name or None)

    def check_name(self) -> None:
        """Refuse the limit of something that cannot exist, which would never stop anything."""
        if self.kind and self.name:
            check_name(self.kind, self.name)

    def __str__(self) -> str:
        return self.text(self.name)

    def text(self, name: str | None) -> str:
        """The scope as text, with another name instead of its own."""
        return ":".join(part for part in (self.window, self.kind, name) if part)

    def accounts(self, call: CallDimensions) -> Iterator[Account]:
        """The accounts of this scope that a call is counted in."""
        if (call.simulated or call.own_key) and not (self.window is None and self.kind in _OWN):
            return
        begins = call.at[: _WINDOWS[self.window]] if self.window else None
        if self.kind is None:
            yield _window_account(self.window, begins)
            return
        for name in call.names(self.kind):
            if self.name in {None, name}:
                yield Account(((self.kind, name),), self.window, begins)


def check_name(kind: Kind, name: str) -> None:
    """Raise UserError for a name that nothing of this kind has."""
    tiers = get_args(Tier)
    is_right = {
        "tier": name in tiers,
        "provider": name == name.lower() and not any(map(str.isspace, name)),
        "node": all(part.strip() for part in name.split("/")),
        "item": "/" in name.strip("/"),
    }
    if not is_right.get(kind, True):
        forms = {
            "tier": f"write one of {', '.join(tiers)}",
            "provider": f"write it in small letters, as in provider:{name.lower().strip()}",
            "node": "write a node path such as refine/draft",
            "item": "write item:BATCH/ITEM, with the ids of both",
        }
        raise UserError(f"there is no {kind} {name!r}: {forms[kind]}")


@functools.lru_cache(maxsize=16)
def _window_account(window: Window | None, begins: str | None) -> Account:
    """The account of all calls in a day or a month, which every call is counted in."""
    return Account((), window, begins)


def own_account(kind: Kind, name: str, run: str | None) -> tuple[Scope, Account]:
    """One of the accounts of `CallDimensions.own`, with its scope."""
    if run is None:
        return Scope(kind=kind), Account(((kind, name),))
    return Scope(kind=kind, name=name), run_account(run, kind, name)


def own_accounts(call: CallDimensions) -> Mapping[str, tuple[Scope, Account]]:
    """The accounts of a call that can have their own limit, by key, each with its scope."""
    return {key: own_account(*one) for key, one in call.own.items()}


def standing_accounts(call: CallDimensions) -> Iterator[tuple[str, Account]]:
    """Every scope that a standing limit on a call can have, each with the account it is about."""
    for window in (None, *get_args(Window)):
        scopes = [Scope(window)] if window else []
        for kind in get_args(Kind):
            named = [Scope(window, kind, name) for name in call.names(kind)]
            scopes += [Scope(window, kind), *named] if named else []
        for scope in scopes:
            for account in scope.accounts(call):
                yield str(scope), account


def run_account(run_id: str, kind: Kind | None = None, name: str = "") -> Account:
    """The account of a run, or of one of its nodes or providers."""
    inside: tuple[tuple[Kind, str], ...] = ((kind, name),) if kind else ()
    return Account((("run", run_id), *inside))


Amount: TypeAlias = Decimal | str | float
"""US dollars. Text and Decimal are exact; a float means the number that it prints as."""

_NUMBER = re.compile(r"\+?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
"""Python reads more as a number: `1_000`, `-0`, and the digits of other scripts."""
_MOST = Decimal(10**9)
"""A billion dollars: in nano-dollars it fits an integer column."""


def nanousd(amount: Amount) -> int:
    """US dollars in whole nano-dollars; text may begin with `$`."""
    text = str(amount).strip().removeprefix("$").lstrip()
    value = Decimal(text) if _NUMBER.fullmatch(text) else Decimal("nan")
    fits = value.is_finite() and 0 <= value <= _MOST
    whole = int(value.scaleb(NANO)) if fits else 0
    if not fits or Decimal(whole).scaleb(-NANO) != value:
        raise UserError(
            f"{text!r} is not a budget: write US dollars such as 0.05, with at most {NANO} decimals"
        )
    return whole


@dataclasses.dataclass(frozen=True, init=False)
class Budget:
    """What one run may cost. A call that does not fit is not made, and the run stops.

    Args:
        total: US dollars for the whole run; None: only the other limits apply.
        nodes: US dollars by node path, for that node and the nodes inside it.
        providers: US dollars by provider.

    Raises:
        UserError: An amount is not valid.
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
        for name in nodes or {}:
            check_name("node", name)
        for name in providers or {}:
            check_name("provider", name)
        put(self, "total_nanousd", None if total is None else nanousd(total))
        put(self, "nodes", {name: nanousd(one) for name, one in (nodes or {}).items()})
        put(self, "providers", {name: nanousd(one) for name, one in (providers or {}).items()})

    @classmethod
    def of(cls, given: Budget | Amount | None) -> Budget | None:
        """The budget that was given, or one with the given total; None: there is none."""
        return given if given is None or isinstance(given, Budget) else cls(given)

    @property
    def total(self) -> Decimal | None:
        """US dollars for the whole run; None: the run has no total."""
        return None if self.total_nanousd is None else usd(self.total_nanousd)

    def limits(self, run_id: str) -> Iterator[tuple[Account, int]]:
        """The accounts of a run that have a limit, each with its limit in nano-dollars."""
        if self.total_nanousd is not None:
            yield run_account(run_id), self.total_nanousd
        for name, limit in self.nodes.items():
            yield run_account(run_id, "node", name), limit
        for name, limit in self.providers.items():
            yield run_account(run_id, "provider", name), limit


@dataclasses.dataclass(frozen=True, kw_only=True)
class LimitState:
    """A limit that applies to a call, with what is spent and held. Amounts are nano-dollars."""

    scope: Scope
    account: Account
    limit: int
    warns: bool
    """True: it only warns and refuses nothing."""
    spent: int
    held: int
    """The worst cases of calls in progress."""

    @property
    def name(self) -> str:
        """The name in messages: for a limit on each one, the one that the call belongs to."""
        is_for_each = self.scope.kind not in {None, "run"} and self.scope.name is None
        return self.scope.text(self.account.kinds[-1][1] if is_for_each else self.scope.name)

    @property
    def left(self) -> int:
        """What is neither spent nor held; negative after a limit was lowered."""
        return self.limit - self.spent - self.held


@dataclasses.dataclass(frozen=True)
class Refusal:
    """The worst case of a call does not fit."""

    by: LimitState
    """The tightest limit."""
    needed: int | None
    """The worst case in nano-dollars; None: it has no known price."""
    waits: bool
    """True: it would fit if nothing were held, so another call's settlement may make room."""
    use: Any = None
    """What it lacks of a quota (`units.Use`), in whose unit the amounts are; None: they are money."""


def refusal(limits: Iterable[LimitState], amount: int | None) -> Refusal | None:
    """Why an amount does not fit some limits; None: it fits. An amount of 0 always fits."""
    if amount == 0:
        return None
    enforced = [one for one in limits if not one.warns]
    if amount is None:
        by = min(enforced, key=lambda one: one.left, default=None)
        return Refusal(by, None, waits=False) if by else None
    never = [one for one in enforced if one.spent + amount > one.limit]
    if never:
        return Refusal(min(never, key=lambda one: one.limit - one.spent), amount, waits=False)
    not_now = [one for one in enforced if one.spent + one.held + amount > one.limit]
    return Refusal(min(not_now, key=lambda one: one.left), amount, waits=True) if not_now else None
