"""The timeline of a run's page: what ran beside what, for how long, however much there is."""

from __future__ import annotations

from aideon_agents import creative, parallel, sequential


async def bars(page, path):
    """The left and right edge of a row's bars."""
    row = page.locator(f'#grid .row:has(> [title="{path}"]):not(.of-call)')
    boxes = [await one.bounding_box() for one in await row.locator(".track b").all()]
    return [(box["x"], box["x"] + box["width"]) for box in boxes]


async def test_branches_at_the_same_time_stand_side_by_side(new_page, scripted, ledger, saved):
    scripted.run(
        {"path": "plan", "at": 0, "took": 1000},
        {"path": "both/a", "at": 1000, "took": 2000},
        {"path": "both/b", "at": 1100, "took": 1000},
        {"path": "last", "at": 3000, "took": 1000},
    )
    page = await new_page(saved(ledger))
    ((_, plan),) = await bars(page, "plan")
    ((left, right),) = await bars(page, "both/a")
    ((inner, inner_end),) = await bars(page, "both/b")
    ((last, _),) = await bars(page, "last")
    assert plan <= left + 1 < inner < inner_end < right <= last + 1
    assert right - left == __import__("pytest").approx(2 * (inner_end - inner), rel=0.02)


async def test_branches_stand_in_declared_order_and_not_in_that_of_their_starts(
    new_page, scripted, ledger, saved
):
    inner = sequential(creative("y"), creative("b"), name="in")
    graph = sequential(parallel(creative("z"), inner, creative("a"), name="both"), name="all")
    scripted.run(
        {"path": "both/a", "at": 0},
        {"path": "both/in/y", "at": 100},
        {"path": "both/in/b", "at": 2000},
        {"path": "elsewhere", "at": 50},
        {"path": "both/z", "at": 200},
        graph=graph,
    )
    page = await new_page(saved(ledger))
    rows = page.locator(".rows .row:not(.of-call)")
    names = [(await row.inner_text()).split("\n")[0] for row in await rows.all()]
    assert names == ["both", "z", "in", "y", "b", "a", "elsewhere"]


async def test_a_retry_is_a_bar_of_its_own_and_a_failed_one_shows(
    new_page, scripted, ledger, saved
):
    scripted.run(
        {"at": 0, "took": 500, "error": "503", "nano": 0},
        {"at": 1500, "took": 500, "attempt": 2},
    )
    page = await new_page(saved(ledger))
    assert len(await bars(page, "draft")) == 2
    assert await page.locator(".row:not(.of-call) .track b.failed").count() == 1
    assert await page.locator(".row.of-call").count() == 2
    assert "1 failed" in await page.locator(".row:not(.of-call)").last.inner_text()


async def test_rows_are_walked_opened_and_shown_with_the_keyboard(
    new_page, scripted, ledger, saved
):
    scripted.run({"path": "g/a"}, {"path": "g/b", "at": 1000}, {"path": "g/b", "at": 2000})
    page = await new_page(saved(ledger))
    grid = page.locator("#grid")
    await grid.focus()

    async def at():
        row = page.locator(f"#{await grid.get_attribute('aria-activedescendant')}")
        return (await row.inner_text()).split("\n")[0], await row.get_attribute("aria-expanded")

    assert await at() == ("g", "true")
    await page.keyboard.press("ArrowLeft")
    assert await at() == ("g", "false")
    assert await page.locator(".rows .row").count() == 1
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("End")
    assert (await at())[0] == "some-model"
    await page.keyboard.press("ArrowLeft")
    assert (await at())[0] == "b"
    await page.keyboard.press("Home")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    assert await page.locator("#details h2").inner_text() == "a"
    await page.keyboard.press("Escape")
    assert await page.evaluate("document.activeElement.id") == "grid"


async def test_a_click_on_a_call_opens_that_call(new_page, scripted, ledger, saved):
    scripted.run(*({"at": 1000 * n, "nano": n} for n in range(1, 5)))
    page = await new_page(saved(ledger))
    await page.locator(".row.of-call").nth(2).click()
    opened = page.locator("#details details[open]")
    assert await opened.count() == 1
    assert "$0.000000003" in await opened.inner_text()
    await page.get_by_role("button", name="Show from the first").click()
    assert await page.locator("#details details.attempt").count() == 4


async def test_ten_thousand_calls_are_few_elements_and_all_can_be_reached(
    new_page, scripted, ledger, saved
):
    run_id = scripted.run({"path": "first"}, status="running")
    write_many(ledger, run_id, 10_000)
    ledger.finish_run(run_id, "completed")
    page = await new_page(saved(ledger))
    assert "10,001" in await page.locator("#figures").inner_text()
    await page.get_by_role("button", name="All calls").click()
    grid = page.locator("#grid")
    assert await grid.get_attribute("aria-rowcount") == str(1 + 2 + 10_001)
    assert await page.locator("#grid .row").count() < 60
    assert await page.locator("#grid .track b").count() < 2_000
    await grid.focus()
    await page.keyboard.press("End")
    last = page.locator(f"#{await grid.get_attribute('aria-activedescendant')}")
    assert await last.get_attribute("aria-rowindex") == "10004"
    assert await page.locator("#grid .row").count() < 60
    await page.keyboard.press("Enter")
    assert await page.locator("#details details.attempt").count() == 1
    await page.get_by_role("button", name="Show from the first").click()
    assert await page.locator("#details details.attempt").count() == 50
    await page.get_by_role("button", name="Show 50 more").click()
    assert await page.locator("#details details.attempt").count() == 100


async def test_zooming_the_time_makes_bars_longer(new_page, scripted, ledger, saved):
    scripted.run({"path": "a", "took": 1000}, {"path": "b", "at": 1000, "took": 3000})
    page = await new_page(saved(ledger))
    ((left, right),) = await bars(page, "a")
    await page.get_by_role("button", name="Zoom the time in").click()
    ((nearer, farther),) = await bars(page, "a")
    assert farther - nearer > 1.8 * (right - left)
    assert await page.locator("#grid .cell.node").first.is_visible()
    await page.get_by_role("button", name="Zoom the time out").click()
    assert await bars(page, "a") == [(left, right)]


async def test_a_day_of_waiting_takes_little_room(new_page, scripted, ledger, saved):
    day = 24 * 3600 * 1000
    scripted.run({"path": "ask", "took": 2000}, {"path": "go", "at": day, "took": 2000})
    page = await new_page(saved(ledger))
    assert await page.locator(".axis .gap").count() == 1
    ((_, asked),) = await bars(page, "ask")
    ((going, gone),) = await bars(page, "go")
    assert 0 < going - asked < gone - going


async def test_bars_begin_where_the_axis_says_however_wide_a_cost_is(
    new_page, scripted, ledger, saved
):
    scripted.run({"at": 0, "took": None}, {"at": 500, "took": 1000}, {"nano": 1_234_567_890_123})
    page = await new_page(saved(ledger))
    lefts = await page.evaluate(
        "() => [...document.querySelectorAll('#grid .cell.track')]"
        ".map((cell) => cell.getBoundingClientRect().left)"
    )
    assert len(lefts) > 2
    assert len(set(lefts)) == 1


async def test_a_call_whose_end_nobody_heard_says_so(new_page, scripted, ledger, saved):
    scripted.run({"at": 0, "took": None}, {"at": 500, "took": 1000}, status="cancelled")
    page = await new_page(saved(ledger))
    assert "no end recorded" in await page.locator(".row.of-call").first.inner_text()
    assert ">= $" in await page.locator("#figures").inner_text()


async def test_costs_of_many_nodes_are_shown_in_portions(new_page, scripted, ledger, saved):
    scripted.run(*({"path": f"n{number}", "at": number} for number in range(520)))
    page = await new_page(saved(ledger))
    await page.get_by_role("tab", name="Costs").click()
    assert await page.locator("#costs tbody tr").count() == 500
    await page.get_by_role("button", name="Show all 520 nodes").click()
    assert await page.locator("#costs tbody tr").count() == 520


def write_many(ledger, run_id, count):
    """Calls of one node, written at once: the ledger's own way takes a commit each."""
    columns = "call_id, run_id, node_path, role, round, candidate, attempt, provider"
    columns += ", requested_model, status, shortened, usage_source, cost_nanousd, started_at"
    columns += ", duration_ms, rehearsed, economized"
    row = ":call_id, :run_id, 'draft', 'creative', 1, 0, 1, 'together', 'some-model', 'ok', 0"
    row += ", 'none', 1000, :started_at, 800, 0, 0"
    began = ledger.find_run(run_id).started_at[:11]
    with ledger.database.transaction() as tx:
        for number in range(count):
            second, thousandth = divmod(number * 20, 1000)
            minute, second = divmod(second, 60)
            at = f"{began}23:{minute:02}:{second:02}.{thousandth:03}Z"
            values = {"call_id": f"c{number}", "run_id": run_id, "started_at": at}
            tx.write(f"INSERT INTO calls ({columns}) VALUES ({row})", values)  # noqa: S608 - ours
