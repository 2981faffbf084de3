"""Runs as the ledger keeps them, and their pages as files."""

from __future__ import annotations

import datetime as dt
import html.parser
import json

import pytest

from aideon_agents import creative, executor, iterative, parallel, planner, run, sequential
from aideon_agents import validator as judge
from aideon_agents.drawing.figures import figures
from aideon_agents.drawing.notes import annotated
from aideon_agents.drawing.page.document import page
from aideon_agents.drawing.page.record import recorded
from aideon_agents.graphs.topology import model, topology_in
from aideon_agents.ledger.costs import traces
from aideon_agents.ledger.identity import utc_text
from aideon_agents.ledger.pricing import Usage
from aideon_agents.ledger.rows import Call, CallEnd, Run
from aideon_agents.ledger.store import Ledger
from aideon_agents.settings import Settings
from aideon_agents.testing import Fault, SimulatedProvider

HOSTILE = '</script><img src=x onerror="fetch(1)"><b>&amp; \u2028 "quoted"'
BEGAN = dt.datetime(2026, 5, 4, 12, 0, tzinfo=dt.UTC)


def brief(*more):
    """A workflow with every kind of place: a fallback, branches, a chain in one, a loop."""

    def tidy(state):
        return "tidied"

    return sequential(
        planner("plan"),
        parallel(
            executor("facts"),
            executor("risks", model=("together:broken", "together:openai/gpt-oss-120b")),
            sequential(creative("angle"), creative("title"), name="story"),
            name="gather",
        ),
        tidy,
        iterative(creative("draft"), judge("check", criteria="short"), max_rounds=3, name="polish"),
        *more,
        name="campaign",
    )


class Scripted:
    """Runs written by hand, so that every figure on their page is known."""

    def __init__(self, ledger):
        self.ledger = ledger
        self._calls = 0

    def run(self, *calls, graph=None, status="completed", workflow="by hand", error=None, **kept):
        """A run of some calls; returns its id."""
        start = Run(workflow=workflow, user="ada", graph=model(graph) if graph else None)
        self.ledger.start_run(start)
        run_row = self.ledger.find_run(start.run_id)
        began = dt.datetime.fromisoformat(run_row.started_at)
        for call in calls:
            self.call(start.run_id, began, **call)
        if status != "running":
            self.ledger.finish_run(start.run_id, status, error=error, **kept)
        return start.run_id

    def call(self, run_id, began, *, path="draft", at=0, took=1000, nano=1_000_000, **more):
        """One call, at so many milliseconds; `took` None: nothing was heard of its end."""
        self._calls += 1
        call_id = f"{run_id}-{self._calls}"
        self.ledger.start_call(
            Call(
                call_id=call_id,
                run_id=run_id,
                node_path=path,
                role=more.get("role", "creative"),
                provider="together",
                requested_model=more.get("model", "some-model"),
                started_at=utc_text(began + dt.timedelta(milliseconds=at)),
                round=more.get("round", 1),
                candidate=more.get("candidate", 0),
                attempt=more.get("attempt", 1),
            ),
            prompt=more.get("prompt"),
        )
        if took is None:
            return
        failed = "error" in more
        self.ledger.finish_call(
            call_id,
            CallEnd(
                status=more.get("status", "error" if failed else "ok"),
                duration_ms=took,
                response_model=None if failed else more.get("model", "some-model"),
                error_type="Transient" if failed else None,
                error=more.get("error"),
                usage=None if failed else Usage(input_tokens=900, output_tokens=300),
                usage_source="none" if failed else "reported",
                cost_nanousd=nano,
                price_source="genai-prices 0.2.3",
                time_to_first_token_ms=more.get("first"),
            ),
        )
        if "answer" in more:
            self.ledger.record_answer(call_id, more["answer"])


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


@pytest.fixture
def scripted(ledger):
    return Scripted(ledger)


@pytest.fixture(scope="session")
def told(tmp_path_factory):
    """A ledger with two runs of the brief: one that failed, and one that kept what was said."""
    folder = tmp_path_factory.mktemp("told")
    with SimulatedProvider(faults={"broken": Fault(500)}) as provider:
        settings = Settings(
            TOGETHER_API_KEY="key",
            TOGETHER_BASE_URL=provider.base_url,
            AIDEON_LEDGER=f"sqlite:///{folder}/ledger.db",
            AIDEON_USER="ada",
        )

        def boom(state):
            raise ValueError(f"refused {HOSTILE}")

        for graph, keeps in ((brief(boom), False), (brief(), True)):
            run(graph, f"Write. {HOSTILE}", settings=settings, record_content=keeps)
    with Ledger(folder / "ledger.db") as opened:
        yield opened


def page_of(ledger, ref="last", **more):
    """A run's page."""
    found = ledger.find_run(ref)
    topology = topology_in(found.graph)
    if topology is None:
        return page(None, recorded(ledger, found), lambda _: None, **more)
    spent = figures(traces(ledger, [found.run_id]), topology)
    record = recorded(ledger, found)

    def annotate(drawn):
        return annotated(spent, topology, drawn, tools=record.tools_called)

    return page(topology, record, annotate, **more)


@pytest.fixture
def saved(tmp_path):
    """Saves a run's page and gives its address."""

    def save(ledger, ref="last", **more):
        file = tmp_path / "page.html"
        file.write_text(page_of(ledger, ref, **more), encoding="utf-8")
        return file.as_uri()

    return save


@pytest.fixture(scope="session")
def completed(told, tmp_path_factory):
    """The page of the run that completed."""
    file = tmp_path_factory.mktemp("page") / "completed.html"
    file.write_text(page_of(told), encoding="utf-8")
    return file.as_uri()


@pytest.fixture
def failed(told, saved):
    """The page of the run that failed."""
    return saved(told, told.runs(2)[1].run_id)


class Elements(html.parser.HTMLParser):
    """The elements of a page as a browser's parser would find them, and the scripts' texts."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.scripts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] == "script" and self.get_starttag_text():
            self.scripts.append((self.tags[-1][1].get("id"), data))

    @property
    def data(self):
        return json.loads("".join(text for name, text in self.scripts if name == "data"))


@pytest.fixture
def elements():
    return Elements


@pytest.fixture
def pages():
    """Makes pages as text."""
    return page_of


@pytest.fixture
def hostile():
    return HOSTILE


@pytest.fixture
def a_graph():
    return brief
