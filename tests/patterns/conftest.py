"""Graphs that run on models of a test's own, with the rows they left in a ledger."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from aideon_agents import Context, CostHandler, Ledger
from aideon_agents.testing import GivenModels, SchemaChatModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aideon_agents.ledger.rows import Call
    from aideon_agents.state import StepResult


@dataclasses.dataclass(frozen=True)
class Played:
    """What came of one graph."""

    values: dict[str, Any]
    rows: Sequence[Call]

    @property
    def results(self) -> dict[str, StepResult]:
        return self.values["results"]

    @property
    def contents(self) -> dict[str, str]:
        """The content of each result by node path, in the order of the results."""
        inorder = sorted(self.results.values(), key=lambda one: one.order)
        return {one.node_path: one.content for one in inorder}

    @property
    def places(self) -> list[tuple[str, str, int]]:
        """Path, role and round of each row, in an order that does not depend on who was first."""
        return sorted((row.node_path, row.role, row.round) for row in self.rows)


class Stage:
    """Where graphs are played: one ledger, and the two ways in."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def invoke(self, graph: Any, models: Any = None, **given: Any) -> Played:
        handler = CostHandler(self._ledger)
        return self._played(
            handler, graph.invoke(*_entry(handler, given), context=_context(models))
        )

    async def ainvoke(self, graph: Any, models: Any = None, **given: Any) -> Played:
        handler = CostHandler(self._ledger)
        values = await graph.ainvoke(*_entry(handler, given), context=_context(models))
        return self._played(handler, values)

    def _played(self, handler: CostHandler, values: dict[str, Any]) -> Played:
        rows = self._ledger.calls(handler.run_id) if handler.run_id else []
        return Played(values, rows)


def _entry(handler: CostHandler, given: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    return {"task": "Heat pumps move heat."} | given, {"callbacks": [handler]}


def _context(models: Any) -> Context:
    return Context(models=models or GivenModels(SchemaChatModel()))


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


@pytest.fixture
def stage(ledger):
    return Stage(ledger)
