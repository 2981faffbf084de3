"""`aideon batches`: list, show, answer, cancel and forget batches."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from aideon_agents.cli import options, output
from aideon_agents.cli.batch_approvals import Ref, approve, decline
from aideon_agents.cli.batch_summary import nodes, spent
from aideon_agents.ledger.money import usd_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aideon_agents.batch.diff import Difference
    from aideon_agents.ledger.batch_items import ItemRow
    from aideon_agents.ledger.batches import Batch
    from aideon_agents.ledger.store import Ledger

app = typer.Typer(help="List, show, answer, cancel and forget batches.", no_args_is_help=True)
app.command()(approve)
app.command()(decline)


_WIDE = 90
"""Characters of a terminal that has room for when a batch started."""


@app.command("list")
def list_batches(limit: options.Limit = 20, as_json: options.AsJson = False) -> None:
    """List batches, newest first."""
    from aideon_agents.batch.summary import summary
    from aideon_agents.ledger.batches import batches

    with options.ledger() as ledger:
        found = [summary(ledger, one) for one in batches(ledger, limit)]
    if as_json:
        output.document(found)
        return
    if not found:
        output.note(
            "there are no batches: start one with `aideon batch brief items.jsonl -o out.jsonl`"
        )
        return
    is_narrow = sys.stdout.isatty() and shutil.get_terminal_size().columns < _WIDE
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "batch": lambda one: one["batch_id"],
        "workflow": lambda one: one["workflow"],
        "status": _status,
        "start (UTC)": lambda one: one["started_at"][5:16].replace("T", " "),
        "done": _done,
        "cost": lambda one: output.money(Decimal(one["usd"]), complete=one["complete"]),
    }
    if is_narrow:
        del columns["start (UTC)"]
    rows = [[cell(one) for cell in columns.values()] for one in found]
    output.table([*columns], rows, numbers=1, whole=True)


@app.command()
def show(
    batch: Ref,
    limit: Annotated[
        int, typer.Option(min=1, metavar="N", help="List at most N items of each status.")
    ] = 20,
    failed: Annotated[
        bool,
        typer.Option(
            "--failed",
            help="Show only the errors, with the number of items of each and one example.",
        ),
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Show one batch: the status of its items, failures, and the cost of each node."""
    from aideon_agents.batch.summary import summary
    from aideon_agents.graphs.topology import in_declared_order
    from aideon_agents.ledger import batch_items, batches

    if failed:
        _show_failures(batch, as_json=as_json)
        return
    with options.ledger() as ledger:
        found = batches.find_batch(ledger, batch)
        document = summary(ledger, found)
        costs = {one.node_path: one for one in batches.node_money(ledger, found.batch_id)}
        by_node = [*in_declared_order(costs, batches.graph_of(ledger, found.batch_id)).values()]
        named = {
            word: batch_items.with_status(ledger, found.batch_id, word, limit)
            for word in ("failed", "invalid", "waiting")
        }
        refused = batches.refusals(ledger, found.batch_id)
    if as_json:
        document |= {
            "followed": None if found.status != "running" else not found.is_abandoned,
            "nodes": [{**vars(node), "usd": usd_text(node.usd)} for node in by_node],
            **{f"{word}_items": list(map(_item, rows)) for word, rows in named.items()},
            "refusals": [dict(one) for one in refused],
        }
        output.document(document)
        return
    output.line(
        f"{found.workflow} {found.batch_id}: {_status(document)}, {output.counted(document['items'], 'item')}, "
        f"{document['completed']:,} completed, {document['failed']:,} failed, "
        f"{document['invalid']:,} invalid, {document['pending']:,} pending; "
        + spent(Decimal(document["usd"]), Decimal(document["held_usd"]), document["complete"])
    )
    output.line(f"results: {document['out']}")
    if document["carried"]:
        output.line(f"{document['carried']:,} carried over from batch {found.carried_from}")
    if found.status == "running" and found.is_abandoned:
        output.line("its command has ended: repeat the command to write the results there")
    for one in refused:
        output.line(f"worker {one['pid']} on {one['host']} refused it: {one['reason']}")
    for word, rows in named.items():
        for row in rows:
            run = f" (run {row.run_id})" if row.run_id else ""
            output.line(f"{word}: {row.item_id}{run}{f': {row.error}' if row.error else ''}")
    if by_node:
        nodes(by_node)


def _item(row: ItemRow) -> dict[str, Any]:
    names = ("run_id", "attempts", "error", "error_type")
    return {"id": row.item_id, **{name: getattr(row, name) for name in names}}


def _show_failures(ref: str, *, as_json: bool) -> None:
    """Show what failed, grouped by error."""
    from aideon_agents.ledger import batch_items, batches

    with options.ledger() as ledger:
        found = batches.find_batch(ledger, ref)
        kinds = batch_items.failures(ledger, found.batch_id)
    if as_json:
        output.document({"batch_id": found.batch_id, "failures": [one._asdict() for one in kinds]})
        return
    if not kinds:
        output.note(f"no item of batch {found.batch_id} has failed")
    for one in kinds:
        output.line(f"{output.counted(one.items, 'item')} {one.status}: {one.error}")
        seen = f": see `aideon runs show {one.run_id}`" if one.run_id else ""
        output.line(f"    for example {one.item_id}{seen}")


@app.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A batch: an id, its beginning, or last.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The batch to compare it with.")],
    limit: Annotated[
        int, typer.Option(min=1, metavar="N", help="Show at most N items; --json gives all.")
    ] = 20,
    as_json: options.AsJson = False,
) -> None:
    """Compare two batches: items whose output, models, cost or status differ."""
    from aideon_agents.batch.diff import COMPARED, differences
    from aideon_agents.ledger.batches import find_batch

    with options.ledger() as ledger:
        first, second = find_batch(ledger, a), find_batch(ledger, b)
        counts, shown = Counter[str](), cast("list[Difference]", [])
        for one in differences(ledger, first, second):
            alone = "only in A" if one.b is None else "only in B"
            counts.update(one.differs or [alone])
            if as_json or len(shown) < limit:
                shown.append(one)
    if as_json:
        ids = {"a": first.batch_id, "b": second.batch_id}
        output.document({**ids, "counts": counts, "items": [one._asdict() for one in shown]})
        return
    if not counts:
        output.note("no item differs")
        return
    rows = [
        (one.id, name, _cell(one.a, name), _cell(one.b, name))
        for one in shown
        for name in one.differs or ("status",)
    ]
    output.table(("item", "differs", "A", "B"), rows)
    words = [*COMPARED, "only in A", "only in B"]
    output.line(", ".join(f"{word}: {counts[word]:,}" for word in words if counts[word]))


def _cell(values: Mapping[str, Any] | None, name: str) -> str:
    """One value of an item, on one line; a dash where its batch does not have it."""
    value = None if values is None else values[name]
    text = ", ".join(value) if isinstance(value, list) else "-" if value is None else str(value)
    return textwrap.shorten(text, _CELL, placeholder=" ...") or text[:_CELL]


_CELL = 60
"""Characters."""


@app.command()
def cancel(batch: Ref, as_json: options.AsJson = False) -> None:
    """Cancel a batch: items in progress finish, and no other item starts."""
    from aideon_agents.batch.summary import summary
    from aideon_agents.ledger import batches

    with options.ledger() as ledger:
        found = batches.find_batch(ledger, batch)
        if found.status == "running":
            batches.cancel(ledger, found.batch_id)
            _take_from_workers(ledger, found)
        else:
            _cancel_at_provider(ledger, found)
        if as_json:
            output.document(summary(ledger, batches.find_batch(ledger, found.batch_id)))
    if found.status == "running":
        output.note(f"batch {found.batch_id} is ending; repeat its command to continue it later")
    else:
        output.note(f"batch {found.batch_id} is {found.status}: no item is running")


@app.command()
def forget(batch: Ref, as_json: options.AsJson = False) -> None:
    """Forget a batch, so that its command starts a new one. Its costs stay."""
    from aideon_agents.batch.provider.lines import Lines
    from aideon_agents.batch.summary import summary
    from aideon_agents.ledger import batches

    with options.ledger() as ledger:
        found = batches.find_batch(ledger, batch)
        batches.refuse_if_running(found)
        batches.refuse_if_with_workers(found)
        Lines(ledger.database, found.batch_id).refuse_live("repeat its command to the end")
        batches.forget(ledger, found.batch_id)
        if as_json:
            output.document(summary(ledger, batches.find_batch(ledger, found.batch_id)))
    output.note(f"batch {found.batch_id} is forgotten: its command starts a new batch")


def _cancel_at_provider(ledger: Ledger, batch: Batch) -> None:
    """End what providers do for a batch that no process runs, and settle it."""
    import asyncio

    from aideon_agents.batch.provider.lines import Lines

    lines = Lines(ledger.database, batch.batch_id)
    if not lines.blocked():
        return
    from aideon_agents.batch.provider.engine import Jobs, cancelled

    output.note("waiting for the provider to end its batch; what it has finished is charged")
    asyncio.run(cancelled(Jobs(ledger, lines, options.settings(), records=False)))


def _take_from_workers(ledger: Ledger, batch: Batch) -> None:
    """Remove the items that no worker has begun, also when no command follows the batch."""
    from aideon_agents.ledger import batches

    if batch.engine != batches.DISTRIBUTED:
        return
    from aideon_agents.batch.distributed import jobs

    if jobs.tables_exist(ledger):
        jobs.delete_queued(ledger, batch.batch_id)
    if batch.is_abandoned:
        batches.end_abandoned(ledger, batch)


def _status(document: dict[str, Any]) -> str:
    reason = f" ({document['stop_reason']})" if document["stop_reason"] else ""
    marks = [f", {mark}" for mark in ("rehearsed", "simulated") if document[mark]]
    return f"{document['status']}{reason}{''.join(marks)}"


def _done(document: dict[str, Any]) -> str:
    done = f"{document['items'] - document['pending']:,} of {document['items']:,}"
    wrong = [f"{document[word]:,} {word}" for word in ("failed", "invalid") if document[word]]
    return ", ".join([done, *wrong])
