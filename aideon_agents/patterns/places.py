"""Where the nodes of a pattern stand, asked while one of them runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aideon_agents.state import node_path

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig


def here(config: RunnableConfig) -> str:
    """The place of the node that runs."""
    return node_path(config.get("metadata") or {})


def own_path(config: RunnableConfig, name: str) -> str:
    """The place of a pattern, asked from one of its own nodes."""
    return here(config).rpartition("/")[0] or name


def beside(config: RunnableConfig, name: str) -> str:
    """The place of another node of the same pattern."""
    around, slash, _ = here(config).rpartition("/")
    return f"{around}{slash}{name}"


def is_in(path: str, place: str) -> bool:
    """Whether a path is a place itself, or lies inside."""
    return f"{path}/".startswith(f"{place}/")
