"""`aideon serve`: the service, in the foreground until Ctrl-C."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from aideon_agents.cli import options, output
from aideon_agents.errors import InputError, UserError

if TYPE_CHECKING:
    from aideon_agents.settings import Settings

_Workflows = Annotated[
    list[str] | None,
    typer.Option(
        "--workflow", metavar="NAME=TARGET", help="Serve a workflow under a name. May be repeated."
    ),
]

_Hosts = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Also answer under this host name. May be repeated."),
]
_Origins = Annotated[
    list[str] | None,
    typer.Option(metavar="URL", help="Let web pages of this origin use it. May be repeated."),
]
_Port = Annotated[int | None, typer.Option(min=0, help="A port for /metrics, without a key.")]


def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")
    ] = 8400,
    workers: Annotated[int, typer.Option(min=1, max=64, help="How many processes.")] = 1,
    workflow: _Workflows = None,
    allow_host: _Hosts = None,
    allow_origin: _Origins = None,
    metrics_port: _Port = None,
    log: Annotated[
        Literal["text", "json"], typer.Option(help="How the log is written to stderr.")
    ] = "text",
    rehearse: Annotated[bool, typer.Option("--rehearse", help="Call no model.")] = False,
) -> None:
    """Serve workflows over HTTP. Ctrl-C stops runs at a node's edge; the next start continues them."""
    try:
        from aideon_agents.api import server
        from aideon_agents.dashboard import app as dashboard
    except ModuleNotFoundError as missing:
        raise UserError(
            f"aideon serve needs {missing.name}: pip install 'aideon-agents[serve]'"
        ) from None
    settings = options.settings()
    is_local = server.is_loopback(host)
    named = _checked(options.pairs(workflow, "--workflow"), settings, None if is_local else host)
    given = server.Serving(
        settings=settings,
        workflows=named,
        is_local=is_local,
        hosts=allow_host or (),
        origins=allow_origin or (),
        rehearse=rehearse,
        log=log,
        metrics=None if metrics_port is None else (host, metrics_port),
        pages=dashboard.mount,
    )
    listening = server.listen(host, port)
    where = listening.getsockname()

    def ready(port: int | None) -> None:
        shown = f"[{where[0]}]" if ":" in where[0] else where[0]
        output.note(
            f"serving {', '.join(sorted(named))} on http://{shown}:{where[1]} (pages at /ui; Ctrl-C stops it)"
        )
        if port is not None:
            output.note(f"metrics on http://{shown}:{port}/metrics")
        if rehearse or not settings.can_call:
            output.note(options.rehearsing("as asked" if rehearse else "no provider has a key"))

    def stopping() -> None:
        output.note(
            "stopping: runs end where no node is in progress; interrupt again to end at once"
        )

    server.serve(given, listening, workers, ready, stopping)


def _checked(given: dict[str, str], settings: Settings, outside: str | None) -> dict[str, str]:
    """The workflows to serve; what would fail in every process is refused here.

    `outside` is the address where other machines reach the service; None: none does.
    """
    from aideon_agents.access import ring
    from aideon_agents.access.callers import is_open
    from aideon_agents.access.provider_keys import ProviderKeys
    from aideon_agents.ledger.store import Ledger
    from aideon_agents.serving.workflows import Workflows
    from aideon_agents.tasks.registered import registered

    named = {**registered(), **given}
    if not named:
        raise InputError(
            "no workflow is registered: give --workflow NAME=TARGET, such as --workflow brief=brief,"
            " or name them in [tool.aideon.workflows]"
        )
    Workflows(named, settings)
    with Ledger.from_url(settings.ledger) as ledger:
        ProviderKeys(ledger, settings, ring.read(settings.key_ring)).check_ring()
        if outside is not None and is_open(ledger):
            raise InputError(
                f"--host {outside} lets other machines in, and there is no key yet: make one with "
                "`aideon keys make USER`, or listen on 127.0.0.1"
            )
    return named
