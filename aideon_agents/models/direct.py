"""The direct path of a call, for when nothing but this package's own recorder listens.

LangChain's callback managers and fallbacks cost more than everything else in a call. Where only
`CostHandler` listens, it is called here without them, and gets the same events of a model: its start,
its end or its error. Any other handler, tracer, cache or stream switches the direct path off.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeVar, cast

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.globals import get_debug, get_llm_cache
from langchain_core.outputs import LLMResult
from langchain_core.tracers.context import (
    _configure_hooks,  # pyright: ignore[reportPrivateUsage] - handlers that are registered in no other place
    tracing_v2_callback_var,
)

from aideon_agents.ledger.handler import CostHandler

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.messages import AIMessage
    from langchain_core.runnables import RunnableConfig

    from aideon_agents.models.candidates import Attempt


FunctionT = TypeVar("FunctionT", bound="Callable[..., Any]")


def signed(function: FunctionT) -> FunctionT:
    """Keep a function's signature: LangChain asks what a function takes before each call of it."""
    cast("Any", function).__signature__ = inspect.signature(function)
    return function


def recorders(config: RunnableConfig | None) -> list[CostHandler] | None:
    """The recorders that listen to a call; None: others listen as well."""
    manager: object = (config or {}).get("callbacks")
    if not isinstance(manager, BaseCallbackManager):
        return None
    handlers = manager.handlers
    # A recorder that starts runs by itself needs the events of chains.
    if not all(type(one) is CostHandler and one.ignore_chain for one in handlers):
        return None
    if get_debug() or get_llm_cache() is not None or tracing_v2_callback_var.get() is not None:
        return None
    if any(variable.get() is not None for variable, *_ in _configure_hooks):
        return None
    return cast("list[CostHandler]", handlers)


def is_ordinary(model: Any, options: dict[str, Any]) -> bool:
    """Whether a model is asked for one whole answer, without what LangChain would add to it."""
    return not (
        getattr(model, "streaming", False)
        or options.get("stream")
        or model.callbacks
        or model.verbose
        or model.cache
        or model.rate_limiter
        or model.output_version
    )


async def answer(
    model: Any, question: Any, attempt: Attempt, listeners: list[CostHandler]
) -> AIMessage:
    """Ask a model as LangChain's `ainvoke` does, and send its events to the recorders."""
    options = dict(attempt.options)
    config = options.pop("config")
    messages = model._convert_input(question).to_messages()  # noqa: SLF001 - as LangChain reads it
    manager = config["callbacks"]
    run: dict[str, Any] = {"run_id": attempt.call_id, "parent_run_id": manager.parent_run_id}
    metadata = {**manager.metadata, **config["metadata"]}
    for one in listeners:
        one.on_chat_model_start({}, [messages], metadata=metadata, **run)
    try:
        result = await model._agenerate(messages, **options)  # noqa: SLF001 - LangChain's own step
    except BaseException as error:
        for one in listeners:
            one.on_llm_error(error, **run)
        raise
    for nth, generation in enumerate(result.generations):
        message = generation.message
        message.id = message.id or f"lc_run--{attempt.call_id}-{nth}"
        about = {**(generation.generation_info or {}), **message.response_metadata}
        whole = result.llm_output if len(result.generations) == 1 else None
        message.response_metadata = {**(whole or {}), **about}
    ended = LLMResult(generations=[result.generations], llm_output=result.llm_output)
    for one in listeners:
        one.on_llm_end(ended, **run)
    return result.generations[0].message
