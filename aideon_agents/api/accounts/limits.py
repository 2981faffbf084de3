"""What limits a caller: quotas, budgets and the rate of its key; and for admins the budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict

from aideon_agents.access import audit, quotas
from aideon_agents.access.callers import Caller
from aideon_agents.api.asking import Page, Serving, asking, by_of, rates_of
from aideon_agents.api.problems import answers
from aideon_agents.ledger.budgets import accounts
from aideon_agents.ledger.budgets.limits import CallDimensions, Scope, nanousd
from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.ledger.money import usd, usd_text
from aideon_agents.serving.launching import Dollars
from aideon_agents.state import Tier

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aideon_agents.ledger.budgets.accounts import Limit
    from aideon_agents.serving.service import Service

router = APIRouter(tags=["limits"])

OfBudgets = Annotated[Caller, asking("budgets")]
ScopePath = Annotated[str, Path(max_length=300, examples=["day:user:alice"])]


class SetBudget(BaseModel):
    """What may be spent in a scope."""

    model_config = ConfigDict(extra="forbid")

    usd: Dollars
    enforced: bool = True
    """False: it only warns."""


class Budget(SetBudget):
    """A budget, and what is left of it."""

    scope: str
    window: str | None
    """The UTC day or month that it counts in; None: it has none."""
    spent_usd: str | None
    """None, as below: it applies to each one separately."""
    held_usd: str | None
    left_usd: str | None


class Binding(BaseModel):
    """A limit, and what is left of it. Amounts of money are decimal strings of US dollars."""

    name: str
    """A feature, or the scope of a budget."""
    unit: str
    limit: float | str
    used: float | str
    left: float | str
    reset_at: str | None
    """None: it is no limit of a day."""


class MyLimits(BaseModel):
    """What limits a caller."""

    tier: Tier
    tightest: Binding | None
    """The limit of which the largest share is used; None: nothing is limited."""
    limits: list[Binding]
    rate: dict[Literal["limit", "remaining"], int]
    """How many requests one's key may send in a minute."""
    models: list[str]
    """The models that one may ask, by name."""


@router.get("/me/limits", tags=["me"])
def my_limits(
    request: Request, caller: Annotated[Caller, asking("usage:own")], service: Serving
) -> MyLimits:
    """Show what limits one: the tightest limit first, the rate of one's key, and the models."""
    found = sorted(_binding(service, caller), key=lambda one: -one[0])
    left = rates_of(request).remaining(caller)
    return MyLimits(
        tier=caller.tier,
        tightest=found[0][1] if found else None,
        limits=[one for _, one in found],
        rate={"limit": left.limit, "remaining": left.remaining},
        models=service.launcher.models_of(caller) if caller.may("models:call") else [],
    )


def _binding(service: Service, caller: Caller) -> Iterator[tuple[float, Binding]]:
    """The limits of a caller, each with the share of it that is used."""
    reset_at = quotas.reset_at()
    for feature, used in quotas.used(service.ledger, caller.user, caller.tier).items():
        for unit in ("requests", "tokens", "minutes"):
            most = used.get(f"{unit}_limit")
            if most is not None:
                taken = used[f"{unit}_used"] + used.get(f"{unit}_held", 0)
                left = max(0, most - taken)
                given: Any = {"limit": most, "used": taken, "left": left, "reset_at": reset_at}
                yield taken / most if most else 1.0, Binding(name=feature, unit=unit, **given)
    call = CallDimensions(at=utc_text(now()), user=caller.user, tier=caller.tier)
    with service.ledger.database.transaction() as tx:
        states = accounts.limit_states(tx, call)
    for one in states:
        if not one.warns:
            amounts = (one.limit, one.spent + one.held, max(0, one.left))
            shown: Any = dict(zip(("limit", "used", "left"), map(_text, amounts), strict=True))
            resets = reset_at if one.scope.window == "day" else None
            share = (one.spent + one.held) / one.limit if one.limit else 1.0
            yield share, Binding(name=one.name, unit="usd", reset_at=resets, **shown)


@router.get("/budgets", dependencies=[asking("budgets")])
def list_budgets(service: Serving) -> Page[Budget]:
    """List the budgets, and what is left of each."""
    return Page.of([_budget(one) for one in accounts.limits(service.ledger.database)])


@router.put("/budgets/{scope:path}")
def set_budget(
    scope: ScopePath, given: SetBudget, request: Request, caller: OfBudgets, service: Serving
) -> Budget:
    """Set the budget of a scope, such as `day` or `month:user:alice`. It applies at once."""
    named, by = str(Scope.parse(scope)), by_of(request, caller)
    after = given.model_dump()
    accounts.set_limit(
        service.ledger.database,
        named,
        nanousd(given.usd),
        warns=not given.enforced,
        also=lambda tx: audit.record(tx, by, "budget.set", named, after=after),
    )
    found = accounts.limits(service.ledger.database)
    return next(_budget(one) for one in found if one.scope == named)


@router.delete("/budgets/{scope:path}", responses=answers(404), status_code=204)
def remove_budget(scope: ScopePath, request: Request, caller: OfBudgets, service: Serving) -> None:
    """Remove the budget of a scope."""
    named, by = str(Scope.parse(scope)), by_of(request, caller)
    database = service.ledger.database
    accounts.remove_limit(
        database, named, also=lambda tx: audit.record(tx, by, "budget.removed", named)
    )


def _budget(one: Limit) -> Budget:
    spent, held = one.spent_nanousd, one.held_nanousd
    amounts: list[int] | None = None
    if spent is not None and held is not None:
        amounts = [spent, held, max(0, one.limit_nanousd - spent - held)]
    names = ("spent_usd", "held_usd", "left_usd")
    known: Any = dict(zip(names, map(_text, amounts) if amounts else (None,) * 3, strict=True))
    top, enforced = _text(one.limit_nanousd), not one.warns
    return Budget(scope=one.scope, usd=top, enforced=enforced, window=one.window, **known)


def _text(amount: int) -> str:
    return usd_text(usd(amount))
