"""Quotas: how many requests, tokens and minutes of each feature a user may have per UTC day.

A user's own quota counts before one of the tier in the ledger, and that before `tiers.toml`. A request is
counted at the door, in one transaction with what it starts, and given back if no provider was called with
the system's keys. The tokens of a run are counted by its calls (see `Origin`).
"""

from __future__ import annotations

import contextlib
import functools
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from aideon_agents.access import audit, tiers
from aideon_agents.errors import Changed, InputError, NotFound, shown
from aideon_agents.ledger.budgets import units
from aideon_agents.ledger.budgets.units import Feature, Origin, Unit, Use, in_unit, stored
from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.state import Tier

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from aideon_agents.access.audit import By
    from aideon_agents.access.callers import Caller
    from aideon_agents.ledger.budgets.units import KeySource
    from aideon_agents.ledger.database import Statements
    from aideon_agents.ledger.rows import Run
    from aideon_agents.ledger.store import Ledger

FEATURES: tuple[Feature, ...] = get_args(Feature)
UNITS: tuple[Unit, ...] = get_args(Unit)
TIERS: tuple[Tier, ...] = get_args(Tier)
_PER_DAY: tuple[Unit, ...] = ("requests", "tokens", "minutes")
_TEXT: tuple[Unit, ...] = ("requests", "tokens", "tokens_per_request")
_SOUND: tuple[Unit, ...] = ("requests", "minutes")
_OF_FEATURE: Mapping[Feature, tuple[Unit, ...]] = {
    "text_generation": _TEXT,
    "code_generation": _TEXT,
    "image_generation": ("requests",),
    "vision_analysis": _TEXT,
    "audio_tts": _SOUND,
    "audio_stt": _SOUND,
}
"""The units that each feature is counted in."""

_MOST = 10**12
"""The highest quota that can be set: beyond it, one is unlimited."""
NEAR = 0.8
"""The share of a quota from which its user is shown a way to more."""


class Left(NamedTuple):
    """What is left of a limit on requests."""

    limit: int
    remaining: int
    resets: int
    """When it resets, in seconds since 1970."""


LEFT: ContextVar[list[Left] | None] = ContextVar("left", default=None)
"""Where `admit` adds what is left of a quota, for the heads of an answer; None: there are none."""

Limits = dict[tuple[Feature, Unit], int | None]
"""Quotas as they are counted; None: unlimited."""


@functools.cache
def _of_tiers() -> Mapping[Tier, Limits]:
    def most(tier: Tier, feature: Feature, unit: Unit) -> int | None:
        given = tiers.limits(tier, feature).get(unit)
        return None if given is None else stored(unit, given)

    names: list[tuple[Feature, Unit]] = [
        (feature, unit) for feature, named in _OF_FEATURE.items() for unit in named
    ]
    return {tier: {name: most(tier, *name) for name in names} for tier in TIERS}


def limits_of(tx: Ledger | Statements, user: str, tier: Tier) -> Limits:
    """The quotas of a user of a tier."""
    subjects = {"tier": f"tier:{tier}", "user": f"user:{user}"}
    found: Limits = dict(_of_tiers()[tier])
    for row in tx.select(_OF_SUBJECTS, subjects):  # those of the tier come first
        found[row["feature"], row["unit"]] = row["most"]
    return found


def admit(
    tx: Statements,
    caller: Caller,
    feature: Feature,
    use_id: str,
    *,
    requests: int = 1,
    minutes: float | None = None,
) -> None:
    """Count requests of a feature, and minutes of sound, in the transaction of what they start.

    `use_id` is the id of its run. A run that resumes is counted once. Raises QuotaExceeded for the
    tightest quota, also where no token is left for its first call.
    """
    at = utc_text(now())
    limits = limits_of(tx, caller.user, caller.tier)
    amounts: dict[Unit, int] = {"requests": requests}
    if ("tokens" in _OF_FEATURE[feature]) and limits[feature, "tokens"] is not None:
        amounts["tokens"] = 1
    if minutes is not None:
        amounts["minutes"] = stored("minutes", minutes)
    of = caller.user, feature
    uses = [
        Use(*of, unit, at[:10], amount, limits[feature, unit], counts=unit != "tokens")
        for unit, amount in amounts.items()
    ]
    if (most := uses[0].most) is not None and (left := LEFT.get()) is not None:
        counter = uses[0].counter
        taken = sum(units.counted(tx, [counter])[counter]) + 1
        resets = datetime.fromisoformat(uses[0].reset_at).timestamp()
        left.append(Left(most, max(0, most - taken), int(resets)))
    if refused := units.use(tx, use_id, uses, at):
        lacks, left = refused.use or uses[0], refused.by.limit - refused.by.spent
        fits = lacks.unit == "minutes" and left > 0
        lacks = lacks._replace(offers=offers(tx, caller, feature, lacks.unit))
        cheaper = {"minutes": in_unit("minutes", left)} if fits else None
        raise lacks.exceeded(refused.by.spent, cheaper=cheaper)


def admit_run(
    tx: Statements, caller: Caller, run: Run, *, requests: int = 1, minutes: float | None = None
) -> None:
    """Count the request of a run, unless it is rehearsed, or uses the user's own keys alone."""
    origin = run.origin
    if origin and not run.rehearsed and origin.columns()["key_source"] == "system":
        admit(tx, caller, origin.feature, run.run_id, requests=requests, minutes=minutes)


@contextlib.contextmanager
def admitted(
    ledger: Ledger, caller: Caller, run: Run, *, requests: int = 1, minutes: float | None = None
) -> Generator[None]:
    """Count the request of a run for a block, and give it back if the block calls nothing."""
    with ledger.database.transaction() as tx:
        admit_run(tx, caller, run, requests=requests, minutes=minutes)
    try:
        yield
    finally:
        with ledger.database.transaction() as tx:
            ended(tx, run.run_id)


def ended(tx: Statements, run_id: str) -> None:
    """Give a request back whose run has ended without a call that used the system's keys."""
    if not tx.select(_CALLED, {"run_id": run_id}):
        units.settle(tx, run_id, 0)


def give_back(tx: Statements, use_id: str) -> None:
    """Give a request back that started nothing."""
    units.settle(tx, use_id, 0)


def minutes_used(
    tx: Statements, caller: Caller, feature: Feature, use_id: str, minutes: float
) -> None:
    """Replace the minutes that a request was counted with by those that it took."""
    for row in tx.select(_TAKEN_AT, {"use_id": use_id}):
        use = Use(caller.user, feature, "minutes", row["taken_at"][:10], None, None)
        units.settle(tx, use_id, {use.counter: stored("minutes", minutes)})


def origin_of(
    ledger: Ledger,
    caller: Caller,
    feature: Feature,
    *,
    request_id: str | None = None,
    keys: Mapping[str, tuple[str | None, KeySource]] | None = None,
) -> Origin:
    """What the calls of a run of a caller may use; `keys` are those of `provider_keys.settings_for`."""
    limits = limits_of(ledger, caller.user, caller.tier)
    tokens = limits.get((feature, "tokens"))
    return Origin(
        user=caller.user,
        feature=feature,
        key_id=caller.key_id,
        request_id=request_id,
        tokens=tokens,
        tokens_per_request=limits.get((feature, "tokens_per_request")),
        keys=keys or {},
        offers={} if tokens is None else offers(ledger, caller, feature, "tokens"),
    )


def offers(
    tx: Ledger | Statements, caller: Caller, feature: Feature, unit: Unit
) -> dict[str, object]:
    """What a refusal of a quota offers: the next tier with a higher one, and a key of one's own."""
    own = limits_of(tx, caller.user, caller.tier)[feature, unit]
    upgrade = None
    for tier in TIERS[TIERS.index(caller.tier) + 1 :]:
        most = limits_of(tx, "", tier)[feature, unit]
        if own is not None and (most is None or most > own):
            upgrade = {"tier": tier, "limit": None if most is None else in_unit(unit, most)}
            break
    return {"upgrade": upgrade, "own_key": caller.may("provider-keys:own")}


def used(ledger: Ledger, user: str, tier: Tier) -> dict[Feature, dict[str, Any]]:
    """What a user has used today of each feature, and the quotas; an absent limit is unlimited.

    `tokens_held` are those of calls in progress. `near` names the units of which four fifths are used.
    """
    day = utc_text(now())[:10]
    limits = limits_of(ledger, user, tier)
    uses: dict[tuple[Feature, Unit], Use] = {
        (feature, unit): Use(user, feature, unit, day, 0, limits[feature, unit])
        for feature, unit in limits
        if unit in _PER_DAY
    }
    found = units.counted(ledger.database, [use.counter for use in uses.values()])
    document: dict[Feature, dict[str, Any]] = {feature: {} for feature in FEATURES}
    for (feature, unit), use in uses.items():
        of, (taken, held) = document[feature], found[use.counter]
        of[f"{unit}_used"] = in_unit(unit, taken)
        if use.most is not None:
            of[f"{unit}_limit"] = in_unit(unit, use.most)
            if taken >= use.most * NEAR:
                of.setdefault("near", []).append(unit)
        if held:
            of[f"{unit}_held"] = in_unit(unit, held)
    for (feature, unit), most in limits.items():
        if unit == "tokens_per_request" and most is not None:
            document[feature]["tokens_per_request"] = most
    return document


def after_run(ledger: Ledger, caller: Caller, *tokens: int | None) -> dict[str, int]:
    """What would be left of today's quotas after a run with so many tokens; an absent unit is unlimited."""
    given = used(ledger, caller.user, caller.tier)["text_generation"]
    takes = {"requests": 1, "tokens": sum(one or 0 for one in tokens)}
    return {
        unit: max(
            0, given[f"{unit}_limit"] - given[f"{unit}_used"] - given.get(f"{unit}_held", 0) - n
        )
        for unit, n in takes.items()
        if f"{unit}_limit" in given
    }


def reset_at() -> str:
    """When the quotas of today reset: the next midnight, UTC."""
    return Use("", "text_generation", "requests", utc_text(now())[:10], 0, 0).reset_at


def replace(
    ledger: Ledger,
    subject: str,
    quotas: Mapping[tuple[str, str], float | None],
    by: By,
    *,
    seen: list[dict[str, Any]],
) -> None:
    """Give a subject these quotas and no others, unless they were changed since they were `seen`."""
    with ledger.database.transaction() as tx:
        if listed(tx, subject) != seen:
            raise Changed(f"the quotas of {subject} were changed in the meantime: read them again")
        own = {(one["feature"], one["unit"]) for one in seen if one["set_by"]}
        for feature, unit in own - quotas.keys():
            remove(tx, subject, checked(feature, unit), by)
        for (feature, unit), most in quotas.items():
            named = checked(feature, unit)
            write(tx, subject, named, None if most is None else checked_most(named[1], most), by)


def set_quota(
    ledger: Ledger, subject: str, feature: str, unit: str, by: By, *, most: float | None
) -> None:
    """Set a quota of `tier:free` or `user:alice`; None: unlimited."""
    named = checked(feature, unit)
    counted = None if most is None else checked_most(named[1], most)
    with ledger.database.transaction() as tx:
        write(tx, _checked_subject(tx, subject), named, counted, by)


def remove_quota(ledger: Ledger, subject: str, feature: str, unit: str, by: By) -> None:
    """Remove a quota, so that the one of the tier counts again."""
    named = checked(feature, unit)
    with ledger.database.transaction() as tx:
        remove(tx, subject, named, by)


def remove(tx: Statements, subject: str, named: tuple[Feature, Unit], by: By) -> None:
    """Remove a quota inside a transaction."""
    which = {"subject": subject, "feature": named[0], "unit": named[1]}
    before = tx.select(_ONE, which)
    if not before:
        raise NotFound(f"{subject} has no quota of its own of {named[0]} in {named[1]}")
    tx.write(_REMOVE, which)
    audit.record(tx, by, "quota.removed", subject, before=audited(named, before[0]["most"]))


def listed(ledger: Ledger | Statements, subject: str | None = None) -> list[dict[str, Any]]:
    """The quotas of all tiers and of users with their own, or of one subject, in their units."""
    set_ = {(row["subject"], row["feature"], row["unit"]): row for row in ledger.select(_ALL, {})}
    known: dict[tuple[str, Feature, Unit], int | None] = {
        (f"tier:{tier}", *named): most
        for tier, limits in _of_tiers().items()
        for named, most in limits.items()
    }
    known |= {name: row["most"] for name, row in set_.items()}
    return [
        {
            "subject": one,
            "feature": feature,
            "unit": unit,
            "limit": None if most is None else in_unit(unit, most),
            "set_by": set_[one, feature, unit]["set_by"] if (one, feature, unit) in set_ else None,
        }
        for (one, feature, unit), most in known.items()
        if subject in {None, one}
    ]


def checked(feature: str, unit: str) -> tuple[Feature, Unit]:
    """A feature and one of its units, by their names."""
    for one in FEATURES:
        for named in _OF_FEATURE[one]:
            if (one, named) == (feature, unit):
                return one, named
    if feature not in FEATURES:
        what = f"there is no feature {shown(feature)}"
        raise InputError(f"{what}: write one of {', '.join(FEATURES)}")
    allowed = ", ".join(next(named for one, named in _OF_FEATURE.items() if one == feature))
    raise InputError(f"{feature} is not counted in {shown(unit)}: write one of {allowed}")


def checked_most(unit: Unit, most: float) -> int:
    if not 0 <= most <= _MOST or stored(unit, most) != most * stored(unit, 1):
        parts = "tenths" if unit == "minutes" else "whole"
        raise InputError(f"{shown(most)} is no quota of {unit}: write a number from 0 in {parts}")
    return stored(unit, most)


def _checked_subject(tx: Statements, subject: str) -> str:
    kind, _, name = subject.partition(":")
    if kind == "tier" and name in TIERS:
        return subject
    if kind == "user" and name:
        if not tx.select("SELECT user_id FROM users WHERE user_id = :user", {"user": name}):
            raise NotFound(f"there is no user {shown(name)}: `aideon users list` shows them")
        return subject
    raise InputError(f"{shown(subject)} has no quotas: write tier:{'|'.join(TIERS)}, or user:NAME")


def write(
    tx: Statements, subject: str, named: tuple[Feature, Unit], most: int | None, by: By
) -> None:
    per = "request" if named[1] == "tokens_per_request" else "day"
    which = {"subject": subject, "feature": named[0], "unit": named[1]}
    before = tx.select(_ONE, which)
    at = utc_text(now())
    tx.write(_SET, {**which, "per": per, "most": most, "set_by": by.actor, "set_at": at})
    was = audited(named, before[0]["most"]) if before else None
    audit.record(tx, by, "quota.set", subject, before=was, after=audited(named, most))


def audited(named: tuple[Feature, Unit], most: int | None) -> dict[str, Any]:
    limit = None if most is None else in_unit(named[1], most)
    return {"feature": named[0], "unit": named[1], "limit": limit}


_OF_SUBJECTS = (
    "SELECT feature, unit, most FROM quotas WHERE subject = :tier OR subject = :user"
    " ORDER BY CASE WHEN subject = :tier THEN 0 ELSE 1 END"
)
_ALL = "SELECT subject, feature, unit, most, set_by FROM quotas ORDER BY subject, feature, unit"
_ONE = "SELECT most FROM quotas WHERE subject = :subject AND feature = :feature AND unit = :unit"
_SET = (
    "INSERT INTO quotas (subject, feature, unit, per, most, set_by, set_at)"
    " VALUES (:subject, :feature, :unit, :per, :most, :set_by, :set_at)"
    " ON CONFLICT (subject, feature, unit, per) DO UPDATE"
    " SET most = :most, set_by = :set_by, set_at = :set_at"
)
_REMOVE = "DELETE FROM quotas WHERE subject = :subject AND feature = :feature AND unit = :unit"
_CALLED = (
    "SELECT 1 AS called FROM calls WHERE run_id = :run_id AND rehearsed = 0"
    " AND COALESCE(key_source, 'system') = 'system' LIMIT 1"
)
_TAKEN_AT = "SELECT taken_at FROM uses WHERE use_id = :use_id"
