"""Text models on Replicate, over real HTTP to a server that speaks Replicate's protocol."""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from yarl import URL

from aideon_agents import Context, CostHandler, Settings
from aideon_agents.errors import AllModelsFailed, CallerError
from aideon_agents.ledger.rows import Run
from aideon_agents.models import Models, fallbacks
from aideon_agents.models.providers import replicate
from aideon_agents.state import ModelRequest, Verdict
from tests.models.providers.test_deployments import ANSWER, ask

KEY = "r8_of-the-tests-123456"
MODEL = "replicate:meta/meta-llama-3-8b-instruct"


class Predictions(ThreadingHTTPServer):
    """Makes predictions, which go through `steps` each time they are read."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.requests = []
        self.refusals = []
        """What is answered to the next attempts to make a prediction: statuses and bodies."""
        self.steps = [{"status": "succeeded", "output": ["Hel", "lo", "."]}]
        self.events = None
        """The bytes of the stream; None: there is no address of one."""
        self.elsewhere = None
        """Where reads, streams and cancellations are said to be; None: here."""
        self.unreadable, self.fault = 0, 502
        """How many of the next reads fail."""
        self.cancelled = threading.Event()

    def prediction(self):
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        here = f"{self.elsewhere or self.url}/v1/predictions/p1"
        urls = {"get": here, "cancel": f"{here}/cancel"}
        if self.events is not None:
            urls["stream"] = f"{self.elsewhere or self.url}/stream/p1"
        return {"id": "p1", "urls": urls, "output": None, "error": None, **step}

    def sent(self, nth=0):
        return json.loads(self.requests[nth][2])["input"]

    def paths(self):
        return [f"{method} {path}" for method, path, *_ in self.requests]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        server = self.server
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        server.requests.append((self.command, self.path, body, self.headers))
        if self.path.endswith("/cancel"):
            server.cancelled.set()
            self.answer(200, {"id": "p1", "status": "canceled"})
        elif self.path.startswith("/stream"):
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            self.wfile.write(server.events)
        elif self.command == "GET" and server.unreadable:
            server.unreadable -= 1
            self.answer(server.fault, {"detail": "Nothing here"})
        elif self.command == "POST" and server.refusals:
            self.answer(*server.refusals.pop(0))
        else:
            self.answer(201 if self.command == "POST" else 200, server.prediction())

    do_GET = do_POST  # noqa: N815 - the standard library's name

    def answer(self, status, document):
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def hosted(monkeypatch):
    monkeypatch.setattr(replicate, "_LOOK_AGAIN", 0.001)
    monkeypatch.setattr(fallbacks, "_FIRST_PAUSE", 0.001)
    made = Predictions()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def settings(hosted):
    return Settings(replicate_api_token=KEY, replicate_base_url=hosted.url)


async def test_a_prediction_is_made_and_its_tokens_are_estimated(hosted, ledger, settings):
    answer, (row,) = await ask(MODEL, ledger, settings, max_tokens=100)
    assert answer == "Hello."
    method, path, _, headers = hosted.requests[0]
    assert (method, path) == ("POST", "/v1/models/meta/meta-llama-3-8b-instruct/predictions")
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["prefer"].startswith("wait")
    assert headers["x-aideon-call"] == row.call_id
    assert hosted.sent() == {"prompt": "Hello?", "max_tokens": 100, "max_new_tokens": 100}
    assert (row.usage_source, row.input_tokens, row.output_tokens) == ("estimated", 2, 2)
    assert (row.cost_nanousd, row.finish_reason, row.status) == (None, "stop", "ok")


async def test_tokens_that_are_reported_count(hosted, ledger, settings):
    counts = {"input_token_count": 31, "output_token_count": 5, "predict_time": 0.2}
    hosted.steps = [{"status": "succeeded", "output": "Hello.", "metrics": counts}]
    answer, (row,) = await ask(MODEL, ledger, settings, max_tokens=5)
    assert answer == "Hello."
    assert (row.usage_source, row.input_tokens, row.output_tokens) == ("reported", 31, 5)
    assert row.truncated


async def test_a_prediction_that_takes_longer_is_read_until_it_ends(hosted, ledger, settings):
    running = [{"status": "starting"}, {"status": "processing"}, {"status": "processing"}]
    hosted.steps = [*running, *hosted.steps]
    answer, (row,) = await ask(MODEL, ledger, settings)
    assert (answer, row.status) == ("Hello.", "ok")
    assert hosted.paths()[1:] == ["GET /v1/predictions/p1"] * 3


async def test_a_conversation_becomes_a_prompt_and_a_system_prompt(hosted, settings):
    chain = Models(settings).chat(ModelRequest(role="executor", model=(MODEL,)), Context())
    await chain.ainvoke([("system", "Be brief."), ("human", "Hi"), ("ai", "Yes?"), ("human", "Go")])
    assert hosted.sent()["system_prompt"] == "Be brief."
    assert hosted.sent()["prompt"] == "User: Hi\n\nAssistant: Yes?\n\nUser: Go\n\nAssistant:"


async def stream(settings, ledger):
    run_id = ledger.start_run(Run(workflow="question"))
    handler = CostHandler(ledger, run_id=run_id)
    chain = Models(settings).chat(
        ModelRequest(role="executor", model=(MODEL,)), Context(stream=True)
    )
    chunks = []
    try:
        async for chunk in chain.astream("Hello?", {"callbacks": [handler]}):
            chunks += [chunk.text]
    except Exception as error:  # noqa: BLE001 - what it raised is what a test looks at
        return chunks, error, ledger.calls(run_id)
    return chunks, None, ledger.calls(run_id)


async def test_a_stream_gives_the_pieces_as_they_come(hosted, ledger, settings):
    hosted.steps = [{"status": "starting"}, *hosted.steps]
    hosted.events = (
        b"event: logs\ndata: loading weights\n\n"
        b"event: output\nid: 1:0\ndata: Hel\n\n"
        b"event: output\ndata: lo\n\nevent: output\ndata: \ndata: \n\n"
        b"event: done\ndata: {}\n\n"
    )
    chunks, error, (row,) = await stream(settings, ledger)
    assert error is None
    assert [one for one in chunks if one] == ["Hel", "lo", "\n"]
    assert (row.status, row.usage_source, row.output_tokens) == ("ok", "estimated", 2)
    assert json.loads(hosted.requests[0][2])["stream"] is True
    assert not hosted.cancelled.is_set()


async def test_the_counts_of_a_stream_are_waited_for(hosted, ledger, settings):
    counts = {"input_token_count": 31, "output_token_count": 5}
    running = [{"status": "starting"}, {"status": "processing"}, {"status": "processing"}]
    hosted.steps = [*running, {**hosted.steps[0], "metrics": counts}]
    hosted.events = b"event: output\ndata: Hello.\n\nevent: done\ndata: {}\n\n"
    chunks, error, (row,) = await stream(settings, ledger)
    assert (error, "".join(chunks)) == (None, "Hello.")
    assert (row.usage_source, row.input_tokens, row.output_tokens) == ("reported", 31, 5)
    assert not hosted.cancelled.is_set()


async def test_a_stream_without_counts_ends_all_the_same(hosted, ledger, settings, monkeypatch):
    monkeypatch.setattr(replicate, "_COUNT_SECONDS", 0.05)
    hosted.steps = [{"status": "processing"}]  # for ever
    hosted.events = b"event: output\ndata: Hello.\n\nevent: done\ndata: {}\n\n"
    chunks, error, (row,) = await stream(settings, ledger)
    assert (error, "".join(chunks)) == (None, "Hello.")
    assert (row.status, row.usage_source) == ("ok", "estimated")


@pytest.mark.parametrize("streams", [False, True])
async def test_the_tokens_of_an_empty_answer_are_estimated_too(hosted, ledger, settings, streams):
    hosted.steps = [{"status": "succeeded", "output": []}]
    if streams:
        _, error, rows = await stream(settings, ledger)
    else:
        error, rows = await ask(MODEL, ledger, settings)
    assert "empty answer" in str(error)
    assert {(row.usage_source, row.response_model) for row in rows} == {
        ("estimated", MODEL.removeprefix("replicate:"))
    }


async def test_an_answer_that_met_either_name_of_max_tokens_is_truncated(hosted, ledger, settings):
    detail = "- input.max_tokens: Additional property max_tokens is not allowed"
    hosted.refusals = [(422, {"title": "Input validation failed", "detail": detail})]
    counts = {"input_token_count": 31, "output_token_count": 5}
    hosted.steps = [{"status": "succeeded", "output": "Hello.", "metrics": counts}]
    _, rows = await ask("replicate:meta/third", ledger, settings, max_tokens=5)
    assert rows[-1].truncated


async def test_a_model_that_does_not_stream_gives_its_answer_at_its_end(hosted, ledger, settings):
    hosted.steps = [{"status": "starting"}, *hosted.steps]
    chunks, error, (row,) = await stream(settings, ledger)
    assert (error, "".join(chunks), row.status) == (None, "Hello.", "ok")


@pytest.mark.parametrize(
    "events",
    [
        b'event: output\ndata: Hel\n\nevent: error\ndata: {"detail": "CUDA error"}\n\n',
        b'event: output\ndata: Hel\n\nevent: done\ndata: {"reason": "error"}\n\n',
        b"event: output\ndata: Hel\n\n",
    ],
)
async def test_a_stream_that_breaks_off_is_broken_and_may_be_paid(hosted, ledger, settings, events):
    hosted.steps = [{"status": "processing"}]
    hosted.events = events
    chunks, error, rows = await stream(settings, ledger)
    assert chunks == ["Hel"]
    assert error is not None
    assert (rows[0].status, rows[0].cost_nanousd) == ("broken", None)


async def test_tools_schemas_and_pictures_are_refused_before_anything_is_sent(hosted, settings):
    chain = Models(settings).chat(ModelRequest(role="executor", model=(MODEL,)), Context())
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    picture = {"type": "image", "url": "https://example.com/x.png"}
    asked = (
        (chain.bind_tools([tool]), "Hi", "has no tools"),
        (chain.with_structured_output(Verdict), "Hi", "has no typed answers"),
        (chain, [("human", [picture])], "takes no pictures: name one that does"),
    )
    for model, question, says in asked:
        with pytest.raises((AllModelsFailed, CallerError), match=says):
            await model.ainvoke(question)
    assert hosted.requests == []


async def test_the_next_candidate_gives_the_typed_answer(hosted, server, ledger, settings):
    verdict = {"passed": True, "score": 0.9, "feedback": "fine"}
    server.answers = [
        {
            **ANSWER,
            "choices": [{**ANSWER["choices"][0], "message": {"content": json.dumps(verdict)}}],
        }
    ]
    both = settings.model_copy(update={"local_base_url": server.url})
    asked = ModelRequest(role="validator", model=(MODEL, "local:any-name"))
    chain = Models(both).chat(asked, Context()).with_structured_output(Verdict)
    run_id = ledger.start_run(Run(workflow="question"))
    answer = await chain.ainvoke("Hi", {"callbacks": [CostHandler(ledger, run_id=run_id)]})
    assert answer.passed
    assert [row.provider for row in ledger.calls(run_id)] == ["local"]
    assert hosted.requests == []


@pytest.mark.parametrize(
    ("status", "body", "kind", "says"),
    [
        (401, {"title": "Unauthenticated", "detail": "no token"}, "KeyRejected", "REPLICATE_API_T"),
        (402, {"title": "Insufficient credit", "detail": "buy"}, "OutOfCredit", "no credit"),
        (404, {"detail": "The requested resource could not be found."}, "ModelGone", "not to be"),
        (422, {"title": "Input validation failed", "detail": "no"}, "NotThisModel", "answered 422"),
        (500, {"detail": "oops"}, "Transient", "answered 500"),
    ],
)
async def test_refusals_are_our_errors(hosted, ledger, settings, status, body, kind, says):  # noqa: PLR0917 - a table
    hosted.refusals = [(status, body)] * 3
    answer, rows = await ask(MODEL, ledger, settings)
    assert says in str(answer)
    assert KEY not in str(answer)
    assert {row.error_type for row in rows} == {kind}
    assert {row.cost_nanousd for row in rows} == {0}
    assert isinstance(answer, AllModelsFailed)


async def test_a_parameter_that_a_model_does_not_take_is_left_out(hosted, ledger, settings):
    detail = "- input.max_new_tokens: Additional property max_new_tokens is not allowed"
    hosted.refusals = [(422, {"title": "Input validation failed", "detail": detail})]
    answer, _ = await ask("replicate:meta/other", ledger, settings)
    assert answer == "Hello."
    assert "max_new_tokens" in hosted.sent(0)
    assert "max_new_tokens" not in hosted.sent(1)
    assert "max_tokens" in hosted.sent(1)


async def test_a_failed_prediction_may_be_paid(hosted, ledger, settings):
    hosted.steps = [{"status": "failed", "error": "CUDA out of memory"}]
    answer, rows = await ask(MODEL, ledger, settings)
    assert "CUDA out of memory" in str(answer)
    assert {row.cost_nanousd for row in rows} == {None}


@pytest.mark.parametrize("status", [502, 404])
async def test_a_read_that_fails_does_not_lose_a_prediction(hosted, ledger, settings, status):
    hosted.steps = [{"status": "processing"}, *hosted.steps]
    hosted.unreadable = 2
    answer, (row,) = await ask(MODEL, ledger, settings)
    assert (answer, row.status) == ("Hello.", "ok")
    hosted.steps = [{"status": "processing"}]
    hosted.unreadable, hosted.fault = 99, status
    answer, rows = await ask(MODEL, ledger, settings)
    assert isinstance(answer, AllModelsFailed)
    assert {row.cost_nanousd for row in rows} == {None}
    assert hosted.cancelled.is_set()


async def test_a_cancelled_call_cancels_its_prediction(hosted, ledger, settings, until):
    hosted.steps = [{"status": "processing"}]
    asking = asyncio.create_task(ask(MODEL, ledger, settings))
    await until(lambda: len(hosted.requests) > 1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert hosted.cancelled.is_set()
    assert "POST /v1/predictions/p1/cancel" in hosted.paths()


async def test_the_key_goes_to_no_address_that_an_answer_names(hosted, ledger, settings):
    other = Predictions()
    other.server_close()
    hosted.elsewhere = other.url
    hosted.steps = [{"status": "processing"}, *hosted.steps]
    answer, _ = await ask(MODEL, ledger, settings)
    assert answer == "Hello."
    assert hosted.paths()[1:] == ["GET /v1/predictions/p1"]
    hosted.events = b"event: output\ndata: never\n\nevent: done\ndata: {}\n\n"
    hosted.steps = [{"status": "processing"}, {"status": "succeeded", "output": "Hello."}]
    chunks, error, _ = await stream(settings, ledger)
    assert (error, "".join(chunks)) == (None, "Hello.")


@pytest.mark.parametrize(
    ("address", "is_sent"),
    [
        ("https://api.replicate.com/v1/x", True),
        ("https://stream.replicate.com/x", True),
        ("https://evilreplicate.com/x", False),
        ("https://stream.replicate.com.evil.example/x", False),
        ("https://stream.replicate.com@evil.example/x", False),
        ("http://stream.replicate.com/x", False),
        ("http://api.replicate.com/x", False),
        ("/x", False),
        ("", False),
    ],
)
def test_a_stream_is_read_from_replicate_alone(address, is_sent):
    settings = Settings(replicate_api_token=KEY)
    chain = Models(settings).chat(ModelRequest(role="executor", model=(MODEL,)), Context())
    assert chain.runnable._is_here(URL(address)) is is_sent


@pytest.mark.parametrize("ending", ["/", "/v1", "/v1/"])
async def test_the_address_is_taken_with_and_without_the_version(hosted, ledger, ending):
    settings = Settings(replicate_api_key=KEY, replicate_base_url=hosted.url + ending)
    answer, _ = await ask(f"{MODEL}:abc123", ledger, settings)
    assert answer == "Hello."
    assert hosted.paths() == ["POST /v1/predictions"]
    assert json.loads(hosted.requests[0][2])["version"] == "abc123"


def test_synchronous_code_asks_too(hosted, settings):
    chain = Models(settings).chat(ModelRequest(role="executor", model=(MODEL,)), Context())
    assert chain.invoke("Hello?").text == "Hello."
