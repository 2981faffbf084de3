"""Where the nodes of a pattern stand, asked while one of them runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aideon_agents.state import node_path

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig


def here(config: RunnableConfig) -> str:
    """The place of the node that runs.

    Args:
        config: The node's.

    Returns:
        Its path; empty outside any graph.
    """
    return node_path(config.get("metadata") or {})


def own_path(config: RunnableConfig, name: str) -> str:
    """The place of a pattern, asked from one of its own nodes.

    Args:
        config: The node's.
        name: The pattern's name.

    Returns:
        The node's path without its last part; the pattern's name where it is the root.
    """
    return here(config).rpartition("/")[0] or name


def beside(config: RunnableConfig, name: str) -> str:
    """The place of another node of the same pattern.

    Args:
        config: Of one of its nodes.
        name: The other node's name.

    Returns:
        The other node's path.
    """
    around, slash, _ = here(config).rpartition("/")
    return f"{around}{slash}{name}"


def is_in(path: str, place: str) -> bool:
    """Whether a path is a place itself, or lies inside."""
    return f"{path}/".startswith(f"{place}/")
