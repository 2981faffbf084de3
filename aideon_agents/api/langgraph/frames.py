"""The events of a run as the frames of LangGraph's stream.

The same events always become the same frames with the same ids, so a client that lost its
connection continues behind the last frame that it has, in any process.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from aideon_agents.api.langgraph import shapes
from aideon_agents.api.langgraph.shapes import Document
from aideon_agents.graphs import Graph
from aideon_agents.graphs.output import speaks

_STATUS = {"running": "running", "completed": "success"} | dict.fromkeys(
    ("waiting", "cancelled"), "interrupted"
)
_Part: TypeAlias = tuple[str, str, Any] | tuple[str, str, Any, str]
"""Stream mode, event, data, and the node in which it happened."""
HEAD = 1_000_000
"""Comes after every frame of an event: the frames that begin a stream."""


class Frame(NamedTuple):
    """One event of the stream."""

    at: tuple[int, int]
    """The number of our event, and of the frame among its frames."""
    mode: str
    """The stream mode that wants it; empty: every client gets it."""
    event: str
    data: Any
    path: str = ""
    """The node in which it happened; empty: the graph itself."""

    def encode(self, run_id: str) -> str:
        """The frame as a part of an event stream, with the namespace of its node."""
        parts = self.path.split("/") if self.path else ()
        event = "|".join((self.event, *(f"{name}:{run_id}" for name in parts)))
        number, part = self.at
        return f"id: {number}.{part}\nevent: {event}\ndata: {json.dumps(self.data)}\n\n"


def status_of(run: Mapping[str, Any]) -> str:
    """The status of a run's document, in LangGraph's words."""
    return _STATUS.get(run["status"], "timeout" if run["stop_reason"] == "timeout" else "error")


def position(last_event_id: str | None) -> tuple[int, int] | None:
    """The frame that an id names; None: it names none."""
    found = re.fullmatch(r"(\d{1,9})\.(\d{1,9})", last_event_id or "", re.ASCII)
    return (int(found[1]), int(found[2])) if found else None


class Frames:
    """Makes the frames of one run, and knows the state of its graph as a client sees it."""

    def __init__(
        self, run_id: str, thread_id: str | None, graph: Graph | None, asked: Sequence[Document]
    ) -> None:
        self._run_id = run_id
        self._ids = {"run_id": run_id, "thread_id": thread_id}
        self._graph = graph
        self._asked = asked
        """The conversation, with what this run is asked at its end."""
        self._answer: list[Document] = []
        self._state: Document = {"results": {}, "output": None}
        self._roles: dict[str, str] = {}
        self._written: dict[str, tuple[str, str]] = {}
        """By node path, the id of the message that the node is writing, and its text so far."""
        self._begun: dict[str, int] = {}

    @property
    def values(self) -> Document:
        """The state: the conversation, and what the nodes have given."""
        return {"messages": [*self._asked, *self._answer], **self._state}

    def begin(self, number: int) -> Iterator[Frame]:
        """The frames with which a stream begins, behind an event."""
        yield Frame((number, HEAD), "", "metadata", {**self._ids, "attempt": 1})
        yield Frame((number, HEAD + 1), "values", "values", self.values)

    def end(self, number: int, run: Document) -> Frame:
        """The end of a run that has done nothing more since an event."""
        end = {"run_id": self._run_id, "status": status_of(run)}
        return Frame((number, HEAD + 2), "", "end", end)

    def of(self, number: int, kind: str, event: Document) -> Iterator[Frame]:
        """The frames of an event."""
        make: Any = getattr(self, f"_{kind}", None)  # some events have none
        parts: Sequence[_Part] = list(make(event)) if make else ()
        for part, one in enumerate(parts):
            yield Frame((number, part), *one)

    def _node_started(self, event: Document) -> Iterator[_Part]:
        path = event["node_path"]
        self._roles[path] = event["role"]
        self._written.pop(path, None)
        yield "tasks", "tasks", {**self._task(event), "input": {}, "triggers": []}

    def _task(self, event: Document) -> Document:
        path = event["node_path"]
        return {"id": f"{self._run_id}:{path}:{event['round']}", "name": path}

    def _restart(self, event: Document) -> Iterator[_Part]:
        """A client drops the message that it was shown when the state comes without it."""
        self._written.pop(event["node_path"], None)
        yield "values", "values", self.values

    def _token(self, event: Document) -> Iterator[_Part]:
        path, text = event["node_path"], event["text"]
        inside, is_new = self._inside(path), path not in self._written
        more = {"langgraph_node": path, "langgraph_checkpoint_ns": inside, **self._ids}
        identity, before = self._written.get(path) or (self._new_id(inside), "")
        self._written[path] = identity, before + text
        chunk = {**shapes.message("AIMessageChunk", text, identity), "tool_call_chunks": []}
        yield "messages-tuple", "messages", [chunk, more], inside
        if is_new:
            yield "messages", "messages/metadata", {identity: {"metadata": more}}, inside
        whole = shapes.message("ai", before + text, identity)
        yield "messages", "messages/partial", [whole], inside

    def _new_id(self, inside: str) -> str:
        """The id of a message that begins; what is begun again is another message."""
        name = f"{self._run_id}.{inside or 'answer'}"
        self._begun[name] = number = self._begun.get(name, 0) + 1
        return name if number == 1 else f"{name}.{number}"

    def _inside(self, path: str) -> str:
        """Empty for a node whose words are the answer; else its path, for its words are not."""
        is_answer = self._graph is None or speaks(self._graph, path, self._roles.get(path, ""))
        return "" if is_answer else path

    def _node_ended(self, event: Document) -> Iterator[_Part]:
        path, result = event["node_path"], event["result"]
        given: Document = {"results": {path: result}} if result else {}
        if result and path in self._written:
            inside = self._inside(path)
            whole = shapes.message("ai", result["content"], self._written[path][0])
            yield "messages", "messages/complete", [whole], inside
            if not inside:
                self._answer = [shapes.answer_message(self._run_id, result["content"])]
        self._state["results"] = {**self._state["results"], **given.get("results", {})}
        around, _, name = path.rpartition("/")
        yield "updates", "updates", {path.partition("/")[0]: given}
        if around:
            yield "updates", "updates", {name: given}, around
        done = {"error": event["error"], "result": given, "interrupts": []}
        yield "tasks", "tasks", {**self._task(event), **done}
        yield "custom", "custom", {"node_path": path, "cost": event["cost"]}
        yield "values", "values", self.values

    def _run_ended(self, run: Document) -> Iterator[_Part]:
        """The frames of a run's end, by its document."""
        if run["status"] == "completed":
            self._state = {"results": run["results"] or self._state["results"]}
            self._state["output"] = run["output"]
            self._answer = [shapes.answer_message(self._run_id, run["output"] or "")]
            yield "values", "values", self.values
        yield "custom", "custom", {name: run[name] for name in ("run_id", "status", "cost")}
        if run["status"] == "waiting":
            self._answer = [shapes.question_message(run)]
            asked = {"__interrupt__": [shapes.interrupt(one) for one in run["questions"]]}
            yield "updates", "updates", asked
            yield "values", "values", self.values | asked
        elif run["status"] != "completed":
            kind = run["stop_reason"] or run["status"]
            text = run["error"] or f"run {self._run_id} has {run['status']}: {kind}"
            yield "", "error", {"error": kind, "message": text}
        yield "", "end", {"run_id": self._run_id, "status": status_of(run)}
