"""Node paths: where they are made, from the names that our builders give to nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

PART = "aideon_part:"
"""Prefix of the metadata key under which a builder says what path part its node adds."""

INSIDE = "aideon/"
"""Prefix of the names of what LangGraph runs inside an agent: no place, and no part of a path."""

NODE_PATH = "aideon_node_path"
"""Metadata key under which an agent hands its place down to its model calls."""


def part(name: str, adds: str | None = None) -> dict[str, str]:
    """The metadata that marks a node as ours."""
    return {PART + name: name if adds is None else adds}


def node_path(metadata: Mapping[str, Any], *, of_agent: bool = False) -> str:
    """The place in the nested graphs that a callback's or a config's metadata speaks of.

    LangGraph's checkpoint namespace names the nodes from the outside in, `refine:id|draft:id`.
    Our builders mark theirs with `part`; what lies inside the innermost marked node (`model` in
    an agent made elsewhere) is not a place of ours, and a graph with no mark keeps every name.
    """
    if NODE_PATH in metadata:
        return str(metadata[NODE_PATH])
    namespace = str(metadata.get("langgraph_checkpoint_ns") or metadata.get("langgraph_node") or "")
    names = [segment.partition(":")[0] for segment in namespace.split("|") if segment]
    # LangGraph counts the graphs that run inside one node; our own may have a number for a name.
    names = [name for name in names if not name.isdigit() or PART + name in metadata]
    names = [name for name in names if not name.startswith(INSIDE)]
    marked = [index for index, name in enumerate(names) if PART + name in metadata]
    ours = names[: marked[-1] + 1] if marked and not of_agent else names
    return "/".join(filter(None, (str(metadata.get(PART + name, name)) for name in ours)))
