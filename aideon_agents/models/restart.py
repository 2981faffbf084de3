"""Says to whoever shows tokens that an answer begins again from nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langgraph.config import get_stream_writer

from aideon_agents.state import node_path

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

RESTART = "aideon_restart"
"""The one key of the custom stream event; its value is the node path."""


def announce_restart(config: RunnableConfig | None) -> None:
    """Write a `restart` event into the graph's stream; outside any graph nobody listens."""
    try:
        write = get_stream_writer()
    except (RuntimeError, KeyError):  # not inside a graph
        return
    write({RESTART: node_path((config or {}).get("metadata") or {})})
