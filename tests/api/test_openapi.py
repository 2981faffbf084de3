"""The OpenAPI document is whole: what it allows works, and what it does not is refused as it says."""

from __future__ import annotations

import re
import socket
import threading

import pytest
import schemathesis
import uvicorn
from hypothesis.internal.conjecture import utils
from schemathesis.engine import Status, events, from_schema

from aideon_agents.access import api_keys, users
from aideon_agents.access.audit import By
from aideon_agents.api.app import create_app
from aideon_agents.api.asking import Rates

UNSENT = re.compile("in header value|latin-1")
"""What schemathesis says where its own client does not send a head that it made."""
NO_HTTP = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""What no head may hold: the server answers 400 before the app sees the request."""


@pytest.fixture
def address(make_service):
    """The app behind a socket, in a thread of this process."""
    app = create_app(make_service())
    app.state.rates = Rates(failures=10**9, requests=10**9)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield f"http://127.0.0.1:{port}", app
        server.should_exit = True
        thread.join(60)


@pytest.fixture
def fuzzing(monkeypatch):
    """Lets hypothesis-jsonschema 0.23 draw objects with a Hypothesis that has no `many.more`."""

    def more(drawn):
        if drawn._depth is None:
            drawn.__enter__()
            drawn.elements = iter(drawn)
        return next(drawn.elements, False) is None

    if not hasattr(utils.many, "more"):
        monkeypatch.setattr(utils.many, "more", more, raising=False)


@pytest.fixture
def key(ledger):
    """An API key of a member."""
    users.add(ledger, "ada", By("test"))
    return api_keys.make(ledger, "ada", By("test"))[1]


def short(document):
    """The document with lists of at most 20 elements: the longest ones take minutes to make."""
    if isinstance(document, list):
        return [short(one) for one in document]
    if not isinstance(document, dict):
        return document
    shorter = {name: short(one) for name, one in document.items()}
    if isinstance(most := shorter.get("maxItems"), int):
        shorter["maxItems"] = min(most, 20)
    return shorter


def missing(event):
    """Whether a route is not there yet, and answers 501."""
    return event.recorder.label.endswith(("/me/context", "/me/interactions"))


@pytest.mark.timeout(1800)
def test_schemathesis_finds_nothing(address, key, fuzzing):
    url, app = address
    whole = app.openapi()
    mine = [path for path in whole["paths"] if path.startswith("/api/v1/")]
    ours = {path: whole["paths"][path] for path in mine if "/together/" not in path}
    schema = schemathesis.openapi.from_dict(short({**whole, "paths": ours}))
    schema.config.update(base_url=url, headers={"Authorization": f"Bearer {key}"})
    # A workflow needs inputs that the schema of its route does not know.
    schema.config.checks.update(excluded_check_names=["positive_data_acceptance"])
    schema.config.seed = 1
    schema.config.generation.update(
        max_examples=1,
        database="none",
        no_shrink=True,
        with_security_parameters=False,
    )
    schema.config.phases.update(phases=["fuzzing", "coverage"])
    found = []
    tried = set()
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            tried.add(event.recorder.label)
            for case_id, checks in event.recorder.checks.items():
                for check in checks:
                    is_as_said = check.name == "not_a_server_error" and missing(event)
                    case = event.recorder.cases[case_id].value
                    is_http = not any(NO_HTTP.search(str(one)) for one in case.headers.values())
                    if check.status == Status.FAILURE and not is_as_said and is_http:
                        found.append(
                            f"{event.recorder.label}: {check.failure_info.failure} {case.as_curl_command()}"
                        )
        if isinstance(event, events.NonFatalError) and not UNSENT.search(event.info.format()):
            found.append(event.info.format())
    assert found == []
    assert len(tried) >= sum(len(one) for one in ours.values())
