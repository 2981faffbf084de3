"""Execute a run at the command line: interrupts, progress, result, exit code, and what to do next.

The first Ctrl-C ends the run, the second ends the process.
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
from aideon_agents.cli.options import DONE, FAILED, INTERRUPTED, STOPPED, WAITING, rehearsing
from aideon_agents.cli.output import printable, report_ledger_errors_once
from aideon_agents.errors import BudgetExceeded, RunError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection, Generator, Iterator, Sequence

    from aideon_agents.cli.watch import Watched
    from aideon_agents.ledger.costs import NodeCost
    from aideon_agents.runner import Event, RunResult
    from aideon_agents.runner.running import Running
    from aideon_agents.settings import Settings
    from aideon_agents.tasks.target import Target

    Watch = Callable[[Event], None]


def show(result: RunResult) -> None:
    """Print the text of a run on stdout and the costs of its nodes on stderr."""
    if result.output:
        text = result.output.rstrip("\n")
        output.line(output.printable(text) if sys.stdout.isatty() else text)
    output.table(
        ("node", "model", "calls", "in", "out", "cost", "time"),
        [
            (
                node.node_path + _mark(node),
                ", ".join(name.partition(":")[2].rpartition("/")[2] for name in node.models),
                *output.figures(node),
                output.duration(node.duration_ms),
            )
            for node in result.nodes
        ],
        total=("rehearsed" if result.rehearsed else "total", "", *output.figures(result.cost), ""),
        numbers=5,
        to_stderr=True,
    )
    if result.status != "cancelled":  # which has its own line
        reason = f" ({result.stop_reason})" if result.stop_reason else ""
        output.note(f"run {result.run_id} {result.status}{reason}")


def _mark(node: NodeCost) -> str:
    """What is to be known about the answers of a node, behind its name."""
    marks = {"fallback": node.fallback, "cut off": node.truncated}
    shown = ", ".join(name for name, applies in marks.items() if applies)
    return f" ({shown})" if shown else ""


def _warn_of_truncated(result: RunResult, running: Running) -> None:
    """Print which answers met `max_tokens`, one line each, on stderr."""
    from aideon_agents.graphs.walk import walk

    limits = {
        node.path: spec.request.max_tokens
        for node in walk(running.spec.graph)
        if (spec := getattr(node.runs, "spec", None)) is not None
    }
    for node in result.nodes:
        if node.truncated:
            limit = limits.get(node.node_path)
            at = "" if limit is None else f" ({limit})"
            output.note(
                f"the answer of {printable(node.node_path)} met max_tokens{at} and is cut off: "
                "raise max_tokens"
            )


_FLAGS = {"run": "--budget", "batch": "--budget", "item": "--item-budget"}
"""The flag that raises a limit which only the command itself sets."""


def resume_hint(result: RunResult, *, of_batch: bool) -> str | None:
    """The command that resumes a run; None: nothing is left to do, or it cannot be resumed.

    A run of an item is resumed by its batch, whose limits a run cannot raise.
    """
    if result.status in {"completed", "running"} or result.stop_reason == "declined":
        return None
    again = "aideon batch ..." if of_batch else f"aideon runs resume {result.run_id}"
    if result.stop_reason == "budget":
        return _with_higher_budget(again, result.exception, of_batch=of_batch)
    return f"{again} --retry-failed" if of_batch and result.status == "failed" else again


def _with_higher_budget(again: str, refused: BaseException | None, *, of_batch: bool) -> str:
    """The command that resumes what a budget stopped; a recorded run no longer says which."""
    if not isinstance(refused, BudgetExceeded):
        items = "or --item-budget, " if of_batch else ""
        return f"{again} --budget MORE  ({items}or raise the standing limit: aideon budget list)"
    if scope := _standing_limit(refused):
        return f"{again}  (after: aideon budget set {scope} MORE)"
    flag = _FLAGS.get(refused.scope.partition(":")[0])
    return f"{again} {flag} MORE" if flag else again


def _standing_limit(refused: BudgetExceeded) -> str | None:
    """The scope of the standing limit that refused; None: the run or its batch set the limit.

    A limit for each user refuses in the name of one user, and is raised for all.
    """
    from aideon_agents.ledger.budgets.accounts import limits
    from aideon_agents.ledger.budgets.limits import Scope, nanousd

    with options.ledger() as ledger:
        standing = {one.scope: one.limit_nanousd for one in limits(ledger.database)}
    one = Scope.parse(refused.scope)
    both = (str(one), str(dataclasses.replace(one, name=None)))
    limit = nanousd(str(refused.limit))
    return next((scope for scope in both if standing.get(scope) == limit), None)


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """The action of SIGINT and SIGTERM: end the process, unless `ends` has set another one."""

    def __init__(self) -> None:
        self._end: Callable[[], object] = _leave

    def ends(self, interrupt: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        """Let the next signal call `interrupt` in its loop, and the signal after it end the process."""
        self._end = lambda: loop.call_soon_threadsafe(interrupt)

    def handle(self, *_: object) -> None:
        """Handle a signal."""
        end, self._end = self._end, _leave
        end()


@contextlib.contextmanager
def interruptible() -> Generator[Interruption]:
    """Handle SIGINT and SIGTERM within a block; only the main thread receives signals."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = [(each, signal.signal(each, interruption.handle)) for each in _SIGNALS]
    try:
        yield interruption
    finally:
        for each, handler in before:
            signal.signal(each, handler)


def _leave() -> None:
    """Exit without waiting: a node that blocks its thread would block a normal exit."""
    os._exit(INTERRUPTED)


_WIDTH = 78
_INDENT = "  "


def show_questions(
    questions: Sequence[Mapping[str, Any]], run_id: str, write: Callable[[str], None]
) -> None:
    """Print the questions of a run; without questions it is at a breakpoint."""
    command = f"aideon runs resume {run_id}"
    if not questions:
        write(f"the run is at a breakpoint; continue with: {command}")
        return
    for one in questions:
        which = f" ({one['id']})" if len(questions) > 1 else ""
        write(f"{one['node_path'] or 'a node'} asks{which}:")
        for line in _lines(one["question"]):
            write(f"{_INDENT}{line}".rstrip())
    write(f"answer with: {command} --answer {shlex.quote(_example(questions))}")


def _lines(question: Any) -> Iterator[str]:
    """Format a question: text as it is, an object by its keys, other values as JSON."""
    if isinstance(question, str):
        for line in printable(question).splitlines():
            yield from textwrap.wrap(line, _WIDTH - len(_INDENT)) or [""]
        return
    if not isinstance(question, Mapping):
        yield from _lines(json.dumps(question, ensure_ascii=False))
        return
    for key, value in cast("Mapping[str, Any]", question).items():
        inside = list(_lines(value))
        if len(inside) == 1 and len(key) + len(inside[0]) < _WIDTH - 2 * len(_INDENT):
            yield f"{printable(key)}: {inside[0]}"
        else:
            yield f"{printable(key)}:"
            yield from (f"{_INDENT}{line}" for line in inside)


def _example(questions: Sequence[Mapping[str, Any]]) -> str:
    """An answer that fits the questions, for the user to change."""
    answers = {one["id"]: _fitting(one["schema"]) for one in questions}
    answer = answers if len(answers) > 1 else next(iter(answers.values()))
    return json.dumps(answer, ensure_ascii=False)


def _fitting(schema: Any) -> Any:
    from aideon_agents.models.answers.instance import instance

    if not isinstance(schema, dict):
        return "..."
    try:
        return instance(cast("dict[str, Any]", schema), "...")
    except Exception:  # noqa: BLE001 - any schema of a user may be here, and this is only an example
        return {}


_EXIT = {
    "completed": DONE,
    "failed": FAILED,
    "stopped": STOPPED,
    "waiting": WAITING,
    "cancelled": INTERRUPTED,
}


def load(address: str, settings: Settings, replaced: Collection[str]) -> Target:
    """Load the workflow of a run; models of a role that `--model` replaces are not checked."""
    from aideon_agents import tasks
    from aideon_agents.models import catalog

    known = catalog.load(settings.catalog, settings.profile)

    def check(role: str, name: str) -> None:
        if role not in replaced:
            known.checked(name)

    report_ledger_errors_once()
    with contextlib.redirect_stdout(sys.stderr):  # output of a workflow is not the result
        return tasks.load(address, check_model=check)


def execute(
    running: Running,
    *,
    why: str | None,
    stream: bool,
    as_json: bool,
    debug: bool,
    estimate: Callable[[RunResult], str] | None = None,
    page: Watched | None = None,
) -> int:
    """Execute a run, print its result, and return the exit code.

    `why` it is a rehearsal; None: it is not. `estimate` says what it would cost, in one line; None:
    no estimate is wanted. `page` shows it in a browser; None: no page is wanted.
    """
    import asyncio

    if why and stream:
        output.note(rehearsing(why))
    with interruptible() as interruption, asyncio.Runner() as on_loop:
        interruption.ends(running.interrupt, on_loop.get_loop())
        try:
            with contextlib.redirect_stdout(sys.stderr), _progress(streams=stream) as shown:
                result = on_loop.run(running.to_end(_both(shown, page)))
        except SystemExit as left:  # it would end this process, even with code 0
            raise RunError(
                f"a node of {running.spec.start.target} called sys.exit({left.code}): "
                "raise an exception instead"
            ) from left
        if why and not stream:
            output.note(rehearsing(why))
        _show_end(result, estimate, as_json=as_json, debug=debug)
        _warn_of_truncated(result, running)
        if not as_json:  # a program reads the document
            _show_next_step(result, of_batch=running.spec.start.batch_id is not None)
    if page:
        page.end()
    return _EXIT[result.status]


def _show_end(
    result: RunResult,
    estimate: Callable[[RunResult], str] | None,
    *,
    as_json: bool,
    debug: bool,
) -> None:
    if as_json:
        from aideon_agents.runner import document

        output.document(document(result))
    else:
        show(result)
    if estimate and result.status == "completed":
        output.note(estimate(result))
    if debug and result.exception:
        output.trace(result.exception)
    if result.status == "cancelled":
        output.complain(
            f"interrupted: run {result.run_id} is cancelled; "
            f"see its calls with `aideon runs show {result.run_id}`"
        )
    elif result.error or result.status == "stopped":
        output.complain(result.error or str(result.exception))


@contextlib.contextmanager
def _progress(*, streams: bool) -> Generator[Watch | None]:
    """The handler that shows events on stderr: a tree on a terminal, lines elsewhere, or none.

    Without `--stream` the tree has no text, and goes away before the table of costs.
    """
    is_terminal = sys.stderr.isatty()
    if not streams and not is_terminal:
        yield None
        return
    from aideon_agents.cli.stream import EventPrinter, LiveTree

    if is_terminal:
        with LiveTree(stays=streams) as tree:
            yield tree
    else:
        yield EventPrinter()


def _both(shown: Watch | None, page: Watch | None) -> Watch | None:
    if shown is None or page is None:
        return shown or page

    def both(event: Event) -> None:
        shown(event)
        page(event)

    return both


def _show_next_step(result: RunResult, *, of_batch: bool) -> None:
    if result.status == "waiting":
        show_questions(result.questions, result.run_id, output.note)
    elif (hint := resume_hint(result, of_batch=of_batch)) is not None:
        output.note(f"continue with: {hint}")
