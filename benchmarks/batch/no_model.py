"""A workflow that calls no model."""

from __future__ import annotations

from typing import Any

from aideon_agents import sequential


async def count(state: dict[str, Any]) -> str:
    """The words of the task."""
    return str(len(state["task"].split()))


graph = sequential(count)
