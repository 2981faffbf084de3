"""A batch's page in a real Chromium: its tiles, its items, and what each node cost."""

from __future__ import annotations

import json

import pytest

from aideon_agents import abatch, creative, executor, parallel, sequential
from aideon_agents.cli.drawings import drawn
from aideon_agents.errors import InputError
from aideon_agents.ledger import batches
from aideon_agents.ledger.batches import Batch
from aideon_agents.ledger.store import Ledger
from aideon_agents.settings import Settings
from aideon_agents.testing import SimulatedProvider

NAMES = ["a", "b", 'c \x1b[31m<img src=x onerror="fetch(1)">', "d"]


def page_in(folder):
    made = drawn(
        "html",
        target=None,
        run_refs=(),
        batch="last",
        depth=None,
        theme="auto",
        scale=1,
        columns=80,
        allow_outside=False,
    )
    (folder / "batch.html").write_bytes(made)
    return (folder / "batch.html").as_uri()


@pytest.fixture
def own_ledger(tmp_path, monkeypatch):
    monkeypatch.setenv("AIDEON_LEDGER", f"sqlite:///{tmp_path}/ledger.db")
    return tmp_path / "ledger.db"


@pytest.fixture
async def mixed(tmp_path, own_ledger):
    """The page of a batch of five: three completed, one failed, one is invalid."""

    def checked(state):
        if state["task"] == "Item d.":
            raise ValueError("refused <b>here</b>")
        return "good"

    graph = sequential(
        parallel(executor("facts"), executor("risks"), name="gather"),
        checked,
        creative("draft", model="together:writer", fallback=False),
        name="campaign",
    )
    items = [{"id": name, "task": f"Item {name[0]}."} for name in NAMES]
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, [*items, {"id": "e"}])))

    with SimulatedProvider() as provider:
        settings = Settings(
            TOGETHER_API_KEY="key",
            TOGETHER_BASE_URL=provider.base_url,
            AIDEON_LEDGER=f"sqlite:///{own_ledger}",
        )
        done = await abatch(
            graph, tmp_path / "items.jsonl", tmp_path / "out.jsonl", settings=settings
        )
    assert (done.completed, done.failed, done.invalid) == (3, 1, 1)
    return page_in(tmp_path)


def rows(page):
    return page.locator("#items tbody tr")


async def test_it_shows_the_graph_the_tiles_the_items_and_the_costs(new_page, mixed):
    page = await new_page(mixed)
    figures = (await page.locator("#figures").inner_text()).replace("\n", " ")
    for tile in ("Items 5", "Completed 3", "Failed 1", "Invalid 1", "Calls 11"):
        assert tile in figures
    assert await page.locator('.node[data-path="gather/facts"]').is_visible()
    texts = await rows(page).all_inner_texts()
    assert [text.split("\t")[2].strip() for text in texts] == [
        *["completed"] * 3,
        *("failed", "invalid"),
    ]
    assert "refused <b>here</b>" in texts[3]
    await page.get_by_role("tab", name="Costs").click()
    costs = await page.locator("#costs tbody tr").all_inner_texts()
    assert {text.split("\t")[0].strip() for text in costs} == {
        *("gather/facts", "gather/risks", "draft")
    }
    assert "Timeline" not in await page.locator('[role="tablist"]').inner_text()


async def test_ids_are_text_and_nobody_is_asked(new_page, mixed):
    page = await new_page(mixed)
    named = await rows(page).nth(2).locator("th").inner_text()
    assert named == 'c \N{SYMBOL FOR ESCAPE}[31m<img src=x onerror="fetch(1)">'
    assert await page.locator("#items img").count() == 0
    await page.locator('.node[data-path="draft"]').click()
    assert "together:writer" in await page.locator("#details").inner_text()
    assert page.requests == [mixed]
    assert page.complaints == []


async def test_items_are_filtered_by_status_and_sorted_by_their_heads(new_page, mixed):
    page = await new_page(mixed)
    await page.select_option("#filter", "failed")
    assert await rows(page).locator("th").all_inner_texts() == ["d"]
    await page.select_option("#filter", "")
    await page.locator("#items thead button", has_text="Item").click()
    await page.locator("#items thead button", has_text="Item").click()
    assert (await rows(page).locator("th").all_inner_texts())[:2] == ["e", "d"]


async def test_items_are_found_by_id_and_by_error(new_page, mixed):
    page = await new_page(mixed)
    await page.fill("#search", "REFUSED <b>")
    assert await rows(page).locator("th").all_inner_texts() == ["d"]
    await page.select_option("#filter", "completed")
    assert await rows(page).count() == 0
    await page.fill("#search", "a")
    assert await rows(page).locator("th").all_inner_texts() == ["a"]


async def test_costs_times_and_failures_are_summed_up(new_page, mixed):
    page = await new_page(mixed)
    await page.get_by_role("tab", name="Distributions").click()
    spread = page.locator("#spread")
    counts = await spread.locator(".bars i").evaluate_all("(bars) => bars.map((bar) => bar.title)")
    assert sum(int(title.rpartition(": ")[2].split()[0]) for title in counts) == 8
    assert await spread.get_by_role("img").first.get_attribute("aria-label") is not None
    failures = await spread.locator(".failures li").all_inner_texts()
    assert failures[0].startswith("1 failed\nchecked: ValueError: refused <b>here</b>")
    assert failures[1].startswith("1 invalid\nline 5:")
    await spread.get_by_role("button", name="d", exact=True).click()
    assert await rows(page).locator("th").all_inner_texts() == ["d"]
    assert page.complaints == []


async def test_the_distributions_are_accessible(new_page, mixed, axe):
    page = await new_page(mixed, width=380, bypass_csp=True)
    await page.get_by_role("tab", name="Distributions").click()
    assert await page.evaluate("document.documentElement.scrollWidth") <= 380
    await page.evaluate(axe)
    found = await page.evaluate("axe.run('#spread', {resultTypes: ['violations']})")
    assert [
        one["id"] for one in found["violations"] if one["impact"] in {"serious", "critical"}
    ] == []


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 380)])
async def test_everybody_can_use_the_page_of_a_batch(new_page, mixed, axe, scheme, width):
    page = await new_page(mixed, scheme=scheme, width=width, bypass_csp=True)
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    await page.evaluate(axe)
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [
        (one["id"], [part["html"][:160] for part in one["nodes"]][:3])
        for one in found["violations"]
        if one["impact"] in {"serious", "critical"}
    ]
    assert serious == []


def by_hand(path, number, status):
    with Ledger(path) as ledger:
        start = Batch(
            batch_id="01B",
            identity=None,
            workflow="many",
            target=None,
            rehearsed=False,
            engine="local",
            items=number + 1,
            item_limit_nanousd=None,
            out_path="out.jsonl",
        )
        batches.take(ledger, start, None)
        with ledger.database.transaction() as tx:
            for position in range(number):
                tx.write(
                    "INSERT INTO items (batch_id, position, item_id, status, attempts)"
                    " VALUES ('01B', :position, :name, :status, 0)",
                    {"position": position, "name": f"item {position}", "status": status},
                )
        batches.finish(ledger, "01B", "stopped", "cancelled")


async def test_many_items_are_shown_in_portions_also_where_none_has_run(
    new_page, own_ledger, tmp_path
):
    by_hand(own_ledger, 1234, "invalid")
    page = await new_page(page_in(tmp_path))
    assert await rows(page).count() == 500
    await page.get_by_role("button", name="Show all 1,234 items").click()
    await rows(page).nth(1233).wait_for(state="attached")
    await page.locator("#items thead button", has_text="Number").click()
    assert await rows(page).first.locator("th").inner_text() == "item 1233"
    assert "1 item has not been started" in await page.locator("#items").inner_text()
    assert page.complaints == []


def test_several_runs_still_have_no_page(own_ledger):
    with pytest.raises(InputError, match="shows one run"):
        drawn(
            "html",
            target=None,
            run_refs=("a", "b"),
            batch=None,
            depth=None,
            theme="auto",
            scale=1,
            columns=80,
            allow_outside=False,
        )
