"""The ledger: a row per run, a row per call.

Every row is committed as soon as it is known, so that a killed process loses none.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aideon_agents.errors import Conflict, RunNotFound
from aideon_agents.ledger import rows
from aideon_agents.ledger.budgets.accounts import open_account, open_empty, set_limit
from aideon_agents.ledger.budgets.holds import Budgets
from aideon_agents.ledger.budgets.limits import Amount, Budget, CallDimensions, nanousd
from aideon_agents.ledger.budgets.runs import RunBudget
from aideon_agents.ledger.database import Database, Row, Statements
from aideon_agents.ledger.forks import renewed
from aideon_agents.ledger.identity import now, this_process, those_from, utc_text
from aideon_agents.ledger.models.states import wait_until_written
from aideon_agents.ledger.postgres.address import Address, names_a_server
from aideon_agents.ledger.redaction import stored_line
from aideon_agents.ledger.rows import Call, CallEnd, Content, Run, RunStatus, call_in, run_in
from aideon_agents.ledger.sqlite.database import SqliteDatabase, ledger_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import Self


_NAMED_AT_MOST = 5
"""How many runs an error lists when a reference fits several."""


class Ledger:
    """The cost of every run and every call, in one file or on a server.

    Args:
        place: The file; it, its folder and its tables are created when missing. Or a database.
        busy_seconds: How long to wait for another process that is writing to the file.

    Raises:
        LedgerError: It cannot be opened, read or written; so does every method.
    """

    def __init__(self, place: str | Path | Database, *, busy_seconds: float = 5.0) -> None:
        is_file = isinstance(place, str | Path)
        self.database = SqliteDatabase(Path(place), busy_seconds) if is_file else place
        """Its tables, for the modules of this package."""
        self.path = self.database.path
        """The file; None: it is on a server."""
        self.budgets = Budgets(self.database, self.database.folder)
        """The limits of its calls."""
        renewed.add(self)

    def after_fork(self) -> None:
        """Begin without holds in a forked process: they belong to calls of the parent."""
        self.budgets = Budgets(self.database, self.database.folder)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Open the ledger at an address.

        Args:
            url: `sqlite:///relative/path`, `sqlite:////absolute/path`, a bare path, or
                `postgresql://user:password@host:port/database`.

        Returns:
            The ledger, open.

        Raises:
            LedgerError: The address is of another kind, or what it names cannot be opened.
        """
        if not names_a_server(url):
            return cls(ledger_path(url))
        address = Address.read(url)
        from aideon_agents.ledger.postgres.database import PostgresDatabase  # noqa: PLC0415 - an extra, and slow

        return cls(PostgresDatabase(address))

    def start_run(
        self, start: Run, budget: Budget | None = None, *, tx: Statements | None = None
    ) -> str:
        """Write a run's row, `running` in this process.

        Args:
            start: The run.
            budget: What it may cost; None: only the limits in the ledger apply.
            tx: The transaction to write in; None: its own.

        Returns:
            Its id.
        """
        values = {
            **vars(start),
            **this_process(),
            "status": "running",
            "started_at": utc_text(now()),
            "options": _json(start.options),
            "graph": _json(start.graph),
            "results": None,
            **(start.origin.columns() if start.origin else {}),
        }
        if budget is None:  # one statement is a transaction of its own
            (tx or self.database).write(rows.START_RUN, values)
            return start.run_id
        with self._within(tx) as inside:
            inside.write(rows.START_RUN, values)
            for account, limit in budget.limits(start.run_id):
                open_empty(inside, account, limit)
        return start.run_id

    def set_run_budget(self, run_id: str, budget: Budget) -> None:
        """Replace a run's budget by a new total, which includes what the run has spent."""
        with self.database.transaction() as tx:
            for account, limit in budget.limits(run_id):
                open_account(tx, account, limit)
        self.budgets.forget_limits()

    def set_budget(self, scope: str, budget: Amount, *, warns: bool = False) -> None:
        """Set a standing limit, in place of one on the same scope.

        Args:
            scope: Such as `day`, `run`, `user:alice` or `month:provider:openai`.
            budget: US dollars.
            warns: Only warn, and refuse nothing.

        Raises:
            UserError: The scope or the amount is not valid.
        """
        set_limit(self.database, scope, nanousd(budget), warns=warns)
        self.budgets.forget_limits()

    def run_budget(self, run_id: str | None) -> RunBudget:
        """What a run's calls may still cost; None: they belong to no run."""
        found = self.database.select(rows.RUN_DIMENSIONS, {"run_id": run_id})
        run = CallDimensions(run=run_id, at=utc_text(now()), **(found[0] if found else {}))
        return RunBudget(self.budgets, run)

    def resume_run(self, seen: Run, *, tx: Statements | None = None) -> None:
        """Set a run to `running` again, now in this process.

        Args:
            seen: The run as it was read: of several processes that read the same, one resumes it.
            tx: The transaction to write in; None: its own.

        Raises:
            Conflict: It was resumed in the meantime.
        """
        which = {"run_id": seen.run_id}
        with self._within(tx) as inside:
            (row,) = inside.select(rows.ONE_RUN, which)
            is_now = run_in(row)
            if (is_now.status, is_now.ended_at) != (seen.status, seen.ended_at):
                raise Conflict(
                    f"run {seen.run_id} was resumed in the meantime and is {is_now.status}: "
                    f"`aideon runs show {seen.run_id}` shows it"
                )
            inside.write(rows.RESUME_RUN, {**this_process(), **which})

    def mark_rehearsed(self, run_id: str) -> None:
        """Mark a run as a rehearsal, which is known from its first call on."""
        rehearsed = "UPDATE runs SET rehearsed = 1 WHERE run_id = :run_id"
        self.database.write(rehearsed, {"run_id": run_id})

    def finish_run(
        self,
        run_id: str,
        status: RunStatus,
        *,
        stop_reason: str | None = None,
        error: str | None = None,
        error_type: str | None = None,
        failed_node: str | None = None,
        output: str | None = None,
        results: Mapping[str, Any] | None = None,
        tx: Statements | None = None,
    ) -> bool:
        """Complete a run's row. Only the first finish counts, until the run is resumed.

        Args:
            run_id: The run.
            status: How it ended.
            stop_reason: Why it ended; None: for no particular reason.
            error: What went wrong; stored as one line without keys.
            error_type: The name of the error's class.
            failed_node: The path of the node that failed; None: no node did.
            output: The last result's text, given only when content is recorded.
            results: Every node's result as JSON values, given only when content is recorded.
            tx: The transaction to write in; None: its own.

        Returns:
            Whether the run was running.
        """
        values = {
            "run_id": run_id,
            "status": status,
            "stop_reason": stop_reason,
            "error": None if error is None else stored_line(error),
            "error_type": error_type,
            "failed_node": failed_node,
            "output": output,
            "results": _json(results),
            "ended_at": utc_text(now()),
        }
        return (tx or self.database).write(rows.FINISH_RUN, values) == 1

    def start_call(self, start: Call, *, prompt: str | None = None) -> None:
        """Write a call's row, `started`: from here on money may be spent.

        Args:
            start: The call.
            prompt: Its prompt as JSON, given only when content is recorded. When it cannot be
                stored there is no row either, because the call is not sent then.
        """
        if prompt is None:
            self.database.write(rows.START_CALL, vars(start))
            return
        with self.database.transaction() as tx:
            tx.later(rows.START_CALL, vars(start))
            tx.later(rows.RECORD_PROMPT, {"call_id": start.call_id, "prompt": prompt})

    def finish_call(self, call_id: str, end: CallEnd) -> bool:
        """Complete a call's row, its error as one line without keys.

        Args:
            call_id: The call.
            end: How it ended.

        Returns:
            Whether this was the first end reported for the call. A call is settled once: later
            ends change nothing.
        """
        return self.budgets.settle(call_id, end)

    def record_answer(self, call_id: str, answer: str) -> None:
        """Store the answer of a call as JSON, beside its prompt."""
        self.database.write(rows.RECORD_ANSWER, {"call_id": call_id, "answer": answer})

    def contents(self, run_id: str) -> list[Content]:
        """The prompts and answers of a run, by its full id, in the order of its calls.

        Empty unless the run records content.
        """
        return [
            Content(
                call_id=row["call_id"],
                prompt=json.loads(row["prompt"]),
                answer=None if row["answer"] is None else json.loads(row["answer"]),
            )
            for row in self.select(rows.CONTENTS_OF_RUN, {"run_id": run_id})
        ]

    def find_run(self, ref: str) -> Run:
        """The run that a reference names.

        Args:
            ref: A run id, the unique beginning of one in either case, or `last`.

        Returns:
            The run.

        Raises:
            RunNotFound: None or several match; the message says what to write.
        """
        if ref == "last":
            if newest := self.runs(limit=1):
                return newest[0]
            raise RunNotFound(f"no run in {self.database.name} yet: start one with `aideon run`")
        matches = self.beginning_with(ref, "run_id", rows.RUNS_FROM)
        if len(matches) > 1:
            raise RunNotFound(f"several runs begin with {ref!r}, {write_more(matches, 'run_id')}")
        if not matches:
            raise RunNotFound(
                f"no run {ref!r} in {self.database.name}: `aideon runs list` shows them"
            )
        return run_in(matches[0])

    def beginning_with(self, ref: str, column: str, sql: str) -> list[Row]:
        """The rows whose id begins with some characters, or only the one whose id they are."""
        start = ref.strip().upper()
        near = self.select(sql, those_from(start)) if start else []
        found = [row for row in near if row[column].startswith(start)]
        return [row for row in found if row[column] == start] or found

    def runs(self, limit: int | None = None) -> list[Run]:
        """Runs, the newest first.

        Args:
            limit: How many at most; None: all.

        Returns:
            Their rows. A run whose process is gone reads `crashed`.
        """
        most = rows.MOST_ROWS if limit is None else limit
        newest = rows.NEWEST_RUNS_IN_FILE if self.path else rows.NEWEST_RUNS
        return [run_in(row) for row in self.select(newest, {"most": most})]

    def calls(self, run_id: str) -> list[Call]:
        """A run's calls, by its full id, in the order in which they started."""
        return [call_in(row) for row in self.select(rows.CALLS_OF_RUN, {"run_id": run_id})]

    def select(self, sql: str, values: Mapping[str, object] | None = None) -> list[Row]:
        """Read rows."""
        return self.database.select(sql, values or {})

    def close(self) -> None:
        """Close it. Rows are safe without this."""
        wait_until_written()
        self.budgets.close()
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Ledger({self.database.name!r})"

    def _within(self, tx: Statements | None) -> AbstractContextManager[Statements]:
        return self.database.transaction() if tx is None else contextlib.nullcontext(tx)


def write_more(matches: Sequence[Row], column: str) -> str:
    """What to do about a reference that fits several rows, with their ids."""
    named = ", ".join(row[column] for row in matches[:_NAMED_AT_MOST])
    return f"write more of one: {named}{', ...' if len(matches) > _NAMED_AT_MOST else ''}"


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)
