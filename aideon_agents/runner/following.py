"""What a graph's stream says, for the run's own sake and for whoever watches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aideon_agents.runner.questions import Heard, by_place
from aideon_agents.runner.roots import results_in
from aideon_agents.state import merge

if TYPE_CHECKING:
    from collections.abc import Callable

    from aideon_agents.runner.events import Event, Question
    from aideon_agents.runner.outcome import Outcome
    from aideon_agents.runner.places import Names
    from aideon_agents.runner.watching import Watcher

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
