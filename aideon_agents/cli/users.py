"""`aideon users`: the users of the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from aideon_agents.cli import options, output

if TYPE_CHECKING:
    from aideon_agents.access.users import User

app = typer.Typer(help="List, add, change and block users of the service.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The user, as costs and runs name it.")]
_Tier = Annotated[
    str | None,
    typer.Option(help="What the user may use: free (unless given), premium or enterprise."),
]
_Role = Annotated[
    str | None,
    typer.Option(help="viewer (reads), member (also starts runs; unless given) or admin."),
]
_Full = Annotated[str | None, typer.Option("--name", help="A name to show.")]
_Email = Annotated[str | None, typer.Option(help="To reach the user; it identifies no user.")]


@app.command("list")
def list_users(as_json: options.AsJson = False) -> None:
    """List users by name."""
    from aideon_agents.access import users

    with options.managed() as (ledger, _):
        found = users.listed(ledger)
    if as_json:
        output.document({"users": [users.document(one) for one in found]})
    elif found:
        rows = [
            (one.user_id, one.role, one.tier, one.created_at[:10], _state(one)) for one in found
        ]
        output.table(("user", "role", "tier", "since", "state"), rows, whole=True)
    else:
        output.note("there are no users: add one with `aideon users add NAME`")


@app.command()
def add(
    user: Name,
    tier: _Tier = None,
    role: _Role = None,
    name: _Full = None,
    email: _Email = None,
    as_json: options.AsJson = False,
) -> None:
    """Add a user. `aideon keys make NAME` then makes a key, `aideon users link NAME` a link."""
    from aideon_agents.access import users

    given = _given(tier=tier, role=role, name=name, email=email)
    with options.managed() as (ledger, by):
        made = users.add(ledger, user, by, **given)
    _confirm(made, "was added", as_json=as_json)


@app.command("set")
def set_user(
    user: Name,
    tier: _Tier = None,
    role: _Role = None,
    name: _Full = None,
    email: _Email = None,
    as_json: options.AsJson = False,
) -> None:
    """Change a user. It applies from the next request on."""
    from aideon_agents.access import users
    from aideon_agents.errors import InputError

    given = _given(tier=tier, role=role, name=name, email=email)
    if not given:
        raise InputError("give what to change: --tier, --role, --name or --email")
    with options.managed() as (ledger, by):
        changed = users.change(ledger, user, by, **given)
    _confirm(changed, "was changed", as_json=as_json)


@app.command()
def block(user: Name, as_json: options.AsJson = False) -> None:
    """Refuse a user's keys and sessions from the next request on. The keys are kept."""
    _block(user, is_blocked=True, as_json=as_json)


@app.command()
def unblock(user: Name, as_json: options.AsJson = False) -> None:
    """Accept a blocked user's keys again."""
    _block(user, is_blocked=False, as_json=as_json)


@app.command()
def link(user: Name, as_json: options.AsJson = False) -> None:
    """Print a link that signs a user in. It works once, and for 15 minutes."""
    from aideon_agents.access import sessions

    with options.managed() as (ledger, by):
        token = sessions.make_link(ledger, user, by)
    address = f"{options.settings().public_url.rstrip('/')}/sign-in/{token}"
    if as_json:
        output.document({"user": user, "link": address, "expires_in_s": sessions.LINK_S})
    else:
        output.line(address)
        output.note("the link works once, and for 15 minutes")


def _block(user: str, *, is_blocked: bool, as_json: bool) -> None:
    from aideon_agents.access import users

    with options.managed() as (ledger, by):
        changed = users.change(ledger, user, by, blocked=is_blocked)
    _confirm(changed, "is blocked" if is_blocked else "is not blocked", as_json=as_json)


def _given(**values: str | None) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _confirm(user: User, done: str, *, as_json: bool) -> None:
    from aideon_agents.access import users

    if as_json:
        output.document(users.document(user))
    else:
        output.note(f"the user {user.user_id} {done}: {user.role}, tier {user.tier}")


def _state(user: User) -> str:
    return "blocked" if user.blocked_at else "active"
