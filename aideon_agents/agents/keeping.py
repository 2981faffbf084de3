"""What an agent with tools has done so far, kept while it is still at work.

Such an agent asks several times inside one node, and LangGraph runs a node from its beginning when
a run goes on after a question, a limit or a crash. So each question and each call of a tool is one
of LangGraph's tasks: what came of it is kept beside the node's checkpoint, and given out again in
the same order, instead of being paid or done twice.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar, cast

from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict
from langgraph.config import get_config
from langgraph.func import task

from aideon_agents.state import INSIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from langchain_core.runnables import RunnableConfig

Said = TypeVar("Said", bound=BaseMessage)

QUESTION = f"{INSIDE}question"
TOOL = f"{INSIDE}tool"
"""The names of the tasks."""


async def kept(
    name: str,
    work: Callable[[RunnableConfig], Coroutine[Any, Any, Said]],
    config: RunnableConfig,
) -> Said:
    """Do something once, or say what came of it when the node ran before."""
    if not _can_keep(config):
        return await work(config)
    ended = asyncio.Event()
    ended.set()

    async def doing() -> dict[str, Any]:
        ended.clear()
        try:
            return message_to_dict(await work(_placed(config)))
        finally:
            ended.set()

    try:
        # As plain data: whoever streams messages is shown each message that a task returns.
        (said,) = messages_from_dict([await task(name=name)(doing)()])
        return cast("Said", said)
    finally:
        await ended.wait()  # LangGraph's task is cancelled with this one, and not waited for


def _can_keep(config: RunnableConfig) -> bool:
    """Whether LangGraph can run a task here and keep what comes of it.

    It cannot without a checkpointer, and not for a coroutine of a synchronous run or of another
    loop. Where it limits how much runs at once, the node and its task would wait for each other.
    """
    known = config.get("configurable") or {}
    loop = getattr(known.get("__pregel_call"), "keywords", {}).get("loop")  # it has no public name
    return (
        loop is asyncio.get_running_loop()
        and known.get("__pregel_checkpointer") is not None
        and config.get("max_concurrency") is None
    )


def _placed(config: RunnableConfig) -> RunnableConfig:
    """The node's config for what runs in a task: questions to a person are counted for each task."""
    return {**config, "configurable": get_config().get("configurable", {})}
