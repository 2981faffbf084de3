"""What a graph's stream says, for the run's own sake and for whoever watches.

From what LangGraph streams to the events of a run. It listens, and changes nothing.

Which of the tasks that LangGraph runs are nodes, and where they stand.

LangGraph reports everything it runs as a task: agents and functions, but also the patterns around
them, the wrapping of a branch, and what goes on inside somebody else's graph. The ledger knows
fewer places (`state.node_path`), and so do the events of a run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import AIMessage

from aideon_agents.errors import AideonError
from aideon_agents.graphs import Graph
from aideon_agents.graphs.enclosing import Enclosing
from aideon_agents.graphs.walk import graphs_in
from aideon_agents.ledger import tags
from aideon_agents.ledger.costs import NodeCost
from aideon_agents.ledger.redaction import one_line
from aideon_agents.models.candidates import RESTART
from aideon_agents.runner.events import NodeEnded, NodeStarted, Question, Restart, Token
from aideon_agents.runner.outcome import Outcome
from aideon_agents.runner.result import Event
from aideon_agents.runner.roots import results_in
from aideon_agents.runner.state import Heard, by_place
from aideon_agents.state import INSIDE, PART, merge, node_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Names = tuple[str, ...]


ALWAYS = ("values", "tasks")
"""What a run listens to: states, what nodes gave before a sudden end, and what they ask."""
WATCHED = (*ALWAYS, "messages", "custom")


class Following:
    """Listens to one graph from its start to its end."""

    def __init__(
        self,
        outcome: Outcome,
        watcher: Watcher | None = None,
        watch: Callable[[Event], None] | None = None,
        *,
        is_flat: bool = False,
    ) -> None:
        self._outcome = outcome
        self._watcher = watcher
        self._watch = watch
        self._heard = Heard()
        self._open: list[str] = []
        self.hears_inside = watcher is not None or not is_flat
        """Whether it listens to graphs inside as well. LangGraph wakes up for every node then, which
        costs a tenth of a short run."""

    @property
    def modes(self) -> list[str]:
        """LangGraph's names for what is listened to."""
        return list(WATCHED if self._watcher else ALWAYS)

    @property
    def questions(self) -> list[Question]:
        """What the graph waits for an answer to. A question that some node dealt with is none."""
        return by_place(self._heard.asked[one] for one in self._open if one in self._heard.asked)

    @property
    def heard(self) -> list[Question]:
        """Every question that a task has asked, wherever it stands now."""
        return list(self._heard.asked.values())

    def hear(self, part: tuple[Any, ...]) -> None:
        """Take in one part of LangGraph's stream."""
        *names, mode, said = part
        namespace: Names = names[0] if names else ()
        if mode == "values" and not namespace:
            self._outcome.values = said
            asked = said.get("__interrupt__", ()) if isinstance(said, dict) else ()
            self._open += [one.id for one in asked if one.id not in self._open]
        elif mode == "tasks":
            if "result" in said:
                self._outcome.done = merge(self._outcome.done, results_in(said["result"]))
            for question in self._heard.of_task(namespace, said):
                self._tell(question)
        for event in self._watcher.heard(namespace, mode, said) if self._watcher else ():
            self._tell(event)

    def _tell(self, event: Event) -> None:
        if self._watch:
            self._watch(event)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a node stands, and what it is."""

    path: str
    role: str
    """Empty when it is no agent of ours."""
    round: int


class Places:
    """The nodes of one graph."""

    def __init__(self, graph: Graph) -> None:
        self._patterns = frozenset(_patterns(graph, ()))

    def of_task(self, namespace: Names, task: Mapping[str, Any]) -> Place | None:
        """The node that a task is."""
        metadata = cast("Mapping[str, Any]", task.get("metadata") or {})
        whole = "|".join((*namespace, f"{task['name']}:{task['id']}"))
        names = tuple(segment.partition(":")[0] for segment in whole.split("|"))
        marked = [PART + name in metadata for name in names]
        inside = any(marked) or names[-1].startswith(INSIDE)
        if names in self._patterns or (inside and not marked[-1]):
            return None
        path = node_path({**metadata, "langgraph_checkpoint_ns": whole})
        given = task.get("input")
        state = cast("Mapping[str, Any]", given) if isinstance(given, dict) else {}
        return Place(path, str(metadata.get(tags.ROLE, "")), int(state.get("round", 1)))


def _patterns(graph: Graph, above: Names) -> Iterator[Names]:
    """The names, from the outside in, of whatever holds nodes and is none itself."""
    for name, node in graph.builder.nodes.items():
        here = (*above, name)
        inside = list(graphs_in(node.runnable))
        holds = any(_holds_places(one, is_ours=_is_marked(name, node)) for one in inside)
        if holds or _hands_on(node.runnable):
            yield here
        for one in inside:
            yield from _patterns(one, here)


def _hands_on(runnable: object) -> bool:
    """Whether a node runs those inside in places of their own, below its own."""
    return isinstance(runnable, Enclosing) and not runnable.deps


def _holds_places(graph: Graph, *, is_ours: bool) -> bool:
    """Whether what a graph runs are nodes of their own: where nobody marks any, all are."""
    return not is_ours or any(_is_marked(name, node) for name, node in graph.builder.nodes.items())


def _is_marked(name: str, node: Any) -> bool:
    return PART + name in (node.metadata or {})


class Watcher:
    """Tells the story of one run."""

    def __init__(
        self,
        graph: Graph,
        spent: Callable[[str], NodeCost | None],
        done: frozenset[str] = frozenset(),
    ) -> None:
        self._places = Places(graph)
        self._spent = spent
        self._done = done
        self._tasks: dict[str, Place] = {}

    def heard(self, namespace: Names, mode: str, said: Any) -> Iterator[Event]:
        """Translate one part of LangGraph's stream."""
        if mode == "messages":
            yield from _token(*said)
        elif mode == "custom":
            if isinstance(said, Mapping) and RESTART in said:
                yield Restart(node_path=str(cast("Any", said)[RESTART]))
        elif mode == "tasks":
            yield from self._task(namespace, said)

    def _task(self, namespace: Names, task: Mapping[str, Any]) -> Iterator[Event]:
        if "result" not in task:
            place = self._places.of_task(namespace, task)
            if place and task["id"] not in self._done:
                self._tasks[task["id"]] = place
                yield NodeStarted(node_path=place.path, role=place.role, round=place.round)
            return
        place = self._tasks.pop(task["id"], None)
        if place and not task.get("interrupts"):
            yield NodeEnded(
                node_path=place.path,
                role=place.role,
                round=place.round,
                result=results_in(task["result"]).get(place.path),
                cost=self._spent(place.path),
                error=_why(task.get("error")),
            )


def _token(message: object, metadata: Mapping[str, Any]) -> Iterator[Event]:
    if isinstance(message, AIMessage) and message.text:
        yield Token(node_path=node_path(metadata), text=str(message.text))


def _why(error: object) -> str | None:
    if error is None:
        return None
    ours = isinstance(error, AideonError)
    return one_line(str(error) if ours else f"{type(error).__name__}: {error}")
