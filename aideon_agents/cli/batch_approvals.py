"""`aideon batches approve` and `decline`: answer what the items of a batch wait for, and resume them."""

from __future__ import annotations

import shlex
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from aideon_agents.cli import asking, options, output
from aideon_agents.cli.approvals import Feedback, fitted, note_if_changed, target_of
from aideon_agents.cli.batch import run_many
from aideon_agents.cli.options import DONE, FAILED, INTERRUPTED, STOPPED, WAITING
from aideon_agents.errors import InputError, UserError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence

    from aideon_agents.graphs import Graph
    from aideon_agents.ledger.batches import Batch
    from aideon_agents.ledger.rows import Run
    from aideon_agents.ledger.store import Ledger
    from aideon_agents.runner import RunResult
    from aideon_agents.settings import Settings

Ref = Annotated[
    str, typer.Argument(metavar="BATCH", help="A batch id, a unique beginning of one, or `last`.")
]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Answer all of them without asking.")]
_AtOnce = Annotated[int, typer.Option(min=1, help="Items that resume at once.")]


class _Item(NamedTuple):
    """An item that waits, and what its run asks; nothing if it is at a breakpoint."""

    item_id: str
    run: Run
    questions: Sequence[Mapping[str, Any]]


def approve(
    batch: Ref, yes: _Yes = False, max_concurrency: _AtOnce = 50, as_json: options.AsJson = False
) -> int:
    """Approve what the items of a batch wait with, and resume them.

    At a terminal it asks about each item. Elsewhere it shows them; --yes approves all.
    """
    return _answer(batch, {"approved": True}, max_concurrency, yes=yes, as_json=as_json)


def decline(
    batch: Ref,
    feedback: Feedback = None,
    yes: _Yes = False,
    max_concurrency: _AtOnce = 50,
    as_json: options.AsJson = False,
) -> int:
    """Decline what the items of a batch wait with, and resume them. Without feedback they end.

    At a terminal it asks about each item. Elsewhere it shows them; --yes declines all.
    """
    return _answer(batch, asking.declined(feedback), max_concurrency, yes=yes, as_json=as_json)


def _answer(ref: str, answer: dict[str, Any], at_once: int, *, yes: bool, as_json: bool) -> int:
    from aideon_agents.ledger import batches

    settings = options.settings()
    with options.ledger() as ledger:
        batch = batches.find_batch(ledger, ref)
        items = _waiting(ledger, batch)
        if not items:
            raise InputError(
                f"no item of batch {batch.batch_id} waits for an answer: "
                f"see `aideon batches show {batch.batch_id}`"
            )
        asks = not yes and not as_json and asking.is_interactive()
        if not yes and not asks:
            return _show(batch, items, as_json=as_json)
        target = target_of(items[0].run, settings)
        note_if_changed(items[0].run, target)
        ended: dict[str, tuple[_Item, RunResult]] = {}
        left, code = items, DONE
        while left and code == DONE:
            given = _asked(left, answer) if asks else _fitted(left, answer)
            if not given:
                break
            found, code = _resumed(given, target.graph, ledger, settings, at_once)
            ended |= {item.item_id: (item, result) for item, result in found}
            left = [
                _Item(item.item_id, item.run, result.questions)
                for item, result in found
                if asks and result.status == "waiting"
            ]
        reported = _report(ledger, batch, ended, as_json=as_json)
        return code or reported


def _waiting(ledger: Ledger, batch: Batch) -> list[_Item]:
    """The items that wait, without those that another process answers just now."""
    from aideon_agents.ledger import batch_items
    from aideon_agents.runner import recall

    rows = batch_items.with_status(ledger, batch.batch_id, "waiting", batch.items)
    found = [(row.item_id, ledger.find_run(str(row.run_id))) for row in rows]
    return [
        _Item(item_id, run, recall(ledger, run).questions)
        for item_id, run in found
        if run.status == "waiting"
    ]


def _show(batch: Batch, items: Sequence[_Item], *, as_json: bool) -> int:
    if as_json:
        shown = [
            {"id": item.item_id, "run_id": item.run.run_id, "questions": list(item.questions)}
            for item in items
        ]
        output.document(
            {"batch_id": batch.batch_id, "answered": 0, "waiting": len(items), "items": shown}
        )
        return WAITING
    for item in items:
        _show_item(item, output.line)
    command = f"aideon batches {{}} {batch.batch_id}"
    output.note(
        f"{output.counted(len(items), 'item')} wait{'s' if len(items) == 1 else ''}: approve all with "
        f"`{command.format('approve')} --yes`, decline all with `{command.format('decline')} "
        "--feedback TEXT --yes`, or answer one with `aideon runs resume RUN --answer ANSWER`"
    )
    return WAITING


def _show_item(item: _Item, write: Callable[[str], None]) -> None:
    write(f"item {output.printable(item.item_id)} (run {item.run.run_id})")
    if not item.questions:
        write("  it is at a breakpoint")
    for one in item.questions:
        asking.show_question(
            one["question"], str(one["node_path"]), lambda text: write(f"  {text}".rstrip())
        )


def _asked(items: Sequence[_Item], answer: dict[str, Any]) -> list[tuple[_Item, Any]]:
    """The items that the person at the terminal answers, with the answers."""
    given: list[tuple[_Item, Any]] = []
    output.note(f"{output.counted(len(items), 'item')} to answer; Ctrl-D ends asking")
    for number, item in enumerate(items):
        output.note(f"\nitem {output.printable(item.item_id)} ({number + 1} of {len(items)})")
        reply = _reply(item, answer)
        if reply is asking.NOTHING:
            break
        if reply is asking.ALL:
            return given + _fitted(items[number:], answer)
        if reply is not asking.SKIPPED:
            given.append((item, reply))
    return given


def _reply(item: _Item, answer: dict[str, Any]) -> Any:
    """What the person says to one item: the answers of its questions by their ids, or a word."""
    if not answer["approved"] or not item.questions:
        return _agreed(item, answer)
    answers: dict[str, Any] = {}
    for one in item.questions:
        reply = asking.ask_one(one["question"], one["schema"], str(one["node_path"]), of_many=True)
        if any(reply is word for word in (asking.NOTHING, asking.SKIPPED, asking.ALL)):
            return reply
        answers[one["id"]] = reply
    return answers


def _agreed(item: _Item, answer: dict[str, Any]) -> Any:
    """Whether the person wants the answer of the command for an item."""
    _show_item(item, output.note)
    word = "approve" if answer["approved"] else "decline"
    while (typed := asking.line(f"{word} it? [y]es, [s]kip, [a]ll: ")) is not None:
        match typed.strip().casefold():
            case "y" | "yes":
                fitting = _fitted([item], answer)
                return fitting[0][1] if fitting else asking.SKIPPED
            case "s" | "skip" | "n" | "no":
                return asking.SKIPPED
            case "a" | "all":
                return asking.ALL
            case _:
                output.note("answer with y, s or a; Ctrl-D ends asking")
    return asking.NOTHING


def _fitted(items: Sequence[_Item], answer: dict[str, Any]) -> list[tuple[_Item, Any]]:
    """The items that take the answer, with it as their questions want it; says which do not."""
    from aideon_agents.runner import NOTHING

    given: list[tuple[_Item, Any]] = []
    for item in items:
        if not item.questions and not answer["approved"]:
            output.complain(f"item {item.item_id} is at a breakpoint, which cannot be declined")
            continue
        try:
            known = {one["id"]: fitted(one, answer, item.run.run_id) for one in item.questions}
        except InputError as wrong:
            output.complain(f"item {item.item_id} still waits: {wrong}")
        else:
            given.append((item, known or NOTHING))
    return given


def _resumed(
    given: Sequence[tuple[_Item, Any]],
    graph: Graph,
    ledger: Ledger,
    settings: Settings,
    at_once: int,
) -> tuple[list[tuple[_Item, RunResult]], int]:
    """Resume items with their answers; returns their results, and the exit code if it was cut off."""
    from aideon_agents.batch.options import Control
    from aideon_agents.runner import prepare_resume

    control = Control()

    async def resume(turns: asyncio.Semaphore, item: _Item, answer: Any) -> RunResult | None:
        async with turns:
            if control.is_over:
                return None
            running = None
            try:
                with redirect_stdout(sys.stderr):
                    running = prepare_resume(
                        graph, item.run.run_id, answer=answer, ledger=ledger, settings=settings
                    )
                control.in_flight.add(running)
                return await running.to_end()
            except (UserError, SystemExit) as wrong:
                output.complain(f"item {item.item_id}: {wrong}")
            except Exception as error:  # noqa: BLE001 - the other items end first
                control.broke(error)
            finally:
                control.in_flight.discard(running) if running else None
        return None

    async def all_of_them() -> list[RunResult | None]:
        import asyncio

        turns = asyncio.Semaphore(at_once)
        return await asyncio.gather(*(resume(turns, *one) for one in given))

    results = run_many(control, all_of_them)
    if control.error:
        raise control.error
    found = [(item, one) for (item, _), one in zip(given, results, strict=True) if one]
    return found, INTERRUPTED if control.is_over else DONE


def _report(
    ledger: Ledger, batch: Batch, ended: Mapping[str, tuple[_Item, RunResult]], *, as_json: bool
) -> int:
    """Print how the answered items ended and what to do next; returns the exit code."""
    from aideon_agents.ledger import batch_items

    waiting = batch_items.counts(ledger, batch.batch_id).get("waiting", 0)
    results = [result for _, result in ended.values()]
    words = [one.stop_reason if one.stop_reason == "declined" else one.status for one in results]
    if as_json:
        items = [
            {
                "id": item.item_id,
                "run_id": result.run_id,
                "status": result.status,
                "stop_reason": result.stop_reason,
                "error": result.error,
                "questions": list(result.questions),
            }
            for item, result in ended.values()
        ]
        output.document(
            {"batch_id": batch.batch_id, "answered": len(ended), "waiting": waiting, "items": items}
        )
    else:
        for item, result in ended.values():
            if result.error:
                output.note(f"item {output.printable(item.item_id)}: {result.error}")
        counts = ", ".join(f"{words.count(word):,} {word}" for word in dict.fromkeys(words))
        output.note(
            f"batch {batch.batch_id}: {output.counted(len(ended), 'item')} answered"
            + (f" ({counts})" if counts else "")
        )
        if set(words) - {"waiting"} and batch.status != "running":
            from aideon_agents.batch.output.paths import out_of

            again = ["aideon", "batch", str(batch.target), "ITEMS", "-o", out_of(batch.out_path)]
            output.note(
                "to write them, give the command of the batch again, with the same options: "
                f"`{shlex.join(again)}`"
            )
        if waiting:
            output.note(
                f"{output.counted(waiting, 'item')} still wait{'s' if waiting == 1 else ''}: "
                f"`aideon batches approve {batch.batch_id}`"
            )
    if "stopped" in words:
        return STOPPED
    if waiting:
        return WAITING
    return FAILED if "failed" in words else DONE
