"""`aideon simulate`: a simulated provider, in the foreground until Ctrl-C."""

from __future__ import annotations

import difflib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from aideon_agents.cli import output
from aideon_agents.cli.execution import interruptible
from aideon_agents.errors import InputError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aideon_agents.testing import Bill, ChatRequest, Fault, SeenRequest, SimulatedProvider

_POLL = 0.1  # seconds between two looks for new requests
_SLOW = 0.05  # seconds per word, for the fault `slow` without --latency
_PREFIXES = ("TOGETHER", "OPENAI", "HF")
_KEYS = {"HF": "HF_TOKEN"}
_LEDGER = ".aideon/simulated/ledger.db"
"""A folder of its own, because checkpoints and alert settings are beside a ledger."""


def simulate(
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 0,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND[:RATE]",
            help="Simulate a fault (429, 500, hang, reset_after, cut_after_first_token, ...)"
            " in a share of the requests, 0 to 1. May be repeated.",
        ),
    ] = None,
    dialect: Annotated[
        str | None,
        typer.Option(
            metavar="SERVER",
            help="Accept and send what a real server does: together, openai, huggingface,"
            " llama-cpp-python, llama-server, ollama, vllm, lmstudio or tgi.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random faults.")] = 0,
    latency: Annotated[
        float,
        typer.Option(min=0, help="Seconds before each answer, or before each word of a slow one."),
    ] = 0.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the bill as one JSON document.")
    ] = False,
) -> None:
    """Run a simulated provider. Prints the settings for it, each request, and the bill."""
    from aideon_agents.testing import SimulatedProvider

    provider = SimulatedProvider(
        faults=_plan(fault or [], seed, latency), dialect=_dialect(dialect), port=port
    )
    try:
        provider.start()
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise InputError(f"cannot use port {port}: {reason}; choose another with --port") from None
    shown = 0
    with interruptible() as interruption:
        interruption.raises()
        try:
            _announce(provider.base_url, output.note if as_json else output.line)
            while True:
                shown = _follow(provider, shown)
                time.sleep(_POLL)
        except KeyboardInterrupt:
            pass
        finally:
            provider.close()
    _follow(provider, shown)
    _show(provider.bill, as_json=as_json)


def _announce(base_url: str, write: Callable[[str], None]) -> None:
    """Print its address and keys, and a ledger of its own, as lines for a `.env` file."""
    from aideon_agents.settings.providers import PROVIDERS

    write(f"# a simulated provider at {base_url}, until Ctrl-C")
    for prefix in _PREFIXES:
        write(f"{prefix}_BASE_URL={base_url}")
        write(f"{_KEYS.get(prefix, prefix + '_API_KEY')}=simulated")
    for row in PROVIDERS:
        if row.media_only:
            write(f"{row.base_url_env}={base_url.removesuffix('/v1')}")
            write(f"{row.key_env[0]}=simulated")
    write(f"AIDEON_LEDGER=sqlite:///{Path(_LEDGER).absolute()}")


def _follow(provider: SimulatedProvider, shown: int) -> int:
    """Print a line for each new finished request; returns how many are printed by now."""
    for request in provider.requests[shown:]:
        if request.outcome == "open":  # lines keep the order of arrival
            break
        output.note(_line(request))
        shown += 1
    return shown


def _line(request: SeenRequest) -> str:
    at = time.strftime("%H:%M:%S", time.localtime(request.at))
    asked = f"{request.method} {request.path}"
    return " ".join(filter(None, (at, request.request_id, asked, request.model, request.outcome)))


def _show(bill: Bill, *, as_json: bool) -> None:
    def counts(one: Any) -> dict[str, int]:
        return {name: getattr(one, name) for name in ("requests", "input_tokens", "output_tokens")}

    def cells(one: Any) -> list[str]:
        return [f"{count:,}" for count in counts(one).values()]

    by_model = bill.by_model.items()
    if as_json:
        models = [{"model": model, **counts(total)} for model, total in by_model]
        output.document({**counts(bill), "models": models})
        return
    output.table(
        ("model", "requests", "in", "out"),
        [(model, *cells(total)) for model, total in by_model],
        total=("total", *cells(bill)),
        numbers=3,
    )


def _dialect(name: str | None) -> Any:
    """The dialect with this name; InputError: there is none."""
    from aideon_agents.testing.simulated.dialects import dialect_of

    try:
        return dialect_of(name)
    except UserError as error:
        raise InputError(f"--dialect: {error}") from None


def _plan(words: Sequence[str], seed: int, latency: float) -> Any:
    """A plan for the provider: the first of the faults that chance picks, else the latency."""
    from aideon_agents.testing import Fault, RandomFaults

    chances = [
        RandomFaults(seed + number, rate, kinds=[one])
        for number, (one, rate) in enumerate(_fault(word, latency) for word in words)
    ]
    usual = Fault("delay", seconds=latency) if latency else None

    def draw(request: ChatRequest) -> Fault | None:
        drawn = [chance(request) for chance in chances]
        return next(filter(None, drawn), usual)

    return draw


def _fault(word: str, latency: float) -> tuple[Fault, float]:
    """Read `KIND` or `KIND:RATE`."""
    from aideon_agents.testing import Fault
    from aideon_agents.testing.simulated.faults import Named, Status

    named, _, share = word.partition(":")
    kinds = {str(kind): kind for kind in (*get_args(Status), *get_args(Named))}
    if named not in kinds:
        near = difflib.get_close_matches(named, kinds, n=3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else f": one of {', '.join(kinds)}"
        raise InputError(f"--fault {word}: unknown fault {named!r}{hint}")
    try:
        rate = float(share) if share else 1.0
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= 1:
        raise InputError(f"--fault {word}: the rate {share!r} must be a number from 0 to 1")
    seconds = latency or _SLOW if named in {"slow", "delay"} else None
    return Fault(kinds[named], seconds=seconds), rate
