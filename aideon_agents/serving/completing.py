"""Answers of a model without a workflow: each one is a run with one call, under all limits of a run."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import AIMessage

from aideon_agents.access import quotas
from aideon_agents.agents.chat_model.model import ChatModel
from aideon_agents.agents.outputs import asked_for
from aideon_agents.errors import UserError
from aideon_agents.ledger.budgets.runs import RunBudget
from aideon_agents.ledger.costs import cost_of
from aideon_agents.ledger.handler import CostHandler
from aideon_agents.ledger.identity import new_run_id
from aideon_agents.ledger.rows import Run
from aideon_agents.models.protocol.thoughts import Spoken, answer_in
from aideon_agents.serving.launching import tier_of
from aideon_agents.state import Context, ModelRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from langchain_core.messages import BaseMessage

    from aideon_agents.access.callers import Caller
    from aideon_agents.ledger.budgets.units import Feature
    from aideon_agents.ledger.costs import Cost
    from aideon_agents.ledger.rows import Call
    from aideon_agents.serving.service import Service
    from aideon_agents.state import Tier


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ask:
    """What a model is asked for a caller."""

    feature: Feature
    """What it counts as. The run has this name as its workflow."""
    request: ModelRequest
    messages: Sequence[BaseMessage]
    tier: Tier | None = None
    """None: the caller's."""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    """What is sent besides: `tools`, `tool_choice`, `stop`."""
    response_format: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    """The form of the answer, as OpenAI's API has it."""
    request_id: str | None = None
    run_id: str = dataclasses.field(default_factory=new_run_id)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Completed:
    """An answer, and what it took."""

    run_id: str
    message: AIMessage
    call: Call
    """The attempt that was answered."""
    cost: Cost
    """Of all attempts."""

    @property
    def text(self) -> str:
        """The text without the model's thoughts."""
        return answer_in(str(self.message.text))


async def complete(service: Service, caller: Caller, ask: Ask) -> Completed:
    """Ask a model, and wait for its answer."""
    return await _asked(service, caller, ask, None)


async def pieces(service: Service, caller: Caller, ask: Ask) -> AsyncGenerator[str | Completed]:
    """Ask a model: the text as it comes, and the answer at last. Closing it cancels the call."""
    queue: asyncio.Queue[str | None] = asyncio.Queue()
    # In a task of its own: the timeouts of a call must end in the task in which they began.
    task = asyncio.create_task(_asked(service, caller, ask, queue.put_nowait))
    task.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        while (text := await queue.get()) is not None:
            yield text
        yield task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _shape(form: Mapping[str, Any]) -> dict[str, Any] | None:
    """A JSON schema that every model can be asked for, each in its own way; None: it is none."""
    named = form.get("json_schema")
    schema = {"title": "answer", **named["schema"]} if named and "schema" in named else None
    with contextlib.suppress(UserError):
        return asked_for(schema) and schema
    return None


async def _asked(
    service: Service, caller: Caller, ask: Ask, say: Callable[[str], None] | None
) -> Completed:
    launcher = service.launcher
    context = Context(
        tier=tier_of(caller, ask.tier),
        user=caller.user,
        stream=say is not None,
        rehearse=launcher.rehearse or not launcher.settings.can_call,
        fallback=launcher.may_fall_back(caller),
    )
    start = Run(
        run_id=ask.run_id,
        workflow=ask.feature,
        user=caller.user,
        tier=context.tier,
        rehearsed=context.rehearse,
        key_id=caller.key_id,
        request_id=ask.request_id,
    )
    given = caller, start.run_id, ask.feature, ask.request_id
    settings, start.origin = launcher.granted(*given)
    model = ChatModel(request=ask.request, settings=settings)
    messages, options = list(ask.messages), dict(ask.options)
    with (
        quotas.admitted(service.ledger, caller, start),
        CostHandler.for_run(service.ledger, start) as recorder,
    ):
        recorder.context = context
        recorder.run_budgets[start.run_id] = RunBudget.of(service.ledger.budgets, start)
        config: Any = {"callbacks": [recorder]}
        shape = None if options.get("tools") else _shape(ask.response_format)
        if shape is None and ask.response_format.get("type", "text") != "text":
            options["response_format"] = ask.response_format
        if shape is not None:
            parsed = await model.with_structured_output(shape).ainvoke(messages, config)
            message = AIMessage(json.dumps(parsed, ensure_ascii=False))
            (say or str)(str(message.text))
        elif say is None:
            message = await model.ainvoke(messages, config, **options)
        else:
            whole, spoken = None, Spoken()
            async for chunk in model.astream(messages, config, **options):
                whole = chunk if whole is None else whole + chunk
                if text := spoken.answer_of(str(chunk.text)):
                    say(text)
            if not spoken.is_answer and spoken.rest:
                say(spoken.rest)
            message = cast("AIMessage", whole)
    calls = service.ledger.calls(start.run_id)
    answered = next(one for one in reversed(calls) if one.status in ("ok", "cached"))
    return Completed(run_id=start.run_id, message=message, call=answered, cost=cost_of(calls))
