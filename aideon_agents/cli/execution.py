"""A run on its way at the command line: interruptible, shown, and ended with its exit code.

What came of a run, for people: its text on stdout, and what it cost beside it.

The command that goes on with a run which ended before its end, for people.

Ctrl-C while a run is on its way: the first ends the run, the second the process.

What a run waits for an answer to, for people: each question, and the command that answers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shlex
import signal
import sys
import textwrap
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from aideon_agents.cli import options, output
from aideon_agents.cli.options import rehearsing
from aideon_agents.cli.output import printable, tell_ledger_errors_once
from aideon_agents.errors import BudgetExceeded, RunError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection, Generator, Iterator, Sequence
    from contextlib import AbstractContextManager

    from aideon_agents.cli.watch import Watched
    from aideon_agents.ledger.costs import Cost
    from aideon_agents.runner import Event, RunResult
    from aideon_agents.runner.running import Running
    from aideon_agents.settings import Settings
    from aideon_agents.tasks.target import Target

    Watch = Callable[[Event], None]


def show(result: RunResult) -> None:
    """Print a run's text on stdout, and each node's cost on stderr."""
    if result.output:
        said = result.output.rstrip("\n")
        output.line(output.printable(said) if sys.stdout.isatty() else said)
    cost = result.cost
    output.table(
        ("node", "model", "calls", "in", "out", "cost", "time"),
        [
            (
                node.node_path,
                ", ".join(name.partition(":")[2] for name in node.models),
                _calls(node.calls, node.failed_calls),
                f"{node.input_tokens:,}",
                f"{node.output_tokens:,}",
                output.money(node.usd, complete=node.complete),
                output.duration(node.duration_ms),
            )
            for node in result.nodes
        ],
        total=(
            "rehearsed" if result.rehearsed else "total",
            "",
            _calls(cost.calls, cost.failed_calls),
            f"{cost.input_tokens:,}",
            f"{cost.output_tokens:,}",
            output.money(cost.usd, complete=cost.complete),
            "",
        ),
        numbers=5,
        to_stderr=True,
    )
    if result.status != "cancelled":  # which has a line of its own
        reason = f" ({result.stop_reason})" if result.stop_reason else ""
        output.note(f"run {result.run_id} {result.status}{reason}")


def _calls(calls: int, failed: int) -> str:
    return f"{calls} ({failed} failed)" if failed else str(calls)


_FLAGS = {"run": "--budget", "batch": "--budget", "item": "--item-budget"}
"""What raises a limit that stands nowhere but in the command itself."""


def command(result: RunResult, *, of_batch: bool) -> str | None:
    """How to go on with a run."""
    if result.status in {"completed", "running"} or result.stop_reason == "declined":
        return None
    again = "aideon batch ..." if of_batch else f"aideon runs resume {result.run_id}"
    if result.stop_reason == "budget":
        return _with_more(again, result.exception, of_batch=of_batch)
    return f"{again} --retry-failed" if of_batch and result.status == "failed" else again


def _with_more(again: str, refused: BaseException | None, *, of_batch: bool) -> str:
    """How to go on with what a budget stopped."""
    if not isinstance(refused, BudgetExceeded):
        items = "or --item-budget, " if of_batch else ""
        return f"{again} --budget MORE  ({items}or raise the standing limit: aideon budget list)"
    if scope := _standing(refused):
        return f"{again}  (after: aideon budget set {scope} MORE)"
    flag = _FLAGS.get(refused.scope.partition(":")[0])
    return f"{again} {flag} MORE" if flag else again


def _standing(refused: BudgetExceeded) -> str | None:
    """The scope of the standing limit that refused; None: it is the run's own, or its batch's.

    A limit for each user refuses as the limit of one of them, and is raised for all.
    """
    from aideon_agents.ledger.budgets.accounts import limits  # noqa: PLC0415 - as above
    from aideon_agents.ledger.budgets.limits import Scope, nanousd  # noqa: PLC0415 - as above

    with options.ledger() as ledger:
        standing = {one.scope: one.limit_nanousd for one in limits(ledger.database)}
    one = Scope.parse(refused.scope)
    both = (str(one), str(dataclasses.replace(one, name=None)))
    limit = nanousd(str(refused.limit))
    return next((scope for scope in both if standing.get(scope) == limit), None)


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_INTERRUPTED = 130


class Interruption:
    """What SIGINT and SIGTERM do. At first, and after the first of them, they end the process."""

    def __init__(self) -> None:
        self._end: Callable[[], object] = _leave

    def ends(self, interrupt: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        """Have the next signal end a run cleanly."""
        self._end = lambda: loop.call_soon_threadsafe(interrupt)

    def heard(self, *_: object) -> None:
        """Handle a signal."""
        end, self._end = self._end, _leave
        end()


@contextlib.contextmanager
def interruptible() -> Generator[Interruption]:
    """Decide what SIGINT and SIGTERM do while a block lasts."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = [(each, signal.signal(each, interruption.heard)) for each in _SIGNALS]
    try:
        yield interruption
    finally:
        for each, handler in before:
            signal.signal(each, handler)


def _leave() -> None:
    """Leave without waiting: a node that holds up its thread would hold up the exit as well."""
    os._exit(_INTERRUPTED)


_WIDTH = 78
_INDENT = "  "


def show_questions(
    questions: Sequence[Mapping[str, Any]], run_id: str, write: Callable[[str], None]
) -> None:
    """Print what a run asks."""
    command = f"aideon runs resume {run_id}"
    if not questions:
        write(f"it stands at a breakpoint; go on with: {command}")
        return
    for one in questions:
        which = f" ({one['id']})" if len(questions) > 1 else ""
        write(f"{one['node_path'] or 'a node'} asks{which}:")
        for line in _lines(one["question"]):
            write(f"{_INDENT}{line}".rstrip())
    write(f"answer with: {command} --answer {shlex.quote(_example(questions))}")


def _lines(asked: Any) -> Iterator[str]:
    """A question as lines: text as it is, an object by its keys, anything else as JSON."""
    if isinstance(asked, str):
        for line in printable(asked).splitlines():
            yield from textwrap.wrap(line, _WIDTH - len(_INDENT)) or [""]
        return
    if not isinstance(asked, Mapping):
        yield from _lines(json.dumps(asked, ensure_ascii=False))
        return
    for key, value in cast("Mapping[str, Any]", asked).items():
        inside = list(_lines(value))
        if len(inside) == 1 and len(key) + len(inside[0]) < _WIDTH - 2 * len(_INDENT):
            yield f"{printable(key)}: {inside[0]}"
        else:
            yield f"{printable(key)}:"
            yield from (f"{_INDENT}{line}" for line in inside)


def _example(questions: Sequence[Mapping[str, Any]]) -> str:
    """An answer that fits, for people to change."""
    answers = {one["id"]: _fitting(one["schema"]) for one in questions}
    said = answers if len(answers) > 1 else next(iter(answers.values()))
    return json.dumps(said, ensure_ascii=False)


def _fitting(schema: Any) -> Any:
    from aideon_agents.models.answers.instance import instance  # noqa: PLC0415 - help must not wait

    if not isinstance(schema, dict):
        return "..."
    try:
        return instance(cast("dict[str, Any]", schema), "...")
    except Exception:  # noqa: BLE001 - somebody's schema, and only an example
        return {}


_EXIT = {"completed": 0, "failed": 1, "stopped": 3, "waiting": 4, "cancelled": 130}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Showing:
    """How a run is shown."""

    why: str | None
    """Why answers are worked out by rule; None: they are not."""
    watched: bool
    as_json: bool
    debug: bool
    estimate: Callable[[], Cost] | None = None
    """What a rehearsal says the run costs at most; None: nobody asked."""
    page: Callable[[Running], AbstractContextManager[Watched]] | None = None
    """Shows the run in a browser; None: nobody asked."""
    of_batch: bool = False
    """Whether it is the run of a batch's item."""

    def beginning(self) -> None:
        """Say at once what a watcher has to know."""
        if self.watched:
            self._rehearsing()

    def end(self, result: RunResult) -> int:
        """Print what came of it, and say what the exit code is."""
        if not self.watched:
            self._rehearsing()
        if self.as_json:
            from aideon_agents.runner import document  # noqa: PLC0415 - help must not wait

            output.document(document(result))
        else:
            show(result)
        if self.estimate and result.status == "completed":
            least, most = result.cost, self.estimate()
            output.note(
                f"estimate: {output.money(least.usd, complete=least.complete)} as rehearsed, "
                f"at most {output.money(most.usd if most.complete else None)} "
                "(every round, every max_tokens; the same routes, no retries)"
            )
        if self.debug and result.exception:
            output.trace(result.exception)
        if result.status == "cancelled":
            output.complain(
                f"interrupted: run {result.run_id} is cancelled; "
                f"`aideon runs show {result.run_id}` shows its calls"
            )
        elif result.error or result.status == "stopped":
            output.complain(result.error or str(result.exception))
        if not self.as_json:  # a program knows from the document
            _tell_what_now(result, of_batch=self.of_batch)
        return _EXIT[result.status]

    def _rehearsing(self) -> None:
        if self.why:
            output.note(rehearsing(self.why))


def load(address: str, settings: Settings, chosen: Collection[str]) -> Target:
    """Find the workflow of a run."""
    from aideon_agents import tasks  # noqa: PLC0415 - help must not wait
    from aideon_agents.models import catalog  # noqa: PLC0415 - as above

    known = catalog.load(settings.catalog, settings.profile)

    def check(role: str, name: str) -> None:
        if role not in chosen:
            known.checked(name)

    tell_ledger_errors_once()
    with contextlib.redirect_stdout(sys.stderr):  # what a workflow prints is no result
        return tasks.load(address, check_model=check)


def carry_out(running: Running, showing: Showing) -> int:
    """Run a workflow to its end, print what came of it, and say what the exit code is."""
    if showing.page is None:
        return _carried_out(running, showing, None)
    with showing.page(running) as page:
        code = _carried_out(running, showing, page)
        page.over()
        return code


def _carried_out(running: Running, showing: Showing, page: Watched | None) -> int:
    import asyncio  # noqa: PLC0415 - help must not wait

    showing.beginning()
    with interruptible() as interruption, asyncio.Runner() as on_loop:
        interruption.ends(running.interrupt, on_loop.get_loop())
        try:
            with contextlib.redirect_stdout(sys.stderr), _shown(asked=showing.watched) as shown:
                result = on_loop.run(running.to_end(_both(shown, page)))
        except SystemExit as left:  # it would end this process with the node's code, 0 even
            raise RunError(
                f"a node of {running.spec.start.target} called sys.exit({left.code}): let it raise"
            ) from left
        return showing.end(result)


@contextlib.contextmanager
def _shown(*, asked: bool) -> Generator[Watch | None]:
    """What shows a run on stderr: a tree on a terminal, lines elsewhere; None: it is not shown."""
    if not asked:
        yield None
        return
    from aideon_agents.cli.stream import LiveTree, Watching  # noqa: PLC0415 - help must not wait

    if sys.stderr.isatty():
        with LiveTree() as tree:
            yield tree
    else:
        yield Watching()


def _both(shown: Watch | None, page: Watch | None) -> Watch | None:
    if shown is None or page is None:
        return shown or page

    def tell(event: Event) -> None:
        shown(event)
        page(event)

    return tell


def _tell_what_now(result: RunResult, *, of_batch: bool) -> None:
    if result.status == "waiting":
        show_questions(result.questions, result.run_id, output.note)
    elif (how := command(result, of_batch=of_batch)) is not None:
        output.note(f"go on with: {how}")
