"""A run as it happens, on stderr: plain lines, so that a file or a pipe can hold them as well.

One node alone is shown word by word. Of nodes that run at the same time each line is shown when it
is whole, with its node in front, because words of several answers in turn are no text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aideon_agents.cli import output

if TYPE_CHECKING:
    from aideon_agents.runner import Event, NodeEnded, NodeStarted


class Watching:
    """Prints the events of one run."""

    def __init__(self) -> None:
        self._active: dict[str, str] = {}
        """What each node that runs has said of the line it is at, and is not shown yet."""
        self._open: str | None = None
        """The node whose line is shown in part; None: the last line is whole."""

    def __call__(self, event: Event) -> None:
        """Print one event."""
        from aideon_agents.runner import events  # noqa: PLC0415 - help must not wait

        if isinstance(event, events.NodeStarted):
            self._started(event)
        elif isinstance(event, events.Token):
            self._said(event.node_path, output.printable(event.text))
        elif isinstance(event, events.Restart):
            self._flush(event.node_path)
            self._line(event.node_path, "(restarted: what it said broke off and begins again)")
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
        if event.role:  # a function says nothing until it is done
            again = f", round {event.round}" if event.round > 1 else ""
            self._line(event.node_path, f"({event.role}{again})")

    def _said(self, path: str, text: str) -> None:
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
            calls = "1 call" if event.cost.calls == 1 else f"{event.cost.calls} calls"
            self._line(event.node_path, f"(done: {usd} in {calls})")
        elif event.result:
            self._line(event.node_path, "(done)")

    def _flush(self, path: str) -> None:
        if rest := self._active.get(path):
            self._show(path, rest, ends=True)
            self._active[path] = ""

    def _show(self, path: str, text: str, *, ends: bool) -> None:
        """Go on with a node's line, or begin one."""
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
