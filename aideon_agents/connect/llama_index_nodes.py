"""What LlamaIndex runs, as nodes and tools of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_index.core.agent.workflow import AgentWorkflow, BaseWorkflowAgent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aideon_agents.state import State


def node(source: Any) -> Callable[[State], Awaitable[str]]:
    """A query engine, retriever, agent or Workflow of LlamaIndex as a node.

    A query engine or retriever is given the task as its query; an agent or a Workflow is started with
    it as `user_msg` (an agent) or `task`. What it returns is the output: of nodes, their texts.
    """

    async def run(state: State) -> str:
        return await _ask(source, state["task"])

    run.__name__ = getattr(source, "name", None) or type(source).__name__
    return run


def tool(source: Any, name: str, description: str) -> Callable[[str], Awaitable[str]]:
    """A query engine or retriever as a tool of an agent, which calls it with a query.

    Args:
        source: The query engine or retriever.
        name: The name of the tool.
        description: What a model reads of it: what can be found there.
    """

    async def look_up(query: str) -> str:
        return await _ask(source, query)

    look_up.__name__, look_up.__doc__ = name, description
    return look_up


async def _ask(source: Any, query: str) -> str:
    if hasattr(source, "aquery"):
        return str(await source.aquery(query))
    if hasattr(source, "aretrieve"):
        return "\n\n".join(one.get_content() for one in await source.aretrieve(query))
    is_agent = isinstance(source, BaseWorkflowAgent | AgentWorkflow)
    run: Any = source.run
    return str(await run(**{"user_msg" if is_agent else "task": query}))
