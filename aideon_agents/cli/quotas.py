"""`aideon quotas`: what users of the service may have in a day, and requests for more."""

from __future__ import annotations

from typing import Annotated

import typer

from aideon_agents.cli import options, output
from aideon_agents.errors import InputError, shown

app = typer.Typer(
    help="List and set quotas, and decide on requests for more.", no_args_is_help=True
)

_Subject = Annotated[
    str, typer.Argument(metavar="SUBJECT", help="tier:free, or user:NAME for one user alone.")
]


@app.command("list")
def list_quotas(
    subject: Annotated[
        str | None, typer.Argument(metavar="SUBJECT", help="Only those of tier:free or user:NAME.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """List the quotas of tiers, and of users with their own."""
    from aideon_agents.access import quotas

    with options.managed() as (ledger, _):
        found = quotas.listed(ledger, subject)
    if as_json:
        output.document({"quotas": found})
        return
    limited = [one for one in found if one["limit"] is not None or one["set_by"]]
    if not limited:
        output.note(
            "nothing is limited" if subject is None else f"{subject} has no quota of its own"
        )
        return
    rows = [(one["subject"], one["feature"], one["unit"], _amount(one["limit"])) for one in limited]
    output.table(("for", "feature", "unit", "limit"), rows, numbers=1)


@app.command("set")
def set_quota(
    subject: _Subject,
    feature: Annotated[str, typer.Argument(metavar="FEATURE", help="text_generation or another.")],
    unit: Annotated[
        str, typer.Argument(metavar="UNIT", help="requests, tokens, tokens_per_request or minutes.")
    ],
    limit: Annotated[
        str,
        typer.Argument(
            metavar="LIMIT", help="A number, unlimited, or default for what the tier has."
        ),
    ],
) -> None:
    """Set a quota per UTC day. It applies from the next request on."""
    from aideon_agents.access import quotas

    word = limit.strip().lower()
    with options.managed() as (ledger, by):
        if word == "default":
            quotas.remove_quota(ledger, subject, feature, unit, by)
        else:
            most = None if word == "unlimited" else _number(word)
            quotas.set_quota(ledger, subject, feature, unit, by, most=most)
    output.note(f"{unit} of {feature} for {subject}: {word}")


@app.command("requests")
def list_requests(
    every: Annotated[
        bool, typer.Option("--all", help="Also those that were decided already.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """List requests for higher quotas, the newest first."""
    from aideon_agents.access import increases

    with options.managed() as (ledger, _):
        found = increases.requests(ledger, status=None if every else "open")
    if as_json:
        output.document({"requests": found})
        return
    if not found:
        output.note("no request waits for a decision")
        return
    rows = [
        (
            one["id"],
            one["user_id"],
            f"{one['feature']} {one['unit']}",
            one["status"],
            _amount(one["asked"]),
        )
        for one in found
    ]
    output.table(("request", "user", "of", "status", "asked"), rows, numbers=1, whole=True)


@app.command("decide")
def decide(
    request: Annotated[str, typer.Argument(metavar="REQUEST", help="The id of the request.")],
    decision: Annotated[str, typer.Argument(metavar="DECISION", help="approve or decline.")],
) -> None:
    """Approve a request, which sets the quota of the user, or decline it."""
    from aideon_agents.access import increases

    if decision not in ("approve", "decline"):
        raise InputError(f"the decision is approve or decline, not {shown(decision)}")
    with options.managed() as (ledger, by):
        row = increases.decide(ledger, request, by, approve=decision == "approve")
    output.note(f"{row['id']} was {row['status']}")


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise InputError(
            f"{shown(word)} is no limit: write a number, unlimited or default"
        ) from None


def _amount(limit: float | None) -> str:
    return "unlimited" if limit is None else f"{limit:,g}"
