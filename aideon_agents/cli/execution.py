"""A run on its way at the command line: interruptible, shown, and ended with its exit code."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from typing import TYPE_CHECKING

from aideon_agents.cli import going_on, output, questions
from aideon_agents.cli.interrupting import interruptible
from aideon_agents.cli.quiet import tell_ledger_errors_once
from aideon_agents.cli.result import show
from aideon_agents.cli.watching import Watching
from aideon_agents.cli.words import rehearsing
from aideon_agents.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator
    from contextlib import AbstractContextManager

    from aideon_agents.cli.watch import Watched
    from aideon_agents.ledger.reports import Cost
    from aideon_agents.runner import Event, RunResult
    from aideon_agents.runner.running import Running
    from aideon_agents.settings import Settings
    from aideon_agents.tasks.target import Target

    Watch = Callable[[Event], None]

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
                f"a node of {running.start.target} called sys.exit({left.code}): let it raise"
            ) from left
        return showing.end(result)


@contextlib.contextmanager
def _shown(*, asked: bool) -> Generator[Watch | None]:
    """What shows a run on stderr: a tree on a terminal, lines elsewhere; None: nobody asked."""
    if not asked:
        yield None
    elif sys.stderr.isatty():
        from aideon_agents.cli.live_tree import LiveTree  # noqa: PLC0415 - help must not wait

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
        questions.show(result.questions, result.run_id, output.note)
    elif (how := going_on.command(result, of_batch=of_batch)) is not None:
        output.note(f"go on with: {how}")
