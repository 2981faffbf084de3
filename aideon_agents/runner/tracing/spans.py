"""What makes the spans of one run from LangChain's events."""

# ruff: noqa: ARG002 - the signatures are LangChain's
from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langgraph.errors import GraphBubbleUp
from opentelemetry import context as contexts
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context

from aideon_agents.ledger import tags
from aideon_agents.ledger.calls import (
    OpenCall,
    answer_text,
    answered,
    call_start,
    failed,
    prompt_text,
)
from aideon_agents.ledger.redaction import without_keys
from aideon_agents.node_paths import node_path
from aideon_agents.runner.tracing import names

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from langchain_core.outputs import LLMResult
    from opentelemetry.trace import Span, Tracer

    from aideon_agents.ledger.rows import CallEnd
    from aideon_agents.runner.spec import RunSpec


_PLACE = "aideon-place"  # the key of the innermost place in OpenTelemetry's context


class Place:
    """A run, a node, or a call of a tool or a model: what has a span."""

    begun_by: UUID | None = None
    """LangChain's run id of what began it; None: it is a run."""
    call: OpenCall | None = None
    """Of a model."""

    def __init__(self, span: Span, around: Place | None, path: str, *, run_id: str = "") -> None:
        # A run may be inside a span that the program made in a node.
        inside = set_span_in_context(span, around.context if around and not run_id else None)
        self.span = span
        self.context = contexts.set_value(_PLACE, self, inside)
        self.around = around  # None: it is a run, and in no other
        self.path = path
        self.run: Place = self if run_id or around is None else around.run
        """The run that it is in; a run is in itself."""
        self.run_id: str = around.run_id if around else run_id
        """The run to which the ledger counts its calls: the outermost."""
        self.nanousd = 0
        self.is_complete = True

    def add(self, end: CallEnd) -> None:
        """Add what a call in it cost."""
        self.nanousd += end.cost_nanousd or 0
        self.is_complete = self.is_complete and end.cost_nanousd is not None
        if self.around:
            self.around.add(end)

    def belongs_to(self, role: str) -> None:
        """Take the role of the agent that it is, where a wrapper of the agent began it."""
        if role:
            name = self.path.rpartition("/")[2]
            self.span.update_name(f"invoke_agent {name}")
            self.span.set_attributes(names.of_agent(name, role))

    def end(self, error: str) -> None:
        """End its span. The words of an error may hold a prompt, so only its class is recorded."""
        self.span.set_attributes(names.cost(self.nanousd, is_complete=self.is_complete))
        if error:
            self.span.set_attribute(names.ERROR, error)
            self.span.set_status(StatusCode.ERROR)
        self.span.end()


def innermost() -> Place | None:
    """Where the code that runs now is; None: in no run that is traced."""
    found = contexts.get_value(_PLACE)
    return found if isinstance(found, Place) else None


class SpanHandler(BaseCallbackHandler):
    """Makes the spans of one run from LangChain's events."""

    run_inline = True

    def __init__(self, makes: Tracer, root: Place, spec: RunSpec) -> None:
        self._tracer = makes
        self._root = root
        self._records = spec.record_content
        self._inside: dict[UUID, Place] = {}
        """Where each chain, tool and call that is under way is, by LangChain's run id."""
        self._has_begun = False
        self._is_over = False

    def on_chain_start(self, serialized: Any, inputs: Any, **event: Any) -> None:
        """Begin a span where a node starts; any other chain belongs to the node around it."""
        if self._is_elsewhere():
            return
        run_id, around, known = self._placed(event)
        # The first chain is the graph, whose metadata may be that of a node around the run.
        path = node_path(known) if self._has_begun else ""
        role = str(known.get(tags.ROLE, ""))
        self._has_begun = True
        if not path or path == around.path:
            around.belongs_to(role if path else "")
            self._inside[run_id] = around
            return
        round_ = inputs.get("round", 1) if isinstance(inputs, dict) else 1
        about = names.of_node(path, round_, around.run_id)
        self._begin(run_id, path.rpartition("/")[2], about, around, path).belongs_to(role)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """End the span of a node."""
        self._leave(run_id)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """End the span of a node that failed, or asks a person."""
        self._leave(run_id, error)

    def on_tool_start(self, serialized: Any, input_str: str, **event: Any) -> None:
        """Begin the span of a call of a tool."""
        if self._is_elsewhere():
            return
        run_id, around, known = self._placed(event)
        name = str((serialized or event).get("name") or "tool")
        path = node_path(known) or around.path
        about = names.of_tool(name, event.get("tool_call_id"), path, around.run_id)
        if self._records:
            about[names.ARGUMENTS] = without_keys(input_str)
        self._begin(run_id, f"execute_tool {name}", about, around, path)

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """End the span of a tool."""
        place = self._inside.get(run_id)
        if place and self._records:
            text = output.text if isinstance(output, BaseMessage) else str(output)
            place.span.set_attribute(names.RESULT, without_keys(text))
        is_error = getattr(output, "status", None) == "error"
        self._leave(run_id, kind="tool_error" if is_error else "")

    on_tool_error = on_chain_error

    def on_chat_model_start(self, serialized: Any, messages: Any, **event: Any) -> None:
        """Begin the span of a call of a model."""
        if self._is_elsewhere():
            return
        run_id, around, known = self._placed(event)
        params: dict[str, Any] = event.get("invocation_params") or {}
        if params.get("_type") == tags.CHAIN:
            self._inside[run_id] = around
            return
        start = call_start(str(run_id), around.run_id, known, params)
        about = names.of_call(start, params, streams=bool(params.get("stream")))
        if self._records:
            about[names.PROMPT] = names.messages(prompt_text(messages))
        name, kind = f"chat {start.requested_model}", SpanKind.CLIENT
        place = self._begin(run_id, name, about, around, around.path, kind)
        place.call = OpenCall(start, known.get(tags.SENDING))

    def on_llm_start(self, serialized: Any, prompts: Any, **event: Any) -> None:
        """Begin the span of a model that completes text, as that of a chat model."""
        self.on_chat_model_start(serialized, prompts, **event)

    def on_llm_new_token(self, token: Any, *, run_id: UUID, **event: Any) -> None:
        """Record when a streamed answer begins, and the usage in its chunks."""
        if (place := self._inside.get(run_id)) and place.call:
            place.call.add_chunk(event.get("chunk"))

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """End the span of a call that was answered."""
        if (place := self._taken(run_id)) and place.call:
            if self._records and (answer := answer_text(response)):
                place.span.set_attribute(names.ANSWER, names.messages(answer))
            _settle(place, answered(place.call, response))

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """End the span of a call that raised."""
        if (place := self._taken(run_id)) and place.call:
            _settle(place, failed(place.call, error))

    def close(self) -> None:
        """End what is left, cancelled: LangChain sends no event for it. What begins later has no span."""
        self._is_over = True
        for run_id, place in reversed(list(self._inside.items())):
            ends = self.on_llm_error if place.call else self.on_chain_error
            ends(asyncio.CancelledError(), run_id=run_id)

    def _is_elsewhere(self) -> bool:
        """Whether an event is of a run inside this one, which has a handler of its own."""
        place = innermost()
        return self._is_over or (place is not None and place.run is not self._root)

    def _placed(self, event: Mapping[str, Any]) -> tuple[UUID, Place, dict[str, Any]]:
        """LangChain's run id of an event, the place around it, and its metadata."""
        around = self._inside.get(event.get("parent_run_id") or event["run_id"], self._root)
        return event["run_id"], around, event.get("metadata") or {}

    def _begin(  # noqa: PLR0917 - the parts of a span
        self,
        run_id: UUID,
        name: str,
        about: names.Attributes,
        around: Place,
        path: str,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> Place:
        """Begin a span. That of a node or a tool is the current one for what these do themselves."""
        span = self._tracer.start_span(name, around.context, kind, attributes=about)
        place = self._inside[run_id] = Place(span, around, path)
        place.begun_by = run_id
        if kind is SpanKind.INTERNAL:
            contexts.attach(place.context)
        return place

    def _taken(self, run_id: UUID) -> Place | None:
        """What an event ends; None: it has no span."""
        place = self._inside.pop(run_id, None)
        return place if place and place.begun_by == run_id else None

    def _leave(self, run_id: UUID, error: BaseException | None = None, kind: str = "") -> None:
        if place := self._taken(run_id):
            if error and not isinstance(
                error, GraphBubbleUp
            ):  # which asks a person, or stops the run
                kind = type(error).__name__
            place.end(kind)
            # The event may come in another context than the start did: nothing can be detached there.
            contexts.attach((place.around or self._root).context)


def _settle(place: Place, end: CallEnd) -> None:
    place.span.set_attributes(names.of_end(end))
    place.add(end)
    place.end("" if end.status in {"ok", "cached"} else end.error_type or end.status)
