"""`aideon run --stream`: the events of a run on stderr.

In a file or a pipe they are plain lines. A node that runs alone is shown token by token. The lines of
parallel nodes are shown when they are complete, after the name of the node, because mixed tokens
cannot be read. On a terminal the nodes are a tree with costs and times, and the last words of a
running node. The tree stays when the run has ended. The result itself goes to stdout.
"""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from aideon_agents.cli import output
from aideon_agents.graphs.topology import in_declared_order
from aideon_agents.runner import RunEnded, events

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.console import ConsoleOptions, RenderResult

    from aideon_agents.ledger.costs import NodeCost
    from aideon_agents.runner import Event, NodeEnded, NodeStarted


class EventPrinter:
    """Prints the events of one run as lines."""

    def __init__(self) -> None:
        self._active: dict[str, str] = {}
        """For each running node, the part of its current line that is not shown yet."""
        self._open: str | None = None
        """The node whose line is shown in part; None: the last line is complete."""

    def __call__(self, event: Event) -> None:
        """Print one event."""
        if isinstance(event, events.NodeStarted):
            self._started(event)
        elif isinstance(event, events.Token):
            self._token(event.node_path, output.printable(event.text))
        elif isinstance(event, events.Restart):
            self._flush(event.node_path)
            self._line(event.node_path, "(restarted: the text so far is not the answer)")
        elif isinstance(event, events.NodeEnded):
            self._ended(event)
        elif isinstance(event, events.Question):
            self._flush(event.node_path)
            self._active.pop(event.node_path, None)
            self._line(event.node_path, "(waits for an answer)")
        else:
            for path in self._active:
                self._flush(path)
            self._break()

    def _started(self, event: NodeStarted) -> None:
        self._active[event.node_path] = ""
        if event.role:  # a function has no tokens
            again = f", round {event.round}" if event.round > 1 else ""
            self._line(event.node_path, f"({event.role}{again})")

    def _token(self, path: str, text: str) -> None:
        alone = len(self._active) == 1 and path in self._active
        whole, newline, rest = (self._active.get(path, "") + text).rpartition("\n")
        if newline:
            for line in whole.split("\n"):
                self._show(path, line, ends=True)
        self._active[path] = rest
        if alone and rest:
            self._show(path, rest, ends=False)
            self._active[path] = ""

    def _ended(self, event: NodeEnded) -> None:
        self._flush(event.node_path)
        self._active.pop(event.node_path, None)
        if event.error:
            self._line(event.node_path, f"(failed: {event.error})")
        elif event.cost:
            usd = output.money(event.cost.usd, complete=event.cost.complete)
            calls = output.counted(event.cost.calls, "call")
            self._line(event.node_path, f"(done: {usd} in {calls})")
        elif event.result:
            self._line(event.node_path, "(done)")

    def _flush(self, path: str) -> None:
        if rest := self._active.get(path):
            self._show(path, rest, ends=True)
            self._active[path] = ""

    def _show(self, path: str, text: str, *, ends: bool) -> None:
        """Continue the line of a node, or begin one."""
        if self._open != path:
            self._break()
            text = f"{path} | {text}"
        if ends:
            output.note(text)
        else:
            output.begin(text)
        self._open = None if ends else path

    def _line(self, path: str, text: str) -> None:
        self._break()
        output.note(f"{path} {text}")

    def _break(self) -> None:
        if self._open is not None:
            output.note("")
            self._open = None


_FRAMES_PER_SECOND = 8
_MARGIN = 2
"""Lines of the terminal that stay free."""
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_KEPT = 400
"""Characters of the text of a node that are kept."""
_SHOWN = 60
"""Characters of them that are shown."""


@dataclasses.dataclass
class _Node:
    """A node, or a pattern around nodes."""

    path: str
    role: str = ""
    round: int = 1
    began: float | None = None
    """None: it is a pattern, or is not running."""
    seconds: float = 0.0
    """Of the finished rounds."""
    state: str = ""
    """Empty for a pattern, else running, done, failed or waiting."""
    error: str = ""
    cost: NodeCost | None = None
    text: str = ""

    @property
    def level(self) -> int:
        return self.path.count("/")

    def took(self, now: float) -> float:
        """The duration so far, in seconds."""
        return self.seconds + (now - self.began if self.began is not None else 0.0)


class LiveTree:
    """Draws the events of one run as a tree, within a `with` block."""

    def __init__(self, model: Mapping[str, Any] | None = None, *, stays: bool = True) -> None:
        """Begin with the plain model of the graph, whose order the nodes have."""
        self._model = model
        # The name of a node may look like markup: `[red]` or `:100:`.
        console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._nodes: dict[str, _Node] = {}
        self._live = Live(
            self,
            console=console,
            refresh_per_second=_FRAMES_PER_SECOND,
            redirect_stdout=False,
            transient=not stays,
            vertical_overflow="crop",
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        for node in self._nodes.values():
            self._ended(node, "stopped" if node.state == "running" else node.state)
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Take in one event."""
        if isinstance(event, RunEnded):
            return
        node = self._at(event.node_path)
        if isinstance(event, events.NodeStarted):
            node.role, node.round, node.state = event.role, event.round, "running"
            node.began, node.text = time.monotonic(), ""
        elif isinstance(event, events.Token):
            node.text = (node.text + output.printable(event.text))[-_KEPT:]
        elif isinstance(event, events.Restart):
            node.text = ""
        elif isinstance(event, events.NodeEnded):
            node.cost = event.cost
            node.error = event.error or ""
            self._ended(node, "failed" if event.error else "done")
        else:
            self._ended(node, "waiting")

    def _ended(self, node: _Node, state: str) -> None:
        node.seconds, node.began, node.state = node.took(time.monotonic()), None, state

    def _at(self, path: str) -> _Node:
        """The node at a path; it is created with the patterns around it, in order of appearance."""
        if path not in self._nodes:
            around, _, _ = path.rpartition("/")
            if around:
                self._at(around)
            self._nodes[path] = _Node(path)
        return self._nodes[path]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the current state; rich calls this from its own thread."""
        room = max(1, (options.max_height or console.height) - _MARGIN)
        nodes = list(self._ordered())
        if len(nodes) > room:
            busy = [one for one in nodes if one.state in {"running", "failed", "waiting"}]
            left = len(nodes) - len(busy[: room - 1])
            nodes = busy[: room - 1]
            note = Text(f"  and {left} more", style="dim")
            yield Group(self._table(nodes), note)
        else:
            yield self._table(nodes)

    def _ordered(self) -> Iterator[_Node]:
        """Each node after the pattern that contains it, in declared order."""
        inside: dict[str, list[_Node]] = {}
        for node in in_declared_order(dict(self._nodes), self._model).values():
            inside.setdefault(node.path.rpartition("/")[0], []).append(node)
        ahead = list(reversed(inside.get("", [])))
        while ahead:
            node = ahead.pop()
            yield node
            ahead += reversed(inside.get(node.path, []))

    def _table(self, nodes: list[_Node]) -> Table:
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=48)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        now = time.monotonic()
        for node in nodes:
            table.add_row(_name(node, now), _cost(node), _time(node, now), _word(node))
        return table


def _name(node: _Node, now: float) -> Text:
    marks = {
        "": ("▾", "dim"),
        "running": (_SPINNER[int(now * _FRAMES_PER_SECOND) % len(_SPINNER)], "cyan"),
        "done": ("✓", "green"),
        "failed": ("✗", "red"),
        "waiting": ("?", "yellow"),
        "stopped": ("■", "yellow"),
    }
    mark, style = marks[node.state]
    name = output.printable(node.path.rpartition("/")[2])
    again = f" (round {node.round})" if node.round > 1 else ""
    return Text.assemble(
        "  " * node.level, (mark, style), " ", (name, "bold" if node.state else "dim"), again
    )


def _cost(node: _Node) -> Text:
    if node.cost is None:
        return Text("")
    return Text(output.money(node.cost.usd, complete=node.cost.complete))


def _time(node: _Node, now: float) -> Text:
    return Text(f"{node.took(now):.1f} s" if node.state else "", style="dim")


def _word(node: _Node) -> Text:
    if node.error:
        return Text(output.printable(node.error), style="red")
    if node.state == "waiting":
        return Text("waits for an answer", style="yellow")
    if node.state != "running":
        return Text("")
    return Text(" ".join(node.text.split())[-_SHOWN:], style="dim")
