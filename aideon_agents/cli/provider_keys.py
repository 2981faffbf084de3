"""`aideon keys provider`: the keys of providers that the service calls with. `aideon keys reseal`."""

from __future__ import annotations

import getpass
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aideon_agents.cli import options, output
from aideon_agents.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Generator

    from aideon_agents.access.audit import By
    from aideon_agents.access.provider_keys import ProviderKeys

app = typer.Typer(
    help="List, store, prove, rotate and remove keys of providers. They are sealed with AIDEON_KEY_RING.",
    no_args_is_help=True,
)

_Provider = Annotated[
    str, typer.Argument(metavar="PROVIDER", help="together, openai or another with a key.")
]
_User = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The key of this user; unless given, the system's."),
]


@app.command("list")
def list_keys(user: _User = None, as_json: options.AsJson = False) -> None:
    """List the stored keys of all, or of one user, by their last four characters."""
    from aideon_agents.access import users

    with _stored() as (keys, _):
        if user is not None:
            users.find(keys.ledger, user)
        found = keys.listed(*([user] if user else []))
    if as_json:
        output.document({"provider_keys": found})
    elif found:
        rows = [(one["provider"], one["user"] or "(system)", *_shown(one)) for one in found]
        output.table(("provider", "of", "key", "share", "state"), rows, whole=True)
    else:
        output.note("no key is stored: runs use those of the environment")


@app.command("set")
def set_key(
    provider: _Provider,
    user: _User = None,
    may_fall_back: Annotated[
        bool,
        typer.Option("--may-fall-back", help="Runs of the user may also use the system's keys."),
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Store a key, which is read from stdin or asked for, in place of the one that there is."""
    if may_fall_back and user is None:
        raise InputError("--may-fall-back is about the key of a user: give --user NAME as well")
    with _stored() as (keys, by):
        made = keys.store(user, provider, _secret(provider), by, may_fall_back=may_fall_back)
    _confirm(made, f"the key ...{made['last4']} of {provider} is stored", as_json=as_json)


@app.command()
def remove(provider: _Provider, user: _User = None) -> None:
    """Remove a key. What was sealed is erased."""
    with _stored() as (keys, by):
        keys.remove(user, provider, by)
    output.note(f"the key of {provider} is removed")


@app.command()
def prove(provider: _Provider, user: _User = None, as_json: options.AsJson = False) -> int:
    """Ask a provider, with one free call, whether it takes the newest key. Exit code 1: it does not."""
    from aideon_agents.models.bridge import blocking
    from aideon_agents.serving import proving

    with _stored() as (keys, by):
        found = blocking(proving.prove(keys, user, provider, by))
    _confirm(found, f"the key of {provider} is {found['state']}", as_json=as_json)
    return options.DONE if found["state"] == "proven" else options.FAILED


@app.command()
def rotate(
    provider: _Provider,
    next_step: Annotated[bool, typer.Option("--next", help="Take the next step now.")] = False,
    back: Annotated[
        bool, typer.Option("--back", help="Use the old key for all runs again.")
    ] = False,
    show: Annotated[bool, typer.Option("--show", help="Only show how far it is.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Begin to replace the system's key by one from stdin: for 10, 50, then 100 % of the runs.

    It takes its steps by itself, and goes back when the provider rejects the new key.
    """
    from aideon_agents.models.bridge import blocking
    from aideon_agents.serving import proving

    if next_step + back + show > 1:
        raise InputError("--next, --back and --show exclude each other: give one of them")
    with _stored() as (keys, by):
        if next_step or back:
            keys.turn(provider, "next" if next_step else "back", by)
        elif not show:
            blocking(proving.begin(keys, provider, _secret(provider), by))
        found = keys.rotation(provider)
    if as_json:
        output.document(found)
        return
    rows = [(*_shown(one)[:2], str(one["calls"]), str(one["rejected"])) for one in found["keys"]]
    output.table(("key", "share", "calls", "rejected"), rows, numbers=2)
    goes_on = f"next: {found['next']} %" if found["under_way"] else "no rotation is under way"
    output.note(f"{provider}: {goes_on}")


def reseal(as_json: options.AsJson = False) -> int:
    """Seal all stored keys with the first key of AIDEON_KEY_RING. Again, it continues where it stopped."""
    with _stored() as (keys, by):
        done = keys.reseal(by)
    if as_json:
        output.document(done)
    else:
        output.note(f"{output.counted(done['resealed'], 'row')} sealed again")
        if done["unneeded"]:
            output.note(
                f"no row is sealed with {', '.join(done['unneeded'])} any more: take it out of the"
                " ring when `aideon audit check` need not check the entries made with it"
            )
        if done["unreadable"]:
            output.complain(f"{', '.join(done['unreadable'])} cannot be opened: enter them again")
    return options.FAILED if done["unreadable"] else options.DONE


@contextmanager
def _stored() -> Generator[tuple[ProviderKeys, By]]:
    from aideon_agents.access.provider_keys import ProviderKeys

    with options.managed() as (ledger, by):
        yield ProviderKeys(ledger, options.settings(), by.ring), by


def _secret(provider: str) -> str:
    """A key that is typed unseen, or read from stdin; never an argument, which other users see."""
    given = ""
    with suppress(EOFError):
        is_typed = sys.stdin.isatty()
        given = getpass.getpass(f"Key of {provider}: ") if is_typed else options.text_in(None)
    if not given.strip():
        raise InputError(f"no key of {provider} was given: type it, or pipe it into stdin")
    return given.strip()


def _shown(one: dict[str, Any]) -> tuple[str, str, str]:
    is_proven = one["proven_at"] and one["state"] == "active"
    return f"...{one['last4']}", f"{one['share']} %", "proven" if is_proven else one["state"]


def _confirm(made: dict[str, Any], done: str, *, as_json: bool) -> None:
    if as_json:
        output.document(made)
    else:
        output.note(done)
