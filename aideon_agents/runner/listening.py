"""What a graph streams while it runs, for the run's outcome and as events for a watcher.

LangGraph reports everything it runs as a task: agents and functions, but also the patterns around
them, the wrapper of a branch, and what runs inside a graph that is not ours. The ledger knows fewer
node paths (`node_paths.node_path`), and so do the events of a run.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import AIMessage

from aideon_agents.errors import AideonError
from aideon_agents.graphs import Graph
from aideon_agents.graphs.walk import error_handled, patterns
from aideon_agents.ledger import tags
from aideon_agents.ledger.costs import NodeCost
from aideon_agents.ledger.redaction import one_line
from aideon_agents.models.candidates import RESTART
from aideon_agents.models.protocol.thoughts import Spoken
from aideon_agents.node_paths import INSIDE, PART, node_path
from aideon_agents.runner.events import NodeEnded, NodeStarted, Question, Restart, Token
from aideon_agents.runner.outcome import Outcome, results_in
from aideon_agents.runner.result import Event
from aideon_agents.runner.spec import holds_agents_alone
from aideon_agents.runner.state import by_path, question
from aideon_agents.state import merge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Names = tuple[str, ...]


class Listener:
    """Receives what one graph streams from its start to its end."""

    def __init__(
        self,
        graph: Graph,
        outcome: Outcome,
        watcher: Watcher | None = None,
        send: Callable[[Event], None] | None = None,
        *,
        streams: bool = True,
    ) -> None:
        self._outcome = outcome
        self._watcher = watcher
        self._send = send
        self._asked: dict[str, Question] = {}
        self._open: list[str] = []
        self._begun: dict[str, tuple[Names, Mapping[str, Any]]] = {}
        self._failures: list[tuple[Names, str, BaseException]] = []
        """The tasks that failed, in order, each with its place, its node path and its error."""
        self._graph = graph
        # States, what nodes gave before a sudden end, and what they ask.
        self.modes = ["values", "tasks", *(["messages", "custom"] if watcher and streams else [])]
        """LangGraph's stream modes that it needs."""
        self.needs_subgraphs = watcher is not None or not holds_agents_alone(graph)
        """Whether it needs the streams of graphs inside. LangGraph then wakes up for every node,
        which costs a tenth of a short run."""

    @property
    def questions(self) -> list[Question]:
        """What the graph waits with. A question that another node handled is not one of them."""
        return by_path(self._asked[one] for one in self._open if one in self._asked)

    @property
    def asked(self) -> list[Question]:
        """Every question that a task has asked, open or not."""
        return list(self._asked.values())

    def receive(self, part: tuple[Any, ...]) -> None:
        """Take in one part of LangGraph's stream."""
        *names, mode, data = part
        namespace: Names = names[0] if names else ()
        if mode == "values" and not namespace:
            self._outcome.values = data
            asked = data.get("__interrupt__", ()) if isinstance(data, dict) else ()
            self._open += [one.id for one in asked if one.id not in self._open]
        elif mode == "tasks" and "result" not in data:
            self._begun[data["id"]] = (namespace, data)
        elif mode == "tasks":
            self._outcome.done = merge(self._outcome.done, results_in(data["result"]))
            begun = self._begun.pop(data["id"], (namespace, data))
            if data.get("error") or data.get("interrupts"):
                self._stopped(*begun, data)
        if self._watcher and self._send:
            for event in self._watcher.events(namespace, mode, data):
                self._send(event)

    def first_failure(self, raised: BaseException) -> tuple[str | None, BaseException]:
        """The path of the node that failed first, and its error; None: no node raised it.

        `raised` is what LangGraph raised. Of several branches that fail, it raises the error of any
        one, and it cancels the others. A node's error passes through the graphs around it, so the
        first task with an error is the innermost.
        """
        handled = error_handled(self._graph)
        around = {place[:-1] for place, _, error in self._failures if error is raised}
        for place, path, error in self._failures:
            names = tuple(segment.partition(":")[0] for segment in place)
            if error is raised:
                return path, error
            if place[:-1] in around and names not in handled and not _is_cancelled(error):
                return next((path, error) for _, path, one in self._failures if one is error)
        return None, raised

    def _stopped(self, around: Names, begun: Mapping[str, Any], ended: Mapping[str, Any]) -> None:
        """Take in a task that failed or asks; the end of a task does not carry its metadata."""
        place = (*around, f"{begun['name']}:{begun['id']}")
        metadata = {**(begun.get("metadata") or {}), "langgraph_checkpoint_ns": "|".join(place)}
        path = node_path(metadata)
        # The questions and tools of an agent are tasks without a path: the agent fails with them.
        if path and isinstance(error := ended.get("error"), BaseException):
            self._failures.append((place, path, error))
        # A graph repeats the questions of the tasks inside it.
        new = [
            question(one["id"], path, one["value"], one["response_schema"])
            for one in ended.get("interrupts") or ()
            if one["id"] not in self._asked
        ]
        self._asked |= {one.id: one for one in new}
        if self._send:
            for event in new:
                self._send(event)


class Watcher:
    """Translates what a graph streams into the events of a run."""

    def __init__(
        self,
        graph: Graph,
        cost_of: Callable[[str], NodeCost | None],
        done: frozenset[str] = frozenset(),
    ) -> None:
        self._patterns = patterns(graph)
        self._cost_of = cost_of
        """What a node has cost so far, by its path; None: it called no model."""
        self._done = done
        """Ids of tasks that completed before the run resumed: LangGraph announces them once more,
        and does not run them."""
        self._tasks: dict[str, NodeStarted] = {}
        self._said: dict[str, tuple[str | None, Spoken]] = {}
        """By node path, the id of its last message and what that has said."""

    def events(self, namespace: Names, mode: str, data: Any) -> Iterator[Event]:
        """The events of one part of LangGraph's stream. Most parts have none."""
        if mode == "messages":
            message, metadata = data
            if isinstance(message, AIMessage) and message.text:
                yield from self._of_message(node_path(metadata), message)
        elif mode == "custom":
            if isinstance(data, Mapping) and RESTART in data:
                path = str(cast("Any", data)[RESTART])
                self._said.pop(path, None)
                yield Restart(node_path=path)
        elif mode == "tasks":
            yield from self._of_task(namespace, data)

    def _of_message(self, path: str, message: AIMessage) -> Iterator[Event]:
        """The token of a piece of a message, unless it belongs to the model's thoughts."""
        if path in self._said and self._said[path][0] != message.id:
            yield from self._held_back(path)
        _, spoken = self._said.setdefault(path, (message.id, Spoken()))
        text = spoken.answer_of(str(message.text))
        if (rest := spoken.after_end(text)) is not None:
            yield Restart(node_path=path)
            text = rest
        if text:
            yield Token(node_path=path, text=text)

    def _held_back(self, path: str) -> Iterator[Event]:
        """What the last message of a node ended with, and might have become the mark of thoughts."""
        _, spoken = self._said.pop(path, (None, None))
        if spoken and not spoken.is_answer and spoken.rest:
            yield Token(node_path=path, text=spoken.rest)

    def _of_task(self, namespace: Names, task: Mapping[str, Any]) -> Iterator[Event]:
        if "result" not in task:
            started = self.started(namespace, task)
            if started and task["id"] not in self._done:
                self._tasks[task["id"]] = started
                yield started
            return
        started = self._tasks.pop(task["id"], None)
        if started:
            yield from self._held_back(started.node_path)
        if started and not task.get("interrupts"):
            yield NodeEnded(
                node_path=started.node_path,
                role=started.role,
                round=started.round,
                result=results_in(task["result"]).get(started.node_path),
                cost=self._cost_of(started.node_path),
                error=_error_line(task.get("error")),
            )

    def started(self, namespace: Names, task: Mapping[str, Any]) -> NodeStarted | None:
        """The node whose task starts; None: it is a pattern, or is inside a node."""
        metadata = cast("Mapping[str, Any]", task.get("metadata") or {})
        whole = "|".join((*namespace, f"{task['name']}:{task['id']}"))
        names = tuple(segment.partition(":")[0] for segment in whole.split("|"))
        marked = [PART + name in metadata for name in names]
        is_inside = any(marked) or names[-1].startswith(INSIDE)
        if names in self._patterns or (is_inside and not marked[-1]):
            return None
        given = task.get("input")
        state = cast("Mapping[str, Any]", given) if isinstance(given, dict) else {}
        return NodeStarted(
            node_path=node_path({**metadata, "langgraph_checkpoint_ns": whole}),
            role=str(metadata.get(tags.ROLE, "")),
            round=int(state.get("round", 1)),
        )


def _is_cancelled(error: BaseException) -> bool:
    """Whether a task was cancelled, in its event loop or in another thread."""
    return isinstance(error, asyncio.CancelledError | concurrent.futures.CancelledError)


def _error_line(error: object) -> str | None:
    if error is None:
        return None
    ours = isinstance(error, AideonError)
    return one_line(str(error) if ours else f"{type(error).__name__}: {error}")
