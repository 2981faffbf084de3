"""From what LangGraph streams to the events of a run. It listens, and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import AIMessage

from aideon_agents.errors import AideonError
from aideon_agents.ledger.redaction import one_line
from aideon_agents.models.restart import RESTART
from aideon_agents.runner.events import NodeEnded, NodeStarted, Restart, Token
from aideon_agents.runner.places import Places
from aideon_agents.runner.roots import results_in
from aideon_agents.state import node_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aideon_agents.ledger.reports import NodeCost
    from aideon_agents.patterns.nodes import Graph
    from aideon_agents.runner.events import Event
    from aideon_agents.runner.places import Names, Place


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
