"""How far a batch has come, on stderr: drawn on a terminal, or a JSON line a second."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING

from aideon_agents.cli import output

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rich.console import RenderableType

    from aideon_agents.batch.progress import Progress

_MINUTE, _HOUR = 60, 3600


@contextlib.contextmanager
def watching(form: str) -> Generator[Callable[[Progress], None] | None]:
    """Show progress while a block lasts."""
    if form == "json":
        yield lambda progress: output.note(json.dumps(progress.document()))
    elif form == "auto" and sys.stderr.isatty():
        with _drawn() as draw:
            yield draw
    else:
        yield None


@contextlib.contextmanager
def _drawn() -> Generator[Callable[[Progress], None]]:
    from rich.console import Console  # noqa: PLC0415 - help must not wait for it
    from rich.live import Live  # noqa: PLC0415 - as above

    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda progress: live.update(_picture(progress), refresh=True)


def _picture(progress: Progress) -> RenderableType:
    from rich.console import Group  # noqa: PLC0415 - as above
    from rich.progress_bar import ProgressBar  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    bar = Table.grid(padding=(0, 1))
    share = 100 * progress.done // progress.items
    counts = f"{progress.done:,} of {progress.items:,} ({share} %)"
    bar.add_row(ProgressBar(progress.items, progress.done, width=40), Text(counts))
    dearest = Table.grid(padding=(0, 2))
    for path, usd in progress.dearest:
        dearest.add_row(Text(f"  {path}"), Text(output.money(usd), justify="right"))
    return Group(bar, *(Text(line) for line in lines(progress)), dearest)


def lines(progress: Progress) -> list[str]:
    """How far a batch has come, in words."""
    troubles = [
        f"{count:,} {word}"
        for count, word in ((progress.failed, "failed"), (progress.invalid, "invalid"))
        if count
    ]
    left = "" if progress.seconds_left is None else f", {_time(progress.seconds_left)} left"
    items = [f"{progress.completed:,} completed", *troubles, f"{progress.in_flight:,} in flight"]
    spent = output.money(progress.spent, complete=progress.complete)
    of = "" if progress.budget is None else f" of {output.money(progress.budget)}"
    return [f"{', '.join(items)}; {progress.items_per_s:,.1f} items/s{left}", f"{spent}{of} spent"]


def _time(seconds: float) -> str:
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    hours, rest = divmod(whole, _HOUR)
    minutes, second = divmod(rest, _MINUTE)
    return f"{hours}:{minutes:02}:{second:02}" if hours else f"{minutes}:{second:02}"
