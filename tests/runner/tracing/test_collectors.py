"""Where spans are sent, tried with processes and a collector that speaks OTLP over HTTP."""

from __future__ import annotations

import gzip
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import warm
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from aideon_agents import Settings

PROGRAM = """
from aideon_agents import executor, run, sequential
result = run(sequential(executor("a"), name="w"), "Pumps.", rehearse=True)
print(result.status)
"""
PROVIDER = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
kept = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(kept))
trace.set_tracer_provider(provider)
"""
ABSENT = "import sys\nsys.modules['opentelemetry'] = None\n"


class Collector(ThreadingHTTPServer):
    """Keeps what it is sent: the paths, the headers and the spans with their resources."""

    def __init__(self):
        self.received = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def spans(self):
        return [
            span
            for _, request in self.received
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def services(self):
        return {
            one.value.string_value
            for _, request in self.received
            for resource in request.resource_spans
            for one in resource.resource.attributes
            if one.key == "service.name"
        }


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.received.append((self.path, ExportTraceServiceRequest.FromString(body)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *words):
        pass


@pytest.fixture
def collector():
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def python(tmp_path):
    """Runs a program in a folder of its own; the environment has only these settings."""

    def call(*words, **variables):
        known = [
            name
            for field in Settings.model_fields.values()
            for name in field.validation_alias.choices
        ]
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in known and not name.startswith("OTEL_")
        }
        return warm.run(words, cwd=tmp_path, env=kept | variables, capture_output=True, text=True)

    return call


@pytest.mark.parametrize(
    ("variable", "path"),
    [("OTEL_EXPORTER_OTLP_ENDPOINT", ""), ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "/v1/traces")],
)
def test_opentelemetrys_own_variables_say_where_a_command_sends_its_spans(
    collector, python, tmp_path, variable, path
):
    (tmp_path / "w.py").write_text(
        "from aideon_agents import executor, sequential\ngraph = sequential(executor('a'), name='w')"
    )
    words = "-m", "aideon_agents", "run", "w.py:graph", "--task", "Pumps.", "--rehearse", "--json"
    done = python(*words, **{variable: collector.url + path})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "completed"
    assert {path for path, _ in collector.received} == {"/v1/traces"}
    # Once: what the command works out of a rehearsal in advance is no run of the user's.
    assert sorted(one.name.partition(" ")[0] for one in collector.spans) == [
        "chat",
        "invoke_agent",
        "invoke_workflow",
    ]
    assert len({one.trace_id for one in collector.spans}) == 1
    assert collector.services == {"aideon"}


def test_a_program_without_a_tracer_provider_sends_its_runs_and_names_itself(collector, python):
    done = python(
        "-c", PROGRAM, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_SERVICE_NAME="shop"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "completed\n", "")
    assert len(collector.spans) == 3
    assert collector.services == {"shop"}


def test_a_programs_own_provider_receives_the_spans_instead(collector, python):
    shows = "print(sorted(one.name.split()[0] for one in kept.get_finished_spans()))"
    where = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    done = python("-c", PROVIDER + PROGRAM + shows, **where)
    assert done.stdout == "completed\n['chat', 'invoke_agent', 'invoke_workflow']\n"
    assert collector.received == []


@pytest.mark.parametrize(
    "off", [{"AIDEON_OTEL": "0"}, {"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}]
)
def test_nothing_is_sent_where_it_is_switched_off(collector, python, off):
    done = python("-c", PROGRAM, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **off)
    assert (done.returncode, done.stdout, done.stderr) == (0, "completed\n", "")
    assert collector.received == []


def test_by_default_a_run_imports_no_exporter(python):
    shows = "import sys\nprint('aideon_agents.runner.tracing.spans' in sys.modules)"
    forget = "import sys\n[sys.modules.pop(one) for one in [*sys.modules] if 'tracing' in one]\n"
    assert python("-c", forget + PROGRAM + shows).stdout == "completed\nFalse\n"


def test_a_collector_that_is_gone_fails_no_run(python):
    with Collector() as gone:
        address = gone.url
    where = {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    done = python("-c", PROGRAM, **where)
    assert (done.returncode, done.stdout) == (0, "completed\n")
    assert "export" in done.stderr


def test_without_the_extra_one_line_says_what_to_install(python):
    again = ABSENT + PROGRAM + PROGRAM
    done = python("-c", again, AIDEON_OTEL="1")
    assert (done.returncode, done.stdout) == (0, "completed\ncompleted\n")
    assert done.stderr.count("\n") == 1
    assert "pip install 'aideon-agents[otel]'" in done.stderr
    assert python("-c", ABSENT + PROGRAM).stderr == ""
