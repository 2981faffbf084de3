"""How an agent asks: one question to a chain of models, or as many as its tools need.

Tools first, the shape last: a model that is held to a schema cannot call a tool with every
provider, and one that calls tools does not keep to a schema. Each question goes to a fresh chain, so
that a candidate that failed in one round is tried again in the next.
"""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any, cast

from langchain_core.runnables import RunnableWithFallbacks

from aideon_agents.agents.calling import calls_in, results_of, with_calls
from aideon_agents.agents.keeping import QUESTION, kept
from aideon_agents.errors import Malformed
from aideon_agents.models import default_models
from aideon_agents.models.rehearsal import RehearsalChatModel
from aideon_agents.models.shape import parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
    from langchain_core.runnables import RunnableConfig
    from pydantic import BaseModel

    from aideon_agents.agents.tools import Toolbox
    from aideon_agents.state import Context, ModelRequest

_NO_MORE = "\n\n(No further tool can be called. Answer now, with what you have.)"


async def ask(
    request: ModelRequest,
    context: Context,
    told: list[BaseMessage],
    *,
    output: type[BaseModel] | None,
    toolbox: Toolbox | None,
    config: RunnableConfig,
) -> Any:
    """Ask a model."""
    chain = functools.partial((context.models or default_models()).chat, request, context)
    answer: AIMessage | None = None
    if toolbox:
        told, answer = await _with_tools(chain, told, toolbox, config)
    if output is None:
        return answer if answer is not None else await chain().ainvoke(told, config)
    if answer is not None:
        with contextlib.suppress(Malformed):
            return parse(answer, output)
    return await cast("Any", chain()).with_structured_output(output).ainvoke(told, config)


async def _with_tools(
    chain: Callable[[], Any], told: list[BaseMessage], toolbox: Toolbox, config: RunnableConfig
) -> tuple[list[BaseMessage], AIMessage | None]:
    """Let the model call tools."""
    if _rehearses(chain()):
        toolbox = toolbox.rehearsed()
    async with toolbox.opened() as tools:
        results: list[ToolMessage] = []
        for _ in range(toolbox.max_rounds):
            asking = chain().bind_tools(list(tools.values())) if tools else chain()
            question = functools.partial(asking.ainvoke, told)
            answer = await kept(QUESTION, question, config)
            calls = calls_in(answer)
            if not calls:
                return told, answer
            results = await results_of(calls, tools, seconds=toolbox.seconds, config=config)
            told = [*told, with_calls(answer, calls), *results]
    return [*told[:-1], _closing(results[-1])], None


def _rehearses(chain: Any) -> bool:
    primary = chain.runnable if isinstance(chain, RunnableWithFallbacks) else chain
    return isinstance(primary, RehearsalChatModel)


def _closing(result: ToolMessage) -> ToolMessage:
    """The last result, with the end of the tools said in it: nobody else is to speak last."""
    return result.model_copy(update={"content": f"{result.content}{_NO_MORE}"})
