"""The spans of runs, their nodes and their calls, for OpenTelemetry.

A handler beside `CostHandler` makes them. It is made only for a run that is traced: without it a call
takes the direct path, which costs less than LangChain's own.

A library does not set OpenTelemetry up for a program. Where a program, or `opentelemetry-instrument`,
has configured a tracer provider, that one receives the spans. A provider that is made here is not
registered as the program's: a program that configures its own later is not disturbed.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import os
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from aideon_agents.runner.tracing import names

if TYPE_CHECKING:
    from collections.abc import Generator

    from langchain_core.callbacks import BaseCallbackHandler
    from opentelemetry.trace import Tracer, TracerProvider

    from aideon_agents.runner.outcome import Outcome
    from aideon_agents.runner.spec import RunSpec

_log = logging.getLogger("aideon_agents.runner")

_HTTP = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
_GRPC = "opentelemetry.exporter.otlp.proto.grpc.trace_exporter"


@contextlib.contextmanager
def traced(spec: RunSpec, outcome: Outcome) -> Generator[list[BaseCallbackHandler]]:
    """Trace a run until the block ends; what its graph is given as callbacks.

    The span around the run is the current one's child.
    """
    makes = _tracer()
    if makes is None:
        yield []
        return
    from opentelemetry import context as contexts  # noqa: PLC0415 - an optional dependency

    from aideon_agents.runner.tracing.spans import Place, SpanHandler, innermost  # noqa: PLC0415 - needs it

    start = spec.start
    attributes = names.of_run(start, resumes=spec.resumes is not None)
    span = makes.start_span(f"invoke_workflow {start.workflow}", attributes=attributes)
    root = Place(span, innermost(), "", run_id=start.run_id)
    handler = SpanHandler(makes, root, spec)
    token = contexts.attach(root.context)
    try:
        yield [handler]
    finally:
        handler.close()
        contexts.detach(token)
        span.set_attribute(names.STATUS, outcome.status)
        if outcome.stop_reason:
            span.set_attribute(names.STOP_REASON, outcome.stop_reason)
        ok = outcome.status in {"completed", "waiting"}
        root.end("" if ok else outcome.error_type or outcome.status)


def _tracer() -> Tracer | None:
    provider = configured_provider()
    if provider is None:
        return None
    return provider.get_tracer("aideon_agents", version("aideon-agents"), names.SCHEMA_URL)


def configured_provider() -> TracerProvider | None:
    """What receives the spans: the program's provider, or one that sends to where the variables say.

    None: they cannot be sent, and a warning has said why.
    """
    try:
        from opentelemetry import trace  # noqa: PLC0415 - an optional dependency
    except ImportError:
        _warn_once("OpenTelemetry is not installed")
        return None
    provider = trace.get_tracer_provider()
    return _own_provider() if isinstance(provider, trace.ProxyTracerProvider) else provider


@functools.lru_cache(maxsize=1)
def _own_provider() -> TracerProvider | None:
    """A provider that sends to where OpenTelemetry's variables say, by default http://localhost:4318."""
    wants = [os.environ.get(f"OTEL_EXPORTER_OTLP_{of}PROTOCOL", "") for of in ("TRACES_", "")]
    try:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415 - the same
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        exporters: Any = importlib.import_module(
            _GRPC if (wants[0] or wants[1]) == "grpc" else _HTTP
        )
    except ImportError as missing:
        _warn_once(f"{missing.name} is not installed")
        return None
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "aideon"}))
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(exporters.OTLPSpanExporter()))
    return provider


@functools.lru_cache
def _warn_once(why: str) -> None:
    _log.warning(
        "spans are not sent: %s: pip install 'aideon-agents[otel]', or set AIDEON_OTEL=0", why
    )
