"""`aideon users`: the users of the service."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aideon_agents.cli import options, output
from aideon_agents.errors import InputError

if TYPE_CHECKING:
    from aideon_agents.access.users import User

app = typer.Typer(help="List, add, change and block users of the service.", no_args_is_help=True)

_User = Annotated[str, typer.Argument(metavar="NAME", help="The user, as costs and runs name it.")]
_Tier = Annotated[str | None, typer.Option(help="free (unless given), premium or enterprise.")]
_Role = Annotated[
    str | None,
    typer.Option(help="viewer (reads), member (also starts runs; unless given) or admin."),
]
_Name = Annotated[str | None, typer.Option("--name", help="A name to show.")]
_Email = Annotated[str | None, typer.Option(help="To reach the user; it identifies no user.")]


@app.command("list")
def list_users(as_json: options.AsJson = False) -> None:
    """List users by name."""
    from aideon_agents.access import users

    with options.managed() as (ledger, _):
        found = users.listed(ledger)
    if as_json:
        output.document({"users": list(map(dataclasses.asdict, found))})
    elif found:
        rows = [
            (one.user, one.role, one.tier, one.created_at[:10], "blocked" if one.blocked_at else "")
            for one in found
        ]
        output.table(("user", "role", "tier", "since", ""), rows, whole=True)
    else:
        output.note("there are no users: add one with `aideon users add NAME`")


@app.command()
def add(
    user: _User,
    tier: _Tier = None,
    role: _Role = None,
    name: _Name = None,
    email: _Email = None,
    as_json: options.AsJson = False,
) -> None:
    """Add a user. `aideon keys make NAME` then makes a key, `aideon users link NAME` a link."""
    from aideon_agents.access import users

    with options.managed() as (ledger, by):
        made = users.add(ledger, user, by, **_given(tier=tier, role=role, name=name, email=email))
    _confirm(made, "was added", as_json=as_json)


@app.command("set")
def set_user(
    user: _User,
    tier: _Tier = None,
    role: _Role = None,
    name: _Name = None,
    email: _Email = None,
    as_json: options.AsJson = False,
) -> None:
    """Change a user. It applies from the next request on."""
    given = _given(tier=tier, role=role, name=name, email=email)
    if not given:
        raise InputError("give what to change: --tier, --role, --name or --email")
    _change(user, "was changed", as_json=as_json, **given)


@app.command()
def block(user: _User, as_json: options.AsJson = False) -> None:
    """Refuse a user's keys and sessions from the next request on. The keys are kept."""
    _change(user, "is blocked", as_json=as_json, blocked=True)


@app.command()
def unblock(user: _User, as_json: options.AsJson = False) -> None:
    """Accept a blocked user's keys again."""
    _change(user, "is not blocked", as_json=as_json, blocked=False)


@app.command()
def link(user: _User, as_json: options.AsJson = False) -> None:
    """Print a link that signs a user in. It works once, and for 15 minutes."""
    from aideon_agents.access import sessions

    with options.managed() as (ledger, by):
        token = sessions.make_link(ledger, user, by)
    address = sessions.address(options.settings().public_url, token)
    if as_json:
        output.document({"user": user, "link": address, "expires_in_s": sessions.LINK_S})
    else:
        output.line(address)
        output.note("the link works once, and for 15 minutes")


@app.command()
def identity(
    user: _User,
    subject: Annotated[str, typer.Argument(help="The `sub` by which the provider knows the user.")],
    issuer: Annotated[str | None, typer.Option(help="Unless given, AIDEON_OIDC_ISSUER.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Let a user sign in with OpenID Connect. An e-mail address identifies no user."""
    from aideon_agents.access import sessions, users

    known = issuer or options.settings().oidc_issuer
    if not known:
        raise InputError("no provider is set: give --issuer URL, or set AIDEON_OIDC_ISSUER")
    with options.managed() as (ledger, by):
        sessions.add_identity(ledger, user, known, subject, by)
        _confirm(users.find(ledger, user), f"signs in as {subject}", as_json=as_json)


def _given(**values: str | None) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _change(user: str, done: str, *, as_json: bool, **values: Any) -> None:
    from aideon_agents.access import users

    with options.managed() as (ledger, by):
        _confirm(users.change(ledger, user, by, **values), done, as_json=as_json)


def _confirm(user: User, done: str, *, as_json: bool) -> None:
    if as_json:
        output.document(dataclasses.asdict(user))
    else:
        output.note(f"the user {user.user} {done}: {user.role}, tier {user.tier}")
