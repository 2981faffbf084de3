"""Items that workers run, and the process that started the batch and follows it."""

from __future__ import annotations

import asyncio
import importlib
import sys
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from aideon_agents import Ledger, Settings, abatch, creative, sequential
from aideon_agents.batch.distributed import follower, jobs, runner
from aideon_agents.batch.distributed.worker import Worker
from aideon_agents.batch.items import Item
from aideon_agents.errors import RunError, TargetError, UserError
from aideon_agents.ledger import batches
from aideon_agents.testing import SimulatedProvider

HEAD = "from aideon_agents import creative, executor, sequential\n"
KEY = "a-key-that-nobody-may-see"


def tasks_of(count):
    return [{"id": f"item-{n}", "task": f"Pumps move heat {n}."} for n in range(count)]


MODEL = {"executor": "together:Qwen/Qwen3.5-9B", "creative": "together:Qwen/Qwen3.5-9B"}


def keyed(provider):
    return {"together_api_key": KEY, "together_base_url": provider.base_url}


async def test_out_holds_what_the_local_engine_writes(batch, worker, lines, tmp_path):
    items = [
        *tasks_of(30),
        {"id": "item-3", "task": "twice"},
        {"id": "none"},
        {"task": "\0 \ud83c"},
    ]
    worker()
    result = await batch(items).to_end()
    with Ledger(tmp_path / "local.db") as local:
        graph = runner.tasks.load("two.py").graph
        expected = await abatch(graph, items, "local.jsonl", rehearse=True, ledger=local)
    assert (result.completed, result.invalid) == (expected.completed, expected.invalid) == (30, 3)
    assert (result.usd, result.stop_reason) == (expected.usd, None)
    ours, theirs = lines(), lines("local.jsonl")
    assert len({line["version"] for line in ours}) == 1
    for line in (*ours, *theirs):
        del line["run_id"], line["version"]  # the local graph has no file
    assert ours == theirs


async def test_a_task_arrives_as_it_was_given(batch, worker, lines, folder):
    source = HEAD + "def show(state):\n    return ascii([state['task'], state['inputs']])\n"
    (folder / "show.py").write_text(source + "graph = sequential(show)\n", encoding="utf-8")
    task = {"task": "a \\0 \\u0000 熱 🌡\u2028", "deep": {"n": [1.5, None], "\x7f": -(10**20)}}
    worker()
    await batch([task], "show.py", inputs={"deep": 1, "wide": "\x01"}).to_end()
    shown = lines()[0]["output"]
    assert shown == ascii([task["task"], {"deep": task["deep"], "wide": "\x01"}])


async def test_nothing_is_added_while_it_is_queued_or_being_run(ledger, queued):
    items = [Item(n, f"i{n}", "x", {}) for n in range(5)]
    app = jobs.app_for(jobs.require_server(ledger))
    async with app.open_async():
        assert await jobs.enqueue(app, "B", items, {}) == 5
        held = await app.job_manager.fetch_job(
            [jobs.queue_of("B")], await app.job_manager.register_worker()
        )
        before = queued()
        assert await jobs.enqueue(app, "B", items, {}) == 0
        assert queued() == before
        assert await jobs.enqueue(app, "B", [*items, Item(5, "i5", "x", {})], {}) == 1
        await app.job_manager.finish_job(held, "succeeded", delete_job=True)
        assert len(queued()) == 5


async def test_a_locked_job_of_a_worker_that_is_gone_is_requeued_later(ledger, queued):
    """The lock may be held by the event loop that looks for such jobs: waiting would never end."""
    database = jobs.require_server(ledger)
    app = jobs.app_for(database)
    async with app.open_async():
        await jobs.enqueue(app, "B", [Item(0, "i0", "x", {})], {})
        gone = await app.job_manager.register_worker()
        await app.job_manager.fetch_job([jobs.queue_of("B")], gone)
        ledger.database.write("UPDATE procrastinate_workers SET last_heartbeat = '2000-01-01'", {})
        with psycopg.connect(**database.address.parameters) as other:
            other.execute("SELECT * FROM procrastinate_jobs FOR UPDATE")
            assert jobs.requeue_stalled(ledger) == 0
        assert jobs.requeue_stalled(ledger) == 1
    assert [job["status"] for job in queued()] == ["todo"]


async def test_the_queue_waits_for_no_lock_without_end_and_keeps_none(ledger):
    app = jobs.app_for(jobs.require_server(ledger))
    limits = (
        "SELECT current_setting('lock_timeout') AS lock,"
        " current_setting('idle_in_transaction_session_timeout') AS idle"
    )
    async with app.open_async():
        assert await app.connector.execute_query_all_async(limits) == [
            {"lock": "15s", "idle": "5s"}
        ]
        async with app.connector.pool.connection() as connection:
            await connection.execute("SELECT * FROM procrastinate_jobs FOR UPDATE")
            assert connection.info.transaction_status == TransactionStatus.IDLE


async def test_no_key_is_in_the_queue_or_in_the_ledger(batch, worker, ledger, queued, until):
    with SimulatedProvider() as provider:
        given = batch(tasks_of(3), settings=Settings(ledger="x", **keyed(provider)))
        running = asyncio.create_task(given.to_end())
        await until(lambda: len(queued()) == 3)
        waiting = everything(ledger)
        worker(**keyed(provider))
        result = await running
        assert result.completed == 3
        assert len(provider.requests) == 6
        for content in (waiting, everything(ledger)):
            assert "item-1" in content
            assert KEY not in content


def everything(ledger):
    """All that the database holds, as text."""
    named = ledger.select(
        "SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND relnamespace = ("
        "SELECT relnamespace FROM pg_class WHERE oid = to_regclass('runs'))"
    )
    assert {"procrastinate_jobs", "runs", "batches"} <= {row["name"] for row in named}
    return "".join(str(ledger.select(f"SELECT * FROM {row['name']}")) for row in named)  # noqa: S608 - the catalog's names


async def test_what_is_done_leaves_neither_jobs_nor_states_nor_results(
    batch, worker, ledger, queued
):
    worker()
    await batch(tasks_of(3), checkpoint=True).to_end()
    assert queued() == []
    for table in ("outputs", "checkpoints", "checkpoint_writes", "procrastinate_events"):
        assert ledger.select(f"SELECT * FROM {table}") == []  # noqa: S608 - our names


async def test_a_worker_with_another_version_refuses_and_loads_nothing(
    batch, worker, ledger, until, caplog
):
    was = Path("two.py").read_text(encoding="utf-8")
    running = asyncio.create_task(batch(tasks_of(2)).to_end())
    await until(lambda: batches.running(ledger))
    told = []
    Path("two.py").write_text("open('loaded', 'w')\n" + was, encoding="utf-8")
    worker(tell=told.append)
    await until(lambda: "refuses: two.py here is another version" in caplog.text)
    assert not Path("loaded").exists()
    (batch_id,) = (one.batch_id for one in batches.running(ledger))
    (refusal,) = batches.refusals(ledger, batch_id)
    assert refusal["reason"].endswith("bring the same file to this folder")
    assert sum("is not run here" in line for line in told) == 1
    assert Path("out.jsonl").read_text(encoding="utf-8") == ""
    Path("two.py").write_text(was, encoding="utf-8")
    assert (await running).completed == 2


async def test_a_worker_without_a_key_refuses(batch, worker, until, caplog):
    with SimulatedProvider() as provider:
        given = batch(tasks_of(2), settings=Settings(ledger="x", **keyed(provider)))
        running = asyncio.create_task(given.to_end())
        worker()
        await until(lambda: "refuses" in caplog.text)
        assert provider.requests == []
        worker(**keyed(provider))
        assert (await running).completed == 2


@pytest.mark.parametrize(
    "address", ["/srv/two.py", "../two.py", "sub/../../two.py:graph", "out.py"]
)
def test_an_address_leads_nowhere_but_below_the_folder(address, folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "two.py"
    elsewhere.write_text("raise SystemExit\n", encoding="utf-8")
    (folder / "out.py").symlink_to(elsewhere)
    with pytest.raises(TargetError, match="leads out of the working directory"):
        runner.load(address, "ab", Settings(), ())
    with pytest.raises(TargetError, match="leads out of the working directory"):
        runner.check_address(address, "ab")


def test_a_graph_without_an_address_is_refused(ledger):
    graph = sequential(creative("text"))
    given = {"engine": "distributed", "ledger": ledger, "rehearse": True}
    with pytest.raises(UserError, match="has none: put it into a file"):
        asyncio.run(abatch(graph, ["x"], "out.jsonl", **given))


async def test_a_ready_made_workflow_is_found_by_its_name(batch, worker):
    worker()
    assert (await batch(tasks_of(1), "brief").to_end()).completed == 1


async def test_a_budget_ends_it_everywhere_and_more_money_goes_on(batch, worker, folder, lines):
    small = (
        'graph = sequential(executor("facts", max_tokens=64), creative("text", max_tokens=64))\n'
    )
    (folder / "small.py").write_text(HEAD + small, encoding="utf-8")
    with SimulatedProvider() as provider:
        given = {"settings": Settings(ledger="x", **keyed(provider)), "model": MODEL}
        worker(2, **keyed(provider))
        first = await batch(tasks_of(12), "small.py", budget="0.0009", **given).to_end()
        assert first.stop_reason == "budget"
        assert first.usd <= Decimal("0.0009")
        assert 0 < first.pending < 12
        assert len(lines()) == first.completed
        again = await batch(tasks_of(12), "small.py", budget="1", **given).to_end()
        assert (again.completed, again.pending, again.stop_reason) == (12, 0, None)
        assert len(provider.requests) == 24


async def test_too_many_failures_end_it(batch, worker, folder):
    source = HEAD + "def fails(state):\n    raise ValueError('no')\ngraph = sequential(fails)\n"
    (folder / "fails.py").write_text(source, encoding="utf-8")
    worker(1)
    result = await batch(tasks_of(30), "fails.py", max_failures=3).to_end()
    assert (result.stop_reason, result.failed) == ("max_failures", 3)
    again = await batch(tasks_of(30), "fails.py", max_failures="50%").to_end()
    assert (again.stop_reason, again.failed) == ("max_failures", 18)
    retried = await batch(tasks_of(30), "fails.py", max_failures=2, retry_failed=True).to_end()
    assert (retried.stop_reason, retried.failed) == ("max_failures", 2)


SLOW = HEAD + (
    "import asyncio, pathlib\n"
    "async def slow(state):\n"
    "    pathlib.Path('begun-' + state['task'][-2]).touch()\n"
    "    while not pathlib.Path('go').exists():\n"
    "        await asyncio.sleep(0.02)\n"
    "    return 'slow'\n"
    "graph = sequential(executor('facts'), slow)\n"
)


@pytest.fixture
def slow(folder, until):
    """A workflow that waits at its second node for a file; waits until so many items are there."""
    (folder / "slow.py").write_text(SLOW, encoding="utf-8")

    async def begun(count):
        await until(lambda: len(list(folder.glob("begun-*"))) == count)

    return begun


async def test_the_first_interrupt_lets_items_in_flight_come_to_their_end(
    batch, worker, slow, lines, queued
):
    worker(2)
    given = batch(tasks_of(6), "slow.py")
    running = asyncio.create_task(given.to_end())
    await slow(2)
    given.control.drain()
    while len(queued()) > 2:
        await asyncio.sleep(0.02)
    assert not running.done()
    Path("go").touch()
    result = await running
    assert (result.completed, result.pending, result.stop_reason) == (2, 4, "interrupted")
    assert len(lines()) == 2
    again = await batch(tasks_of(6), "slow.py").to_end()
    assert (again.completed, len(lines())) == (6, 6)


async def test_the_second_interrupt_cuts_them_off_and_they_go_on_later(
    batch, worker, slow, lines, ledger
):
    worker(2)
    given = batch(tasks_of(4), "slow.py", checkpoint=True)
    running = asyncio.create_task(given.to_end())
    await slow(2)
    given.control.drain()
    given.control.cancel()
    result = await running
    assert (result.completed, result.pending, result.stop_reason) == (0, 4, "interrupted")
    assert not ledger.select("SELECT * FROM procrastinate_jobs")
    Path("go").touch()
    again = await batch(tasks_of(4), "slow.py", checkpoint=True).to_end()
    assert again.completed == 4
    assert [line["attempts"] for line in lines()] == [2, 2, 1, 1]
    calls = ledger.select("SELECT * FROM calls WHERE node_path = 'facts'")
    assert len(calls) == 4  # those cut off went on behind it


async def test_a_worker_that_is_cut_off_gives_its_items_back(batch, worker, slow, lines):
    leaves = worker(2)
    running = asyncio.create_task(batch(tasks_of(3), "slow.py").to_end())
    await slow(2)
    leaves.cut_off()
    Path("go").touch()
    worker(2)
    assert (await running).completed == 3
    assert [line["attempts"] for line in lines()] == [2, 2, 1]


async def test_a_worker_that_leaves_finishes_what_it_has_begun(batch, worker, slow, until, lines):
    leaves = worker(2)
    running = asyncio.create_task(batch(tasks_of(3), "slow.py").to_end())
    await slow(2)
    leaves.leave()
    Path("go").touch()
    await until(lambda: len(lines()) == 2)
    worker(2)
    assert (await running).completed == 3
    assert [line["attempts"] for line in lines()] == [1, 1, 1]


async def test_somebody_elses_cancel_ends_it(batch, worker, slow, ledger, queued):
    worker(2)
    running = asyncio.create_task(batch(tasks_of(6), "slow.py").to_end())
    await slow(2)
    (one,) = batches.running(ledger)
    batches.cancel(ledger, one.batch_id)
    while len(queued()) > 2:
        await asyncio.sleep(0.02)
    Path("go").touch()
    result = await running
    assert (result.completed, result.pending, result.stop_reason) == (2, 4, "cancelled")


async def test_an_item_that_asks_waits_and_holds_nobody_up(batch, worker, folder, until):
    source = HEAD + (
        "from langgraph.types import interrupt\n"
        "def ask(state):\n    return 'told ' + interrupt('go on?')\n"
        "graph = sequential(ask)\n"
    )
    (folder / "asks.py").write_text(source, encoding="utf-8")
    worker(1)
    result = await batch(tasks_of(2), "asks.py").to_end()
    assert (result.stop_reason, result.pending, len(result.waiting)) == ("waiting", 2, 2)
    again = await batch(tasks_of(2), "asks.py").to_end()
    assert (again.stop_reason, again.pending) == ("waiting", 2)


async def test_without_a_worker_it_says_so(batch, worker, monkeypatch, caplog, until):
    monkeypatch.setattr(follower, "_WARN_AFTER", 0.5)
    running = asyncio.create_task(batch(tasks_of(1)).to_end())
    await until(lambda: "no worker is running: start `aideon worker`" in caplog.text)
    worker()
    assert (await running).completed == 1
    assert caplog.text.count("no worker is running") == 1


async def test_progress_counts_what_workers_do(batch, worker, slow, until):
    seen = []
    worker(2)
    given = batch(tasks_of(4), "slow.py", budget="1", checkpoint=False, watch=seen.append)
    running = asyncio.create_task(given.to_end())
    await until(lambda: any(one.in_flight == 2 for one in seen))
    assert given.control.count == 2
    Path("go").touch()
    await running
    assert (seen[-1].completed, seen[-1].in_flight, seen[-1].done) == (4, 0, 4)
    assert [path for path, _ in seen[-1].top_nodes] == ["facts"]


async def test_a_changed_file_of_items_ends_it_with_what_is_done_kept(
    batch, worker, written, until
):
    path = written(tasks_of(1500))
    given = batch(path)

    def changes():
        with path.open("a", encoding="utf-8") as more:
            more.write('{"task": "another"}\n')

    with pytest.raises(RunError, match="was changed while the batch"):
        await given.to_end(changes)


async def test_an_end_that_cannot_be_written_down_is_tried_again(
    batch, worker, ledger, lines, until
):
    told = []
    ledger.database.write("ALTER TABLE outputs RENAME COLUMN document TO gone", {})
    running = asyncio.create_task(batch(tasks_of(1)).to_end())
    worker(tell=told.append)
    await until(lambda: any("the end of item item-0 cannot be written" in line for line in told))
    ledger.database.write("ALTER TABLE outputs RENAME COLUMN gone TO document", {})
    assert (await running).completed == 1


async def test_a_worker_ends_also_where_a_check_loses_its_cancellation(worker, monkeypatch, until):
    checks, lost = [], []

    async def waits(made):
        checks.append(made)
        if len(checks) == 2:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                lost.append(made)

    monkeypatch.setattr(Worker, "_requeue_strays", waits)
    made = worker()
    await until(lambda: len(checks) == 2)
    made.cut_off()
    await until(lambda: lost)  # the fixture waits for the end of the worker


@pytest.mark.parametrize("missing", ["procrastinate", "psycopg"])
@pytest.mark.parametrize("door", ["worker", "follower", "jobs"])
def test_the_pip_line_is_named_where_the_extra_is_missing(monkeypatch, missing, door):
    room = "aideon_agents.batch.distributed"
    for name in [name for name in sys.modules if name.startswith(room)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UserError, match=r"pip install 'aideon-agents\[distributed\]'"):
        importlib.import_module(f"{room}.{door}")


def test_items_in_a_file_are_refused_in_one_line(tmp_path):
    with Ledger(tmp_path / "file.db") as book, pytest.raises(UserError) as refused:
        jobs.require_server(book)
    assert "set AIDEON_LEDGER=postgresql://" in str(refused.value)


async def test_a_job_is_found_at_once_however_many_are_queued(ledger):
    """Without an index of our own the server compares each with all others."""
    jobs.app_for(jobs.require_server(ledger))
    jobs.app_for(jobs.require_server(ledger))
    rows = ledger.select("SELECT to_regclass('aideon_jobs_lock') AS made")
    assert rows[0]["made"] is not None


async def test_a_worker_that_only_rehearses_refuses_what_is_paid(batch, worker, until, caplog):
    with SimulatedProvider() as provider:
        given = batch(tasks_of(1), settings=Settings(ledger="x", **keyed(provider)))
        running = asyncio.create_task(given.to_end())
        worker(offline=True, **keyed(provider))
        await until(lambda: "only rehearses (AIDEON_OFFLINE=1)" in caplog.text)
        worker(**keyed(provider))
        assert (await running).completed == 1


async def test_a_workflow_that_cannot_even_be_made_is_refused(batch, worker, until, caplog, folder):
    source = HEAD + "import os\nif os.environ.get('BROKEN'):\n    raise ValueError('no\\nway')\n"
    (folder / "breaks.py").write_text(source + "graph = sequential(creative('x'))\n", "utf-8")
    running = asyncio.create_task(batch(tasks_of(1), "breaks.py").to_end())
    with pytest.MonkeyPatch.context() as broken:
        broken.setenv("BROKEN", "1")
        worker()
        await until(lambda: "breaks.py:4: ValueError" in caplog.text)
    assert (await running).completed == 1


async def test_a_job_that_nobody_runs_under_a_living_workers_name_is_given_back(
    batch, worker, slow, ledger
):
    """As when the server was away at the moment at which it should have been ended."""
    living = worker(4)
    running = asyncio.create_task(batch(tasks_of(3), "slow.py").to_end())
    await slow(3)
    columns = "queue_name, task_name, args, status, worker_id"
    stray = f"INSERT INTO procrastinate_jobs ({columns}) SELECT {columns} FROM procrastinate_jobs"  # noqa: S608 - its columns
    ledger.database.write(f"{stray} LIMIT 1", {})
    Path("go").touch()
    assert (await running).completed == 3
    assert living.in_flight == 0


async def test_who_gives_the_command_needs_no_key(batch, worker):
    with SimulatedProvider() as provider:
        worker(**keyed(provider))
        result = await batch(tasks_of(2), settings=Settings(ledger="x")).to_end()
        assert (result.completed, len(provider.requests)) == (2, 4)


async def test_a_bad_line_that_out_holds_is_not_kept_again(batch, worker, ledger):
    worker()
    items = [*tasks_of(1), {"id": "bad"}]
    assert (await batch(items).to_end()).invalid == 1
    again = await batch(items).to_end()
    assert (again.invalid, again.completed) == (1, 1)
    assert ledger.select("SELECT * FROM outputs") == []


async def test_a_follower_that_was_taken_for_dead_ends_nothing(batch, ledger, until, queued):
    following = asyncio.create_task(batch(tasks_of(2)).to_end())
    await until(lambda: len(queued()) == 2)
    ledger.database.write("UPDATE batches SET host = 'another', pid = 7", {})
    with pytest.raises(RunError, match="was taken over by process 7 on another"):
        await following
    (found,) = batches.batches(ledger, 1)
    assert (found.status, found.is_cancelled, len(queued())) == ("running", False, 2)


async def test_carried_items_are_not_run_by_workers(batch, worker, ledger, lines):
    worker()
    first = await batch(tasks_of(4)).to_end()
    changed = [*tasks_of(2), {"id": "new", "task": "New."}, *tasks_of(4)[2:]]
    result = await batch(changed).to_end()
    assert (result.carried, result.carried_from, result.completed) == (4, first.batch_id, 5)
    assert [line["id"] for line in lines()] == [item["id"] for item in changed]
    assert [line["attempts"] for line in lines()] == [1] * 5
    runs = ledger.select("SELECT item_id FROM runs WHERE batch_id = :b", {"b": result.batch_id})
    assert [run["item_id"] for run in runs] == ["new"]
