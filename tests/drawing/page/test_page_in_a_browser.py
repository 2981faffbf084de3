"""A run's page in a real Chromium: what a reader clicks, types, sees and hears."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

import pytest

from aideon_agents import arun, executor, sequential
from aideon_agents.drawing.page.document import page as page_of_graph
from aideon_agents.graphs.topology import read
from aideon_agents.ledger.costs import run_cost
from aideon_agents.settings import Settings
from aideon_agents.testing import SimulatedProvider

SERIOUS = {"serious", "critical"}


@pytest.fixture
async def opened(new_page, completed):
    return await new_page(completed)


async def in_view(page):
    """What part of the graph is seen: its left, its top and its scale."""
    x, y, scale = await page.evaluate(
        "(m => [-m.e / m.a, -m.f / m.a, m.a])"
        "(new DOMMatrix(getComputedStyle(document.querySelector('#plane')).transform))"
    )
    return round(x, 3), round(y, 3), round(scale, 5)


async def painted(page):
    """What is drawn once a frame stands there."""
    await page.evaluate("new Promise(d => requestAnimationFrame(() => requestAnimationFrame(d)))")


async def unfold(attempt):
    """Open an attempt; a browser tells of it a little later."""
    await attempt.locator("summary").click()
    await attempt.locator("dl").wait_for()


def node(page, path):
    return page.locator(f'.node[data-path="{path}"]')


async def test_it_asks_nobody_and_complains_of_nothing(new_page, completed, failed):
    for address in (completed, failed):
        page = await new_page(address)
        await page.get_by_role("tab", name="Costs").click()
        await node(page, "plan").click()
        await painted(page)
        assert page.requests == [address]
        assert page.complaints == []


async def test_no_request_can_be_made_from_it(opened):
    with SimulatedProvider() as anybody:
        address = f"'{anybody.base_url}/models'"
        fetched = f"fetch({address}, {{mode: 'no-cors'}}).then(() => true, () => false)"
        shown = (
            "new Promise(done => { const i = new Image(); i.onload = () => done(true);"
            f" i.onerror = () => done(false); i.src = {address}; }})"
        )
        for attempt in (fetched, shown):
            assert await opened.evaluate(attempt) is False
        assert not anybody.requests
    assert sum("Content Security Policy" in said for said in opened.complaints) >= 2


async def test_the_head_says_how_it_went(opened, failed, new_page):
    assert await opened.locator("h1").inner_text() == "campaign"
    assert await opened.locator("#status").inner_text() == "completed"
    figures = await opened.locator("#figures").inner_text()
    assert "$0.000" in figures
    assert "failed" in figures
    page = await new_page(failed)
    assert await page.locator("#status").inner_text() == "failed"
    assert "</script><img" in await page.locator("#trouble").inner_text()


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1440), ("dark", 1440), ("light", 380), ("dark", 380)]
)
async def test_everybody_can_use_it(new_page, completed, axe, scheme, width):
    page = await new_page(completed, scheme=scheme, width=width, bypass_csp=True)
    await page.evaluate(axe)
    for step in ("timeline", "costs", "details"):
        if step == "costs":
            await page.get_by_role("tab", name="Costs").click()
        elif step == "details":
            await node(page, "gather/risks").focus()
            await page.keyboard.press("Enter")
            await unfold(page.locator("#details .attempt").last)
        found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        serious = [
            (one["id"], [part["html"][:160] for part in one["nodes"]][:3])
            for one in found["violations"]
            if one["impact"] in SERIOUS
        ]
        assert serious == [], step


async def test_nothing_is_cut_off_on_a_phone(new_page, completed):
    page = await new_page(completed, width=380, height=800)
    wide = "document.documentElement.scrollWidth"
    assert await page.evaluate(wide) <= 380
    await page.get_by_role("tab", name="Costs").click()
    assert await page.evaluate(wide) <= 380
    await node(page, "plan").focus()
    await page.keyboard.press("Enter")
    box = await page.locator("#details").bounding_box()
    assert (box["x"], box["width"]) == (0, 380)
    assert await page.evaluate("document.querySelector('#details').scrollWidth") <= 380


async def test_a_click_on_a_node_shows_every_attempt(opened):
    await node(opened, "gather/risks").click()
    details = opened.locator("#details")
    assert await details.locator("h2").inner_text() == "risks"
    attempts = details.locator("details.attempt")
    first, last = attempts.first, attempts.last
    assert "failed" in await first.inner_text()
    assert "fallback 1" in await last.inner_text()
    await unfold(first)
    said = await first.inner_text()
    assert "500" in said
    assert "together:broken" in said
    await unfold(last)
    said = await last.inner_text()
    for fact in ("Price", "reported by the provider", "Input tokens", "Took"):
        assert fact in said


async def test_prompts_and_answers_are_shown_as_text(opened, hostile):
    await node(opened, "plan").click()
    await unfold(opened.locator("#details .attempt").first)
    figures = opened.locator("#details .attempt figure")
    heard = await figures.all_inner_texts()
    assert any("</script><img" in text for text in heard)
    assert await opened.locator("#details img, #details b").count() == 0
    assert heard[-1].startswith("assistant")


async def test_where_nothing_was_kept_it_says_how_to_keep_it(new_page, failed):
    page = await new_page(failed)
    await node(page, "plan").click()
    await unfold(page.locator("#details .attempt").first)
    assert "--record-content" in await page.locator("#details").inner_text()
    assert await page.locator("#details pre").count() == 0


async def test_the_keyboard_goes_through_nodes_and_opens_one(opened):
    await opened.locator("#stage").focus()
    await opened.keyboard.press("Tab")
    seen = []
    while "plan" not in seen:
        seen.append(await opened.evaluate("document.activeElement.dataset.path"))
        await opened.keyboard.press("Tab")
    await opened.keyboard.press("Shift+Tab")
    await opened.keyboard.press("Enter")
    assert await opened.evaluate("document.activeElement.textContent") == "plan"
    await opened.keyboard.press("Escape")
    assert await opened.locator("#details").is_hidden()
    assert await opened.evaluate("document.activeElement.dataset.path") == "plan"


async def test_wheel_buttons_and_keys_zoom_and_0_shows_all(opened):
    stage = opened.locator("#stage")
    whole = await in_view(opened)

    async def scale():
        await painted(opened)
        return (await in_view(opened))[2]

    await stage.hover()
    await opened.mouse.wheel(0, -300)
    wheeled = await scale()
    assert wheeled > whole[2]
    await opened.get_by_role("button", name="Zoom in").click()
    pressed = await scale()
    assert pressed > wheeled
    await stage.focus()
    await opened.keyboard.press("-")
    assert await scale() < pressed
    await opened.keyboard.press("0")
    await painted(opened)
    assert await in_view(opened) == whole


async def test_dragging_and_arrows_move_it_and_open_nothing(opened):
    box = await node(opened, "plan").bounding_box()
    before = await in_view(opened)
    await opened.mouse.move(box["x"] + 20, box["y"] + 20)
    await opened.mouse.down()
    await opened.mouse.move(box["x"] - 80, box["y"] + 60, steps=5)
    await opened.mouse.up()
    await painted(opened)
    after = await in_view(opened)
    assert after[0] > before[0]
    assert after[1] < before[1]
    assert await opened.locator("#details").is_hidden()
    await opened.locator("#stage").focus()
    await opened.keyboard.press("ArrowRight")
    await painted(opened)
    assert (await in_view(opened))[0] > after[0]


async def test_what_has_the_focus_comes_into_sight(new_page, completed):
    page = await new_page(completed, width=380, height=800)
    stage = await page.locator("#stage").bounding_box()
    await page.locator("#stage").focus()
    for _ in range(12):
        await page.keyboard.press("Tab")
        await painted(page)
        box = await page.evaluate(
            "(b => [b.left, b.right])(document.activeElement.getBoundingClientRect())"
        )
        if await page.evaluate("document.activeElement.matches('#stage *')"):
            assert stage["x"] - 1 <= box[0]
            assert box[1] <= stage["x"] + stage["width"] + 1
    assert await page.evaluate("document.querySelector('#stage').scrollLeft") == 0


async def test_groups_fold_and_open_with_a_click_and_with_the_keyboard(opened):
    await opened.get_by_role("button", name="Fold gather").click()
    assert await node(opened, "gather/facts").count() == 0
    assert await opened.locator('.node.graph[data-path="gather"]').count() == 1
    assert await opened.locator('.frame[data-path="polish"]').count() == 1
    focused = await opened.evaluate("document.activeElement.getAttribute('aria-label')")
    assert focused == "Open gather"
    await opened.keyboard.press("Enter")
    assert await node(opened, "gather/facts").count() == 1
    await opened.get_by_role("button", name="Fold all groups").click()
    assert await opened.locator(".frame").count() == 0
    await opened.get_by_role("button", name="Open all groups").click()
    assert await opened.locator(".frame").count() == 3


async def test_of_many_groups_a_whole_level_folds_at_once(new_page, graphs, tmp_path):
    groups = {f"g{number}": graphs.chain(f"g{number}", a="creative") for number in range(9)}
    file = tmp_path / "many.html"
    whole = read(graphs.chain("many", **groups, deep=graphs.brief()))
    file.write_text(page_of_graph(whole, None, lambda _: None), encoding="utf-8")
    page = await new_page(file.as_uri())
    count = await page.locator(".frame").count()
    await page.locator('.fold[data-of="deep|polish"]').press("Enter")
    assert await page.locator('.node.graph[data-id="deep|polish"]').count() == 1
    assert 0 < await page.locator(".frame").count() < count
    await page.locator('.fold[data-of="g1"]').press("Enter")
    assert await page.locator(".frame").count() == 0
    await page.locator('.fold[data-of="g1"]').press("Enter")
    assert await page.locator('.frame[data-id="g1"]').count() == 1


async def test_the_titles_of_groups_open_what_is_in_them(opened):
    await opened.locator('.frame[data-path="gather"] .title').click()
    details = opened.locator("#details")
    assert await details.locator(".inside li").count() == 3
    await details.get_by_role("button", name="story").click()
    assert await details.locator("h2").inner_text() == "story"


async def test_the_start_and_the_end_tell_of_the_run(opened):
    await opened.locator(".node.start").click()
    assert "ada" in await opened.locator("#details").inner_text()
    await opened.locator(".node.end").click()
    said = await opened.locator("#details").inner_text()
    assert "completed" in said
    assert "output" in said


async def test_a_node_that_called_no_model_says_so(opened):
    await node(opened, "tidy").click()
    assert "called no model" in await opened.locator("#details").inner_text()


async def test_the_theme_follows_the_system_until_a_reader_chooses(
    new_page, completed, told, saved
):
    page = await new_page(completed, scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    box = "getComputedStyle(document.querySelector('.node.planner .box')).fill"
    dark = await page.evaluate(ground), await page.evaluate(box)
    await page.locator("#theme").click()
    light = await page.evaluate(ground), await page.evaluate(box)
    assert dark[0] != light[0]
    assert (dark[1], light[1]) == ("rgb(22, 28, 36)", "rgb(255, 255, 255)")
    chosen = await new_page(saved(told, theme="light"), scheme="dark")
    assert await chosen.evaluate(ground) == light[0]


async def test_costs_sort_by_click_and_by_keyboard(opened):
    await opened.get_by_role("tab", name="Timeline").focus()
    await opened.keyboard.press("ArrowRight")
    table = opened.locator("#costs table")

    async def column(number):
        cells = await table.locator(f"tbody tr > *:nth-child({number})").all_inner_texts()
        return [cell.strip() for cell in cells]

    costs = await column(2)
    assert costs == sorted(costs, reverse=True)
    head = table.get_by_role("columnheader", name="Cost")
    assert await head.get_attribute("aria-sort") == "descending"
    await head.get_by_role("button").click()
    assert await head.get_attribute("aria-sort") == "ascending"
    assert await column(2) == sorted(costs)
    await table.get_by_role("button", name="Node").focus()
    await opened.keyboard.press("Enter")
    names = await column(1)
    assert names == sorted(names)
    assert await head.get_attribute("aria-sort") == "none"
    await table.get_by_role("button", name="gather/risks").click()
    assert await opened.locator("#details h2").inner_text() == "risks"


async def test_a_cost_is_in_sight_in_a_narrow_window(new_page, completed):
    page = await new_page(completed, width=380, height=800)
    await page.get_by_role("tab", name="Costs").click()
    box = await page.locator("#costs tbody tr").first.locator("td").first.bounding_box()
    assert box["x"] + box["width"] <= 380


async def test_calls_of_tools_are_in_the_graph_the_timeline_and_the_details(
    new_page, ledger, saved
):
    def look_up(topic: str) -> str:
        """Look a topic up."""
        return f"All about {topic}"

    graph = sequential(executor("facts", tools=[look_up]), name="with tools")
    with SimulatedProvider() as provider:
        given = Settings(together_api_key="key", together_base_url=provider.base_url, user="ada")
        done = await arun(graph, "Heat pumps.", settings=given, ledger=ledger, record_content=True)
    done.raise_for_status()
    page = await new_page(saved(ledger))
    assert "look_up x1" in await page.locator('#plane [data-path="facts"]').text_content()
    await page.get_by_role("button", name="All calls").click()
    assert "tool look_up" in await page.locator("#grid").inner_text()
    await page.locator('#plane [data-path="facts"]').click()
    details = page.locator("#details .body")
    assert "Tool calls (1)" in await details.inner_text()
    await details.locator("summary", has_text="look_up").click()
    assert "All about" in await details.inner_text()


async def test_a_function_says_that_it_called_no_model_and_where_its_result_would_be(opened):
    await opened.locator('#plane [data-path="tidy"]').click()
    shown = await opened.locator("#details .body").inner_text()
    assert "It called no model in this run." in shown
    assert "function" in shown
    assert "--record-content" in shown or "tidied" in shown


async def test_costs_are_copied_as_csv_with_exact_amounts(new_page, completed, told):
    page = await new_page(completed, permissions=["clipboard-read", "clipboard-write"])
    await page.get_by_role("tab", name="Costs").click()
    await page.get_by_role("button", name="Copy as CSV").click()
    await page.get_by_text("Copied", exact=True).wait_for()
    copied = await page.evaluate("navigator.clipboard.readText()")
    rows = list(csv.DictReader(io.StringIO(copied)))
    known = {path: one.usd for path, one in run_cost(told, "last").by_node.items()}
    assert {row["node_path"]: Decimal(row["usd"]) for row in rows} == known


async def test_a_name_that_a_spreadsheet_would_run_is_copied_as_text(
    new_page, scripted, ledger, saved
):
    scripted.run({"path": "=1+1"}, {"path": 'a "b", c'})
    page = await new_page(saved(ledger), permissions=["clipboard-read", "clipboard-write"])
    await page.get_by_role("tab", name="Costs").click()
    await page.get_by_role("button", name="Copy as CSV").click()
    await page.get_by_text("Copied", exact=True).wait_for()
    copied = await page.evaluate("navigator.clipboard.readText()")
    names = {row["node_path"] for row in csv.DictReader(io.StringIO(copied))}
    assert names == {"'=1+1", 'a "b", c'}


async def test_what_is_unknown_is_no_zero_and_what_is_tiny_neither(
    new_page, scripted, ledger, saved
):
    scripted.run({"path": "lost", "nano": None}, {"path": "tiny", "nano": 40})
    page = await new_page(saved(ledger))
    shown = dict.fromkeys(("lost", "tiny"))
    await page.get_by_role("tab", name="Costs").click()
    for name in shown:
        cells = page.locator("#costs tbody tr", has_text=name).locator("td")
        shown[name] = (await cells.all_inner_texts())[:2]
    assert shown == {"lost": ["?", ""], "tiny": ["$0.00000004", "100 %"]}
    assert ">= $0.00000004" in await page.locator("#figures").inner_text()
