"""The pages in a real Chromium: what a person sees, types and hears."""

from __future__ import annotations

import asyncio
import re
import threading

import httpx2
import pytest

from aideon_agents import creative, sequential
from aideon_agents.access import sessions, users
from aideon_agents.access.audit import By
from aideon_agents.dashboard.app import mount
from aideon_agents.dashboard.pages import NAVIGATION

SERIOUS = {"serious", "critical"}
PAGES = [at for _, at, _ in NAVIGATION]
RUN = {"workflow": "two", "task": "Heat pumps. They move heat."}


@pytest.fixture
async def address(serve, make_service):
    """The pages, with a run that has ended and one that waits."""
    found = serve(make_service(), pages=mount)
    async with httpx2.AsyncClient(base_url=found, headers={"Prefer": "wait=60"}) as client:
        for body in (RUN, {**RUN, "workflow": "asks"}):
            answer = await client.post("/api/v1/runs", json=body)
            assert answer.status_code == 200, answer.text
    return found


@pytest.fixture
def new_page(new_page):
    """Opens pages that have a minute for whatever they do: the machine may be busy."""

    async def opened(address, **more):
        page = await new_page(address, **more)
        page.set_default_timeout(60_000)
        return page

    return opened


async def run_pages(page, address):
    """The addresses of the pages of the runs."""
    await page.goto(f"{address}/ui/runs")
    links = await page.locator("tbody th a").evaluate_all("all => all.map(one => one.href)")
    assert len(links) == 2
    return links


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 380), ("dark", 380)]
)
async def test_everybody_can_use_the_pages(new_page, address, axe, scheme, width):
    page = await new_page(f"{address}/ui/", scheme=scheme, width=width, bypass_csp=True)
    places = [f"{address}/ui/{at}" for at in PAGES] + await run_pages(page, address)
    for place in places:
        await page.goto(place)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, place
        await page.evaluate(axe)
        found = await page.evaluate(
            "axe.run(document, {resultTypes: ['violations'], iframes: false})"
        )
        serious = [
            (one["id"], [part["html"][:160] for part in one["nodes"]][:3])
            for one in found["violations"]
            if one["impact"] in SERIOUS
        ]
        assert serious == [], place


async def test_they_ask_nobody_else_and_complain_of_nothing(new_page, address):
    page = await new_page(f"{address}/ui/")
    for place in [f"{address}/ui/{at}" for at in PAGES] + await run_pages(page, address):
        await page.goto(place)
    assert {one[: len(address)] for one in page.requests} == {address}
    assert page.complaints == []


async def test_a_run_is_asked_for_with_the_keyboard_alone(new_page, address):
    page = await new_page(f"{address}/ui/ask?workflow=one")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Skip to content"
    await page.keyboard.press("Enter")
    assert await page.evaluate("document.activeElement.id") == "main"
    while await page.evaluate("document.activeElement.name") != "task":
        await page.keyboard.press("Tab")
    await page.keyboard.type("Heat pumps in old houses.")
    while await page.evaluate("document.activeElement.value") != "run":
        await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.wait_for_url(re.compile(r"/ui/runs/\w{26}"), timeout=60_000)
    await page.locator("pre.output").wait_for(timeout=60_000)
    assert await page.locator("pre.output").inner_text() == "Heat pumps in old houses."


async def test_a_page_follows_its_run_without_being_loaded_again(new_page, serve, make_service):
    service = make_service()
    held, entered = asyncio.Event(), threading.Event()
    loops = []

    async def hold(state):
        loops.append(asyncio.get_running_loop())
        entered.set()
        await held.wait()
        return {}

    (workflow,) = [one for one in service.workflows._known.values() if one.name == "one"]
    graph = sequential(hold, creative("draft"))
    object.__setattr__(workflow.target, "graph", graph)
    address = serve(service, pages=mount)
    async with httpx2.AsyncClient(base_url=address) as client:
        started = await client.post("/api/v1/runs", json={**RUN, "workflow": "one"})
    page = await new_page(f"{address}{started.headers['location'].replace('/api/v1', '/ui')}")
    await page.evaluate("window.isTheSame = true")
    assert await page.locator(".badge.busy").first.inner_text() == "running"
    assert await asyncio.to_thread(entered.wait, 60)
    loops[0].call_soon_threadsafe(held.set)
    await page.locator("pre.output").wait_for(timeout=60_000)
    assert await page.locator(".badge.good").first.inner_text() == "completed"
    assert await page.evaluate("window.isTheSame") is True


async def test_a_person_signs_in_by_a_link_and_out_again(new_page, serve, make_service, ledger):
    users.add(ledger, "ada", By("tests"), tier="premium")
    token = sessions.make_link(ledger, "ada", By("tests"))
    address = serve(make_service(), pages=mount).replace("127.0.0.1", "localhost")
    page = await new_page(f"{address}/ui/")
    assert page.url.startswith(f"{address}/sign-in?next=/ui/")
    await page.goto("about:blank")
    await page.goto(f"{address}/sign-in?next=/ui/#{token}")
    await page.wait_for_url(f"{address}/ui/runs", timeout=60_000)
    assert "ada" in await page.locator(".who").inner_text()
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url(re.compile(r"/sign-in"), timeout=60_000)


async def test_a_run_is_asked_for_and_approved_without_javascript(new_page, address):
    page = await new_page(f"{address}/ui/ask?workflow=asks", java_script_enabled=False)
    await page.get_by_label("Task").fill("Heat pumps in old houses.")
    await page.get_by_role("button", name="Run").click()
    approve = page.get_by_role("button", name="Approve")
    await approve.wait_for(timeout=60_000)  # the page loads itself again every three seconds
    await approve.click()
    await page.locator("pre.output").wait_for(timeout=60_000)
    await page.locator(".badge.good").first.wait_for(timeout=60_000)
    await page.locator("img.graph").wait_for(timeout=60_000)
    assert not await page.locator("iframe").is_visible()


async def test_a_waiting_run_is_approved_with_the_keyboard_alone(new_page, address):
    page = await new_page(f"{address}/ui/approvals")

    async def tab_to(expression):
        for _ in range(60):
            await page.keyboard.press("Tab")
            if await page.evaluate(f"document.activeElement.{expression}"):
                return
        pytest.fail(f"nothing with {expression} has the focus at any time")

    await tab_to("name === 'run'")
    if not await page.evaluate("document.activeElement.checked"):  # the only one is ticked
        await page.keyboard.press("Space")
    await tab_to("value === 'approve'")
    await page.keyboard.press("Enter")
    done = page.locator(".done")
    await done.wait_for(timeout=60_000)
    assert "The answers were given" in await done.inner_text()
