"""Workflows for LangChain: as a Runnable in a chain, and as a tool of an agent.

The other way needs nothing from here: a chain of LangChain is a node, its chat models are models of our
agents, its tools are their tools, and `chat_model` is a chat model of LangChain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import StructuredTool

from aideon_agents.errors import RunError
from aideon_agents.graphs.output import output
from aideon_agents.ledger.handler import context_in, recorders_in
from aideon_agents.models.bridge import blocking
from aideon_agents.runner import RunOptions, arun

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable

    from aideon_agents.graphs import Graph


def runnable(graph: Graph, **options: Unpack[RunOptions]) -> Runnable[str, str]:
    """A workflow as a Runnable, from a task to its output.

    Inside a run, it belongs to the run: its calls are that run's, and so is the budget. Elsewhere each
    call is a run with the options.

    Args:
        graph: The workflow.
        **options: As `run` takes them, for calls that belong to no run.
    """

    async def ask(task: str, config: RunnableConfig) -> str:
        if recorders_in(config):
            around: Any = context_in(config)
            state = await graph.ainvoke({"task": task}, config, context=around)
            done = output(graph, state["results"])
            return done.content if done else ""
        ended = (await arun(graph, task, **options)).raise_for_status()
        if ended.status != "completed":
            raise RunError(f"run {ended.run_id} has no output: it is {ended.status}")
        return ended.output or ""

    def ask_blocking(task: str, config: RunnableConfig) -> str:
        return blocking(ask(task, config))

    return RunnableLambda(ask_blocking, ask, name=graph.get_name())


def tool(
    graph: Graph, name: str, description: str, **options: Unpack[RunOptions]
) -> StructuredTool:
    """A workflow as a tool, which an agent calls with a task.

    Args:
        graph: The workflow.
        name: The name of the tool.
        description: What a model reads of it: what it does.
        **options: As for `runnable`.
    """
    asked = runnable(graph, **options)

    def work(task: str, config: RunnableConfig) -> str:
        return asked.invoke(task, config)

    async def work_async(task: str, config: RunnableConfig) -> str:
        return await asked.ainvoke(task, config)

    return StructuredTool.from_function(work, work_async, name, description)
