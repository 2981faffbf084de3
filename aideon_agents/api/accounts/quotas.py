"""What a caller may have in a day, and requests for more: of the caller, and of everybody for admins."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from aideon_agents.access import increases, quotas, users
from aideon_agents.access.callers import Caller
from aideon_agents.api.asking import (
    Cursor,
    IfMatch,
    Limit,
    Page,
    Serving,
    asking,
    by_of,
    check_match,
    page,
    tagged,
)
from aideon_agents.api.problems import answers
from aideon_agents.ledger.budgets.units import Feature, Unit
from aideon_agents.state import Tier

router = APIRouter(tags=["quotas"])

Reader = Annotated[Caller, asking("usage:own")]
Asking = Annotated[Caller, asking("quota:ask")]
OfQuotas = Annotated[Caller, asking("quotas")]
_CHANGES = answers(404, 412, 428)


class Quota(BaseModel):
    """What was used today of a feature. A limit that is null does not apply."""

    requests_used: int | None = None
    requests_held: int | None = None
    """Of requests in progress, as the other amounts that are held."""
    requests_limit: int | None = None
    tokens_used: int | None = None
    tokens_held: int | None = None
    tokens_limit: int | None = None
    tokens_per_request: int | None = None
    minutes_used: float | None = None
    minutes_held: float | None = None
    minutes_limit: float | None = None
    near: list[str] = []
    """Units of which four fifths are used."""


class Today(BaseModel):
    """The quotas of a UTC day."""

    features: dict[Feature, Quota]
    reset_at: str


class AskForMore(BaseModel):
    """A request for a higher quota."""

    model_config = ConfigDict(extra="forbid")

    feature: Feature
    unit: Unit
    limit: Annotated[int, Field(ge=1, le=10**12)]
    """What is wanted, per day or for a request."""
    reason: Annotated[str, Field(max_length=2000)] | None = None


class Decide(BaseModel):
    """A decision on a request."""

    model_config = ConfigDict(extra="forbid")

    approve: bool


class Increase(BaseModel):
    """A request for a higher quota, and what became of it."""

    id: str
    user_id: str
    feature: Feature
    unit: Unit
    asked: float
    reason: str | None
    status: Literal["open", "approved", "declined"]
    asked_at: str
    decided_by: str | None
    decided_at: str | None


class SetQuota(BaseModel):
    """A quota; null: unlimited."""

    model_config = ConfigDict(extra="forbid")

    feature: Feature
    unit: Unit
    limit: Annotated[float, Field(ge=0, le=10**12)] | None


class SetQuotas(BaseModel):
    """All quotas of a tier, or of a user alone. What is left out is as before any was set."""

    model_config = ConfigDict(extra="forbid")

    quotas: Annotated[list[SetQuota], Field(max_length=50)]


class ShownQuota(SetQuota):
    """A quota, and who has set it."""

    model_config = ConfigDict(extra="ignore")

    set_by: str | None
    """None: it is the first value of the tier."""


class Quotas(BaseModel):
    """The quotas of a tier, or those of a user alone, which count before the tier's."""

    subject: str
    quotas: list[ShownQuota]


@router.get("/me/quota")
def my_quota(caller: Reader, service: Serving) -> Today:
    """Show what one has used today, and what one may use."""
    used = quotas.used(service.ledger, caller.user, caller.tier)
    features: dict[Feature, Quota] = {name: Quota.model_validate(one) for name, one in used.items()}
    return Today(features=features, reset_at=quotas.reset_at())


@router.get("/me/quota-requests")
def my_requests(
    caller: Asking, service: Serving, limit: Limit = 20, cursor: Cursor = None
) -> Page[Increase]:
    """List one's own requests for higher quotas, the newest first."""
    return _listed(increases.requests(service.ledger, user=caller.user), limit, cursor)


@router.post("/me/quota-requests", responses=answers(409), status_code=201)
def ask_for_more(given: AskForMore, request: Request, caller: Asking, service: Serving) -> Increase:
    """Ask for a higher quota. An admin decides."""
    by, named = by_of(request, caller), (given.feature, given.unit)
    made = increases.ask(service.ledger, caller, *named, by, most=given.limit, reason=given.reason)
    return Increase.model_validate(made)


@router.get("/quota-requests", dependencies=[asking("quotas")])
def list_requests(service: Serving, limit: Limit = 20, cursor: Cursor = None) -> Page[Increase]:
    """List the requests of all users, the newest first."""
    return _listed(increases.requests(service.ledger), limit, cursor)


class _Subject:
    """Shows and sets the quotas of a tier or a user, for a request."""

    def __init__(self, request: Request, response: Response, service: Serving) -> None:
        self.ledger, self.request, self.response = service.ledger, request, response

    def shown(self, subject: str) -> Quotas:
        found = quotas.listed(self.ledger, subject)
        made = Quotas.model_validate({"subject": subject, "quotas": found})
        return tagged(self.response, made)

    def set(self, subject: str, given: SetQuotas, caller: Caller, if_match: str | None) -> Quotas:
        seen = quotas.listed(self.ledger, subject)
        check_match(if_match, self.shown(subject))
        wanted = {(one.feature, one.unit): one.limit for one in given.quotas}
        quotas.replace(self.ledger, subject, wanted, by_of(self.request, caller), seen=seen)
        return self.shown(subject)


Subject = Annotated[_Subject, Depends()]


@router.get("/quotas/{tier}", dependencies=[asking("quotas")])
def show_tier(tier: Tier, of: Subject) -> Quotas:
    """Show the quotas of a tier."""
    return of.shown(f"tier:{tier}")


@router.put("/quotas/{tier}", responses=_CHANGES)
def set_tier(
    tier: Tier, given: SetQuotas, caller: OfQuotas, of: Subject, if_match: IfMatch = None
) -> Quotas:
    """Set the quotas of a tier. They apply from the next request on."""
    return of.set(f"tier:{tier}", given, caller, if_match)


@router.get("/users/{user}/quotas", responses=answers(404), dependencies=[asking("quotas")])
def show_user(user: str, of: Subject) -> Quotas:
    """Show the quotas that a user has alone."""
    return of.shown(f"user:{users.find(of.ledger, user).user}")


@router.put("/users/{user}/quotas", responses=_CHANGES)
def set_user(
    user: str, given: SetQuotas, caller: OfQuotas, of: Subject, if_match: IfMatch = None
) -> Quotas:
    """Set the quotas that a user has alone. They apply from the next request on."""
    return of.set(f"user:{users.find(of.ledger, user).user}", given, caller, if_match)


@router.patch("/quota-requests/{request_id}", responses=answers(404, 409))
def decide(
    request_id: Annotated[str, Path(max_length=100)],
    given: Decide,
    request: Request,
    caller: OfQuotas,
    service: Serving,
) -> Increase:
    """Approve a request, which sets the quota of the user, or decline it."""
    by = by_of(request, caller)
    made = increases.decide(service.ledger, request_id, by, approve=given.approve)
    return Increase.model_validate(made)


def _listed(found: list[dict[str, Any]], limit: int, cursor: str | None) -> Page[Increase]:
    """The part of a list after a cursor."""
    rest = [one for one in found if cursor is None or cast("str", one["id"]) < cursor]
    shown, following = page(rest[: limit + 1], limit, lambda one: cast("str", one["id"]))
    return Page(items=[Increase.model_validate(one) for one in shown], next=following)
