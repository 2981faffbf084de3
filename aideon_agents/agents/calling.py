"""How an agent calls its models: one question, or several while its tools are needed.

Tools come first and the shape of the answer last: not every provider lets a model that is held to a
schema call a tool, and a model that calls tools does not keep to a schema. Each question goes to a
fresh chain, so that a candidate that failed in one round is tried again in the next. The tool calls
of one answer run at the same time; the model is sent the error of a call that fails.

An agent with tools asks several times inside one node, and LangGraph runs a node from its beginning
when a run is resumed after a question, a limit or a crash. So each question and each tool call is a
LangGraph task: its result is stored beside the node's checkpoint and returned again in the same
order, instead of being paid or done twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import hashlib
import json
import logging
from typing import TYPE_CHECKING, Any, TypeVar, cast

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ToolMessage,
    message_to_dict,
    messages_from_dict,
)
from langchain_core.messages.tool import ToolCall, tool_call
from langchain_core.runnables import RunnableWithFallbacks
from langchain_core.runnables.config import merge_configs
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.config import get_config
from langgraph.errors import GraphBubbleUp, GraphInterrupt
from langgraph.func import task
from pydantic import ValidationError

from aideon_agents.agents.mcp import ServerDown
from aideon_agents.agents.tools import Toolbox, pictures_of, text_of, with_text
from aideon_agents.errors import LimitError, Malformed, PrivacyRule, UserError
from aideon_agents.ledger import tags
from aideon_agents.ledger.redaction import one_line
from aideon_agents.ledger.tool_calls import withheld
from aideon_agents.models.answers.rehearsal import InProcessChatModel, RehearsalChatModel
from aideon_agents.models.bridge import in_own_thread
from aideon_agents.models.candidates import AnswerListener, answers_noted, note_answer
from aideon_agents.models.chain import Models
from aideon_agents.models.protocol.calls import raw_arguments
from aideon_agents.models.routing.policy import Policy, policy_for
from aideon_agents.models.shape import parse
from aideon_agents.node_paths import INSIDE, NODE_PATH
from aideon_agents.state import Context, ModelRequest, ModelSource

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from langchain_core.runnables import RunnableConfig
    from pydantic import BaseModel


_log = logging.getLogger("aideon_agents.agents")

QUESTION = f"{INSIDE}question"
TOOL = f"{INSIDE}tool"
"""The names of the tasks."""

_RAISED = (GraphBubbleUp, LimitError, PrivacyRule, UserError, ServerDown)
"""What a model can do nothing about: a question to a person, a limit, an error of the caller."""
_SHOWN = 80  # characters of arguments that are not JSON
_NO_MORE = "\n\n(No further tool can be called. Answer now, with what you have.)"


async def ask(
    models: ModelSource,
    request: ModelRequest,
    context: Context,
    messages: list[BaseMessage],
    *,
    output: type[BaseModel] | None,
    toolbox: Toolbox | None,
    sources: dict[str, str] | None,
    config: RunnableConfig,
) -> Any:
    """Ask a model for an instance of `output`, or for a message where that is None.

    The models that answer are noted (`answers_noted`), and what tools return is in `sources`.
    """
    if isinstance(models, Models) and models.router:
        request = dataclasses.replace(request, first=models.router.first(messages[-1].text))
    chain = functools.partial(models.chat, request, context)
    answer: AIMessage | None = None
    offered: dict[str, Any] = {}
    if not isinstance(models, Models):
        config = merge_configs(config, {"callbacks": [AnswerListener()]})
    if toolbox:
        policy = policy_for(request, context)
        guarded = functools.partial(_refuse_private, policy, toolbox.local)
        before = withheld.set(policy.stored)
        try:
            messages, answer, offered = await _with_tools(
                chain, messages, toolbox, sources, config, guarded=guarded
            )
        finally:
            withheld.reset(before)
    if output is None:
        if answer is None and offered:
            return await _last(chain, messages, offered, config)
        return answer if answer is not None else await chain().ainvoke(messages, config)
    if answer is not None:
        with contextlib.suppress(Malformed):
            return parse(answer, output)
    model = cast("Any", chain())
    options = offered if isinstance(model, (RunnableWithFallbacks, InProcessChatModel)) else {}
    return await model.with_structured_output(output, **options).ainvoke(messages, config)


async def _last(
    chain: Callable[[], Any],
    messages: list[BaseMessage],
    offered: dict[str, Any],
    config: RunnableConfig,
) -> AIMessage:
    """Ask for an answer without tool calls; some servers ignore that no tool may be called."""
    answer: AIMessage = await chain().bind_tools(**offered).ainvoke(messages, config)
    calls = _calls_in(answer, "last")
    if not calls:
        return answer
    refused = [_error(call, "no further tool can be called") for call, _ in calls]
    return await chain().ainvoke([*messages, _quoted(answer, calls), *refused], config)


async def _with_tools(
    chain: Callable[[], Any],
    messages: list[BaseMessage],
    toolbox: Toolbox,
    sources: dict[str, str] | None,
    config: RunnableConfig,
    *,
    guarded: Callable[[ToolCall], None],
) -> tuple[list[BaseMessage], AIMessage | None, dict[str, Any]]:
    """Let the model call tools.

    Returns the messages up to the last tool results; the answer to them, None where the model still
    called tools in its last round; and the options of a question that may call none of them any more.
    """
    first = chain()
    primary = first.runnable if isinstance(first, RunnableWithFallbacks) else first
    if isinstance(primary, RehearsalChatModel):
        toolbox, guarded = toolbox.rehearsed(), lambda _: None
    sees = any(one.sees for one in getattr(first, "candidates", ())[:1])
    async with toolbox.opened() as tools:
        results: list[ToolMessage] = []
        # Some servers refuse the calls in a conversation if the request does not define the tools.
        defined = [convert_to_openai_tool(tool) for tool in tools.values()]
        for number in range(toolbox.max_rounds):
            offered = {"tools": defined, "tool_choice": "none"} if results else {}
            asking = chain().bind_tools(list(tools.values())) if tools else chain()
            question = functools.partial(_question, asking, messages)
            answer = await _checkpointed(QUESTION, question, config)
            for name, truncated, *stale in answer.response_metadata.get(tags.ANSWERED, ()):
                note_answer(name, truncated=truncated, stale_s=stale[0] if stale else None)
            calls = _calls_in(answer, number)
            if not calls:
                return messages, answer, offered
            for call, _ in calls:
                guarded(call)
            results = await _results_of(calls, tools, seconds=toolbox.seconds, config=config)
            if not sees:
                results = [one.model_copy(update={"content": text_of(one)}) for one in results]
            if sources is not None:
                results = [_labelled(one, sources) for one in results]
            messages = [*messages, _quoted(answer, calls), *results]
    # Part of the last result, because no other message may follow the results.
    closing = with_text(results[-1], f"{text_of(results[-1])}{_NO_MORE}")
    return [*messages[:-1], closing], None, {"tools": defined, "tool_choice": "none"}


def _refuse_private(policy: Policy, local: frozenset[str], call: ToolCall) -> None:
    """Raise PrivacyRule for a tool call whose arguments may not leave, unless its tool keeps them."""
    if call["name"] not in local and (kind := policy.kind_of_arguments(call["args"])):
        raise PrivacyRule(
            kind,
            f"a call of the tool {call['name']}",
            'mark the tool as local where it sends its arguments nowhere (tags=["local"]), or give '
            'privacy="off" (--privacy off) where they may leave',
        )


def _labelled(result: ToolMessage, sources: dict[str, str]) -> ToolMessage:
    """A tool's result below the label to cite it by, which is noted; the same text has the same."""
    text = text_of(result)
    if result.status == "error":
        return result
    label = f"{result.name}:{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:6]}"
    sources[label] = text
    return with_text(result, f"[{label}]\n{text}")


async def _question(asking: Any, messages: list[BaseMessage], config: RunnableConfig) -> AIMessage:
    """Ask once; the answer says which models answered, also when it comes from a checkpoint."""
    with answers_noted() as noted:
        answer = await asking.ainvoke(messages, config)
    metadata = {**answer.response_metadata, tags.ANSWERED: noted}
    return answer.model_copy(update={"response_metadata": metadata})


def _quoted(answer: AIMessage, calls: Sequence[tuple[ToolCall, str | None]]) -> AIMessage:
    """An answer with its calls as understood: some servers refuse arguments that are not JSON."""
    understood = {"tool_calls": [call for call, _ in calls], "invalid_tool_calls": []}
    return answer.model_copy(update=understood)


def _calls_in(answer: AIMessage, number: int | str) -> list[tuple[ToolCall, str | None]]:
    """The tool calls of an answer, each with what makes it unreadable; these come last.

    `number` is the answer's: each call has an id of its own in the conversation.
    """
    readable = [(call["name"], call["args"], call["id"], None) for call in answer.tool_calls]
    unreadable = [
        (call["name"], {}, call["id"], _unreadable(call["args"]))
        for call in answer.invalid_tool_calls
    ]
    known: set[str] = set()
    calls: list[tuple[ToolCall, str | None]] = []
    for nth, (name, args, call_id, problem) in enumerate([*readable, *unreadable]):
        own = call_id if call_id and call_id not in known else f"call_{number}_{nth}"
        known.add(own)
        calls.append((tool_call(name=name or "unnamed", args=args, id=own), problem))
    return calls


def _unreadable(arguments: str | None) -> str:
    begins = json.dumps(raw_arguments(arguments)[:_SHOWN], ensure_ascii=False)
    return f"the arguments are no JSON object; they begin {begins}"


async def _results_of(
    calls: Sequence[tuple[ToolCall, str | None]],
    tools: Mapping[str, BaseTool],
    *,
    seconds: float,
    config: RunnableConfig,
) -> list[ToolMessage]:
    """Run tool calls at the same time, each for at most so many seconds; one message per call."""
    # Without the agent's own path: agents of a graph that a tool runs have paths of their own.
    metadata = {k: v for k, v in (config.get("metadata") or {}).items() if k != NODE_PATH}
    inner = cast("RunnableConfig", {**config, "metadata": metadata})

    async def result(call: ToolCall, problem: str | None) -> ToolMessage | GraphBubbleUp:
        try:
            work = functools.partial(_run_call, call, problem, tools, seconds)
            return await _checkpointed(TOOL, work, inner)
        except GraphBubbleUp as stop:
            return stop  # the other calls finish first

    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(result(call, problem)) for call, problem in calls]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    given = [done.result() for done in running]
    if stops := [one for one in given if isinstance(one, GraphBubbleUp)]:
        raise _combined(stops)
    return [one for one in given if isinstance(one, ToolMessage)]


def _combined(stops: Sequence[GraphBubbleUp]) -> GraphBubbleUp:
    """All questions to a person as one, unless a call stops the graph for another reason."""
    asking = [stop for stop in stops if isinstance(stop, GraphInterrupt)]
    if len(asking) < len(stops):
        return next(stop for stop in stops if stop not in asking)
    questions = {one.id: one for stop in asking for one in stop.args[0]}
    return GraphInterrupt(tuple(questions.values()))


async def _run_call(
    call: ToolCall,
    problem: str | None,
    tools: Mapping[str, BaseTool],
    seconds: float,
    config: RunnableConfig,
) -> ToolMessage:
    name = call["name"]
    if problem:
        return _error(call, problem)
    if name not in tools:
        return _error(call, f"there is no tool {name}; there are {', '.join(tools)}")
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            with answers_noted():  # those of a model that a tool asks are not the agent's
                result = await _invoke(tools[name], call, config)
    except _RAISED:
        raise
    except (Exception, asyncio.CancelledError) as error:  # the model is sent whatever it is
        if isinstance(error, asyncio.CancelledError) and _is_being_cancelled():
            raise
        late = isinstance(error, TimeoutError) and limit.expired()
        why = f"{name} took longer than {seconds:g} s" if late else _reason(error)
        _log.info("tool %s failed: %s", name, withheld.get()(one_line(why)))
        return _error(call, why)
    if not isinstance(result, ToolMessage):
        kind = type(result).__name__
        return _error(call, f"{name} returned a {kind}, which cannot be sent to a model")
    text = text_of(result)
    if result.status == "error":
        return _error(call, text)
    content: Any = text
    if shown := pictures_of(result):
        others = [one for one in result.content if one not in shown]
        words = text_of(result.model_copy(update={"content": others}))
        content = [*([{"type": "text", "text": words}] if words else []), *shown]
    return ToolMessage(content, tool_call_id=result.tool_call_id, name=result.name)


def _is_being_cancelled() -> bool:
    """Whether this task is being cancelled; else a cancellation is the tool's own."""
    this = asyncio.current_task()
    return this is not None and this.cancelling() > 0


async def _invoke(tool: BaseTool, call: ToolCall, config: RunnableConfig) -> Any:
    if hasattr(tool, "coroutine"):
        is_async = cast("Any", tool).coroutine is not None
    else:
        is_async = type(tool)._arun is not BaseTool._arun  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - LangChain has no other sign
    if is_async:
        return await tool.ainvoke(call, config)
    return await in_own_thread(functools.partial(tool.invoke, call, config))


def _error(call: ToolCall, why: str) -> ToolMessage:
    return ToolMessage(
        f"Error: {one_line(why)}", tool_call_id=str(call["id"]), name=call["name"], status="error"
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'the arguments'}: {one['msg']}"
            for one in error.errors(include_url=False)
        )
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


Message = TypeVar("Message", bound=BaseMessage)


async def _checkpointed(
    name: str,
    work: Callable[[RunnableConfig], Coroutine[Any, Any, Message]],
    config: RunnableConfig,
) -> Message:
    """Do the work as a LangGraph task, or return its message from an earlier run of the node.

    An exception is never stored.
    """
    # LangGraph can run a task and store its result only with a checkpointer, and not for a
    # coroutine of a synchronous run or of another loop. Where it limits how much runs at once, the
    # node and its task would wait for each other.
    known = config.get("configurable") or {}
    loop = getattr(known.get("__pregel_call"), "keywords", {}).get("loop")  # it has no public name
    if (
        loop is not asyncio.get_running_loop()
        or known.get("__pregel_checkpointer") is None
        or config.get("max_concurrency") is not None
    ):
        return await work(config)
    ended = asyncio.Event()
    ended.set()

    async def run() -> dict[str, Any]:
        ended.clear()
        try:
            # With the task's own place: LangGraph counts questions to a person for each task.
            own = {**config, "configurable": get_config().get("configurable", {})}
            return message_to_dict(await work(cast("RunnableConfig", own)))
        finally:
            ended.set()

    try:
        # As plain data: LangGraph streams each message that a task returns.
        (message,) = messages_from_dict([await task(name=name)(run)()])
        return cast("Message", message)
    finally:
        await ended.wait()  # LangGraph's task is cancelled with this one, but not awaited
