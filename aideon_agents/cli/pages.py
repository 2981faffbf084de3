"""`aideon graph -f html`: a run, or a graph alone, as one page for a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aideon_agents import tasks
from aideon_agents.cli import opening, ran
from aideon_agents.drawing.page.document import page
from aideon_agents.drawing.page.record import recorded
from aideon_agents.drawing.spent_notes import annotated
from aideon_agents.drawing.topology import read
from aideon_agents.errors import InputError

if TYPE_CHECKING:
    from aideon_agents.cli.drawings import Asked


def made(asked: Asked) -> bytes:
    """Make the page."""
    if asked.target is not None:
        topology = read(tasks.load(asked.target).graph)
        alone = page(topology, None, lambda _: None, theme=asked.theme, depth=asked.depth)
        return alone.encode()
    if asked.batch is not None or len(asked.runs) != 1:
        raise InputError("-f html shows the calls of one run: give --run once, or another -f")
    with opening.ledger() as ledger:
        found = ran.runs(ledger, asked.runs)
        record = recorded(ledger, ledger.find_run(found.run_ids[0]))
    return page(
        found.topology,
        record,
        lambda drawn: annotated(found.figures, found.topology, drawn),
        theme=asked.theme,
        depth=asked.depth,
    ).encode()
