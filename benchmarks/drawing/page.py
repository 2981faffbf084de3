"""How long the page of a large run takes: to write, to open in Chromium, and to scroll.

The run has as many calls as are asked for, over eight nodes and ten rounds, with prompts and
answers recorded. Opening is from the navigation to the first row of the timeline that can be read;
scrolling goes through all calls, eight hundred pixels a frame.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sizes import timed

from aideon_agents import creative, executor, iterative, parallel, planner, sequential, validator
from aideon_agents.drawing.figures import figures
from aideon_agents.drawing.notes import annotated
from aideon_agents.drawing.page.document import page
from aideon_agents.drawing.page.record import recorded
from aideon_agents.graphs.topology import read
from aideon_agents.ledger.identity import utc_text
from aideon_agents.ledger.rows import Run
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import Generator

PATHS = {
    "plan": "planner",
    "gather/facts": "executor",
    "gather/risks": "executor",
    "gather/angle": "creative",
    "write": "creative",
    "polish/draft": "creative",
    "polish/check": "validator",
    "close": "creative",
}
OPENED = ".row[aria-rowindex='2']"
SCROLLED = """async () => {
  const grid = document.getElementById("grid"), frames = [];
  document.getElementById("calls-open").click();
  let last = performance.now();
  for (let frame = 0; frame < 200; frame += 1) {
    grid.scrollTop += 800;
    await new Promise(requestAnimationFrame);
    frames.push(performance.now() - last);
    last = performance.now();
  }
  frames.sort((a, b) => a - b);
  return [frames[100], frames[190], document.querySelectorAll("#grid .row").length];
}"""


def show_page(calls: int) -> None:
    """Print one line of figures."""
    with tempfile.TemporaryDirectory() as folder:
        with Ledger(Path(folder) / "ledger.db") as ledger:
            run_id = write(ledger, calls)
            html, seconds = timed(page_of, ledger, run_id)
        file = Path(folder) / "page.html"
        file.write_text(html, encoding="utf-8")
        size = len(html.encode()) / 1e6
        print(f"page   {calls:6,} calls  written in {seconds:.2f} s, {size:.1f} MB", end="")
        with chromium() as browser:
            if browser is None:
                print("; no Chromium to open it with")
                return
            opened = sorted(opening(browser, file) for _ in range(5))[2]
            middle, late, rows = scrolling(browser, file)
        print(
            f"; opens in {opened:.2f} s; a frame of scrolling takes {middle:.0f} ms, "
            f"{late:.0f} ms at the 95th percentile, with {rows} rows in the document"
        )


def page_of(ledger: Ledger, run_id: str) -> str:
    """What `aideon graph --run RUN -f html` writes."""
    topology = read(workflow())
    record = recorded(ledger, ledger.find_run(run_id))
    spent = figures([record.trace], topology)
    return page(topology, record, lambda drawn: annotated(spent, topology, drawn))


def workflow() -> Any:
    """The run's graph."""
    return sequential(
        planner("plan"),
        parallel(executor("facts"), executor("risks"), creative("angle"), name="gather"),
        creative("write"),
        iterative(creative("draft"), validator("check", criteria="short"), name="polish"),
        creative("close"),
        name="large",
    )


def write(ledger: Ledger, calls: int) -> str:
    """Write a run, in one transaction."""
    chance = random.Random(1)
    start = Run(workflow="large")
    ledger.start_run(start)
    began = datetime.now(UTC)
    paths = list(PATHS)
    with ledger.database.transaction() as tx:
        for number in range(calls):
            path = paths[(number * 8 // calls + chance.randrange(3)) % 8]
            failed = chance.random() < 0.02
            at = began + timedelta(milliseconds=number * 37 + chance.random() * 200)
            values = {
                "call_id": f"call-{number:08}",
                "run_id": start.run_id,
                "node_path": path,
                "role": PATHS[path],
                "round": 1 + number * 10 // calls,
                "provider": "together",
                "requested_model": "openai/gpt-oss-120b",
                "status": "error" if failed else "ok",
                "error": "the provider answered 503" if failed else None,
                "input_tokens": None if failed else 900,
                "output_tokens": None if failed else 300,
                "cost_nanousd": 0 if failed else 123_456 + number,
                "started_at": utc_text(at),
                "duration_ms": int(200 + chance.random() * 3000),
            }
            tx.write(CALL, values)
            said = {"call_id": values["call_id"], "prompt": PROMPT, "answer": ANSWER}
            tx.write(SAID, said)
    ledger.finish_run(start.run_id, "completed")
    return start.run_id


CALL = (
    "INSERT INTO calls (call_id, run_id, node_path, role, round, candidate, attempt, provider,"
    " requested_model, status, error, shortened, economized, input_tokens, output_tokens,"
    " usage_source, cost_nanousd, price_source, started_at, duration_ms, rehearsed)"
    " VALUES (:call_id, :run_id, :node_path, :role, :round, 0, 1, :provider, :requested_model,"
    " :status, :error, 0, 0, :input_tokens, :output_tokens, 'reported', :cost_nanousd,"
    " 'genai-prices', :started_at, :duration_ms, 0)"
)
SAID = "INSERT INTO contents (call_id, prompt, answer) VALUES (:call_id, :prompt, :answer)"
PROMPT = '[{"role": "user", "content": "' + "What is a heat pump good for? " * 20 + '"}]'
ANSWER = '{"role": "assistant", "content": "' + "It moves heat. " * 40 + '"}'


@contextlib.contextmanager
def chromium() -> Generator[Any]:
    """The system's Chromium; None: there is none."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - a developer's tool

    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        yield None
        return
    flags = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=flags)
        yield browser
        browser.close()


def opening(browser: Any, file: Path) -> float:
    """Seconds until the first row of the timeline stands there."""
    with browser.new_context(viewport={"width": 1440, "height": 900}) as context:
        shown = context.new_page()
        began = time.perf_counter()
        shown.goto(file.as_uri(), wait_until="commit")
        shown.locator(OPENED).wait_for()
        return time.perf_counter() - began


def scrolling(browser: Any, file: Path) -> tuple[float, float, int]:
    """Milliseconds of a frame, at the median and at the 95th percentile, and rows at the end."""
    with browser.new_context(viewport={"width": 1440, "height": 900}) as context:
        shown = context.new_page()
        shown.goto(file.as_uri())
        shown.locator(OPENED).wait_for()
        middle, late, rows = shown.evaluate(SCROLLED)
        return middle, late, rows
