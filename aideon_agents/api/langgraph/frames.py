"""The events of a run as the frames of LangGraph's stream.

The same events always become the same frames with the same ids, so a client that lost its
connection continues behind the last frame that it has, in any process.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from aideon_agents.api.langgraph.shapes import Document, interrupt, message
from aideon_agents.graphs import Graph
from aideon_agents.graphs.output import speaks

RUN_STATUS = {
    "running": "running",
    "completed": "success",
    "waiting": "interrupted",
    "cancelled": "interrupted",
}
"""LangGraph's words for how a run is; every other one is `error`, or `timeout`."""
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
    otherwise = "timeout" if run["stop_reason"] == "timeout" else "error"
    return RUN_STATUS.get(run["status"], otherwise)


def position(last_event_id: str | None) -> tuple[int, int] | None:
    """The frame that an id names; None: it names none."""
    found = re.fullmatch(r"(\d{1,9})\.(\d{1,9})", last_event_id or "", re.ASCII)
    return (int(found[1]), int(found[2])) if found else None


class Frames:
    """Makes the frames of one run, and knows the state of its graph as a client sees it."""

    def __init__(
        self,
        run_id: str,
        thread_id: str | None,
        graph: Graph | None,
        messages: Sequence[Document],
    ) -> None:
        self._ids = {"run_id": run_id, "thread_id": thread_id}
        self._graph = graph
        self._asked = messages
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

    def of(self, number: int, kind: str, event: Document) -> Iterator[Frame]:
        """The frames of an event."""
        makers = {
            "node_started": self._started,
            "token": self._token,
            "restart": self._restart,
            "node_ended": self._ended,
            "run_ended": self._over,
        }
        made = makers[kind](event) if kind in makers else ()
        for part, one in enumerate(made):
            yield Frame((number, part), *one)

    def _started(self, event: Document) -> Iterator[_Part]:
        path = event["node_path"]
        self._roles[path] = event["role"]
        self._written.pop(path, None)
        yield "tasks", "tasks", {"id": self._task(event), "name": path, "input": {}, "triggers": []}

    def _task(self, event: Mapping[str, Any]) -> str:
        return f"{self._ids['run_id']}:{event['node_path']}:{event['round']}"

    def _restart(self, event: Document) -> Iterator[_Part]:
        """A client drops the message that it was shown when the state comes without it."""
        self._written.pop(event["node_path"], None)
        yield "values", "values", self.values

    def _token(self, event: Document) -> Iterator[_Part]:
        path, text = event["node_path"], event["text"]
        inside = self._inside(path)
        more = {"langgraph_node": path, "langgraph_checkpoint_ns": inside, **self._ids}
        is_new = path not in self._written
        if is_new:
            self._written[path] = self._new_id(inside), ""
        identity, before = self._written[path]
        self._written[path] = identity, before + text
        chunk = {**message("AIMessageChunk", text, identity), "tool_call_chunks": []}
        yield "messages-tuple", "messages", [chunk, more], inside
        if is_new:
            yield "messages", "messages/metadata", {identity: {"metadata": more}}, inside
        yield "messages", "messages/partial", [message("ai", before + text, identity)], inside

    def _new_id(self, inside: str) -> str:
        """The id of a message that begins; what is begun again is another message."""
        name = f"{self._ids['run_id']}.{inside}" if inside else answer_id(self._ids["run_id"])
        self._begun[name] = number = self._begun.get(name, 0) + 1
        return name if number == 1 else f"{name}.{number}"

    def _inside(self, path: str) -> str:
        """Empty for a node whose words are the answer; else its path, for its words are not."""
        role = self._roles.get(path, "")
        is_answer = self._graph is None or speaks(self._graph, path, role)
        return "" if is_answer else path

    def _ended(self, event: Document) -> Iterator[_Part]:
        path, result = event["node_path"], event["result"]
        identity, _ = self._written.get(path, (None, ""))
        if identity and result:
            whole = message("ai", result["content"], identity)
            yield "messages", "messages/complete", [whole], self._inside(path)
            if not self._inside(path):
                self._answer = [{**whole, "id": answer_id(self._ids["run_id"])}]
        given = {"results": {path: result}} if result else {}
        self._state["results"] = self._state["results"] | given.get("results", {})
        yield "updates", "updates", {path.partition("/")[0]: given}
        if "/" in path:
            yield "updates", "updates", {path.rpartition("/")[2]: given}, path.rpartition("/")[0]
        done = {"id": self._task(event), "name": path, "error": event["error"], "result": given}
        yield "tasks", "tasks", {**done, "interrupts": []}
        yield "custom", "custom", {"node_path": path, "cost": event["cost"]}
        yield "values", "values", self.values

    def _over(self, run: Document) -> Iterator[_Part]:
        """The frames of a run's end, by its document."""
        if run["status"] == "completed":
            self._state["output"] = run["output"]
            self._state["results"] = run["results"] or self._state["results"]
            self._answer = [message("ai", run["output"] or "", answer_id(run["run_id"]))]
            yield "values", "values", self.values
        cost = {name: run[name] for name in ("run_id", "status", "cost")}
        yield "custom", "custom", cost
        if run["status"] == "waiting":
            asked = {"__interrupt__": [interrupt(one) for one in run["questions"]]}
            yield "updates", "updates", asked
            yield "values", "values", self.values | asked
        elif run["status"] != "completed":
            yield "", "error", error_of(run)
        yield "", "end", {"run_id": run["run_id"], "status": status_of(run)}


def answer_id(run_id: object) -> str:
    """The id of the message that is a run's answer."""
    return f"{run_id}.answer"


def error_of(run: Mapping[str, Any]) -> Document:
    """Why a run has not completed, as LangGraph's clients raise it."""
    kind = run["stop_reason"] or run["status"]
    text = run["error"] or f"run {run['run_id']} has {run['status']}: {kind}"
    return {"error": kind, "message": text}
