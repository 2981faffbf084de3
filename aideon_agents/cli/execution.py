"""Execute a run at the command line: interrupts, progress, result, exit code, and what to do next.

The first Ctrl-C ends the run, the second ends the process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from aideon_agents.cli import asking, options, output
from aideon_agents.cli.options import DONE, FAILED, INTERRUPTED, STOPPED, WAITING, rehearsing
from aideon_agents.cli.output import printable, report_ledger_errors_once
from aideon_agents.errors import BudgetExceeded, InputError, RunError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection, Generator, Mapping

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
        output.result(text)
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
    marks = {"cached": node.cached, "fallback": node.fallback, "cut off": node.truncated}
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
    if refused.needed is None:
        return f"{again}  (once that is known: a higher budget does not help)"
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


_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Windows has no SIGHUP, which a closed terminal sends."""


class Interruption:
    """The action of SIGINT, SIGTERM and SIGHUP: end the process, unless `ends` has set another one."""

    def __init__(self) -> None:
        self._end: Callable[[], object] = _leave
        self._hung_up = False

    def ends(self, interrupt: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        """Let the next signal call `interrupt` in its loop, and the signal after it end the process."""
        self._end = lambda: loop.call_soon_threadsafe(interrupt)

    def raises(self) -> None:
        """Let the next signal raise KeyboardInterrupt: nothing runs, and a person is asked."""
        self._end = _raise

    def handle(self, number: int, _: object) -> None:
        """Handle a signal. A terminal that closes may send SIGHUP more than once."""
        if number not in (signal.SIGINT, signal.SIGTERM):
            if self._hung_up:
                return
            self._hung_up = True
            output.leave_terminal()
        end, self._end = self._end, _leave
        end()


@contextlib.contextmanager
def interruptible() -> Generator[Interruption]:
    """Handle SIGINT, SIGTERM and SIGHUP within a block; only the main thread receives signals."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = [
        (each, signal.signal(each, interruption.handle))
        for each in _SIGNALS
        if each == signal.SIGINT or signal.getsignal(each) != signal.SIG_IGN  # nohup ignores SIGHUP
    ]
    try:
        yield interruption
    finally:
        for each, handler in before:
            signal.signal(each, handler)


def _raise() -> None:
    raise KeyboardInterrupt


def _leave() -> None:
    """Exit without waiting: a node that blocks its thread would block a normal exit."""
    os._exit(INTERRUPTED)


EXIT = {
    "completed": DONE,
    "failed": FAILED,
    "stopped": STOPPED,
    "waiting": WAITING,
    "cancelled": INTERRUPTED,
}


def load(
    address: str, settings: Settings, replaced: Collection[str], flags: Mapping[str, Any]
) -> Target:
    """Load the workflow of a run; models of a role that `--model` replaces are not checked.

    `flags` may have `allow_outside` and `replace_retired`.
    """
    from aideon_agents import tasks
    from aideon_agents.models import catalog

    known = catalog.load(settings.catalog, settings.profile)

    def check(role: str, name: str) -> None:
        if role not in replaced:
            known.checked(known.successor(name) if flags.get("replace_retired") else name)

    report_ledger_errors_once()
    with contextlib.redirect_stdout(sys.stderr):  # output of a workflow is not the result
        return tasks.load(
            address, check_model=check, allow_outside=bool(flags.get("allow_outside"))
        )


def execute(
    running: Running,
    settings: Settings,
    *,
    why: str | None,
    stream: bool,
    as_json: bool,
    debug: bool,
    estimate: Callable[[RunResult], str] | None = None,
    page: Watched | None = None,
) -> int:
    """Execute a run, print its result, and return the exit code.

    At a terminal, a run that waits for answers asks for them and continues. `why` it is a rehearsal;
    None: it is not. `estimate` says what it would cost, in one line; None: no estimate is wanted.
    `page` shows it in a browser; None: no page is wanted.
    """
    import asyncio

    from aideon_agents.runner import prepare_resume

    if why and stream:
        output.note(rehearsing(why))
    may_ask = not as_json
    # The result is shown before the loop closes, which waits for threads that nodes block.
    with interruptible() as interruption, asyncio.Runner() as on_loop:
        result = to_end(running, interruption, on_loop, stream=stream, page=page)
        while result.status == "waiting" and may_ask and asking.is_interactive():
            interruption.raises()
            if not (answers := asking.ask(result.questions)):
                break
            again = prepare_resume(
                running.spec.graph,
                running.spec.start.run_id,
                answer=answers,
                stream=stream,
                settings=settings,
            )
            if page:
                page.resumes()
            try:
                result = to_end(again, interruption, on_loop, stream=stream, page=page)
            except InputError as wrong:  # an edited result that does not fit; the run still waits
                output.complain(str(wrong))
        if why and not stream:
            output.note(rehearsing(why))
        _show_end(result, estimate, as_json=as_json, debug=debug)
        _warn_of_truncated(result, running)
        if not as_json:  # a program reads the document
            _show_next_step(result, of_batch=running.spec.start.batch_id is not None)
    if page:
        page.end()
    return EXIT[result.status]


def to_end(
    running: Running,
    interruption: Interruption,
    on_loop: asyncio.Runner,
    *,
    stream: bool,
    page: Watched | None,
) -> RunResult:
    """Run until the end, and show how it proceeds."""
    give_up = functools.partial(running.interrupt, gives_up=True)
    interruption.ends(give_up, on_loop.get_loop())
    try:
        with contextlib.redirect_stdout(sys.stderr), _progress(running, streams=stream) as shown:
            watching = [one for one in (shown, page) if one]

            def show(event: Event) -> None:
                for one in watching:
                    one(event)

            return on_loop.run(running.to_end(show if watching else None))
    except SystemExit as left:  # it would end this process, even with code 0
        raise RunError(
            f"a node of {running.spec.start.target} called sys.exit({left.code}): "
            "raise an exception instead"
        ) from left


def _show_end(
    result: RunResult, estimate: Callable[[RunResult], str] | None, *, as_json: bool, debug: bool
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
def _progress(running: Running, *, streams: bool) -> Generator[Watch | None]:
    """The handler that shows events on stderr: a tree on a terminal, lines elsewhere, or none.

    Without `--stream` the tree has no text, and goes away before the table of costs.
    """
    is_terminal = sys.stderr.isatty()
    if not streams and not is_terminal:
        yield None
        return
    from aideon_agents.cli.stream import EventPrinter, LiveTree

    if is_terminal:
        with LiveTree(running.spec.start.graph, stays=streams) as tree:
            yield tree
    else:
        yield EventPrinter()


def _show_next_step(result: RunResult, *, of_batch: bool) -> None:
    if result.status == "waiting":
        asking.show_questions(result.questions, result.run_id, output.note)
    elif (hint := resume_hint(result, of_batch=of_batch)) is not None:
        output.note(f"continue with: {hint}")
