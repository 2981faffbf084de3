"""The calls of tools: which node called what, when, for how long, and whether it failed.

A tool costs nothing that the ledger knows of, so a row is written when a call ends, and one that
cannot be written stops nothing. What a tool was given and returned is content.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import threading
import time
from collections import Counter
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.messages import BaseMessage
from langgraph.errors import GraphBubbleUp

from aideon_agents.errors import LedgerError
from aideon_agents.ledger import tags
from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.ledger.redaction import stored_line, without_keys
from aideon_agents.ledger.rows import RECORD_ANSWER, RECORD_PROMPT
from aideon_agents.node_paths import node_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from uuid import UUID

    from aideon_agents.ledger.store import Ledger

_log = logging.getLogger(__name__)

ToolStatus = Literal["ok", "error", "cancelled"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToolCall:
    """One call of a tool."""

    tool_call_id: str
    """LangChain's run id of the call."""
    run_id: str
    node_path: str
    name: str
    started_at: str
    round: int = 1
    status: ToolStatus = "ok"
    error: str | None = None
    """One line without keys; None: it did not fail."""
    duration_ms: int | None = None
    """None: no end was recorded."""
    arguments: str | None = None
    result: str | None = None
    """Both are None unless content is recorded."""


_COLUMNS = tuple(
    each.name for each in dataclasses.fields(ToolCall) if each.name not in ("arguments", "result")
)
_INSERT = (
    f"INSERT INTO tool_calls ({', '.join(_COLUMNS)})"  # noqa: S608 - our names
    f" VALUES ({', '.join(f':{name}' for name in _COLUMNS)}) ON CONFLICT DO NOTHING"
)
_OF_RUN = (
    f"SELECT {', '.join(_COLUMNS)}, contents.prompt AS arguments, contents.answer AS result"  # noqa: S608 - as above
    " FROM tool_calls LEFT JOIN contents ON contents.call_id = tool_calls.tool_call_id"
    " WHERE run_id = :run_id ORDER BY started_at, tool_call_id"
)


def tool_calls(ledger: Ledger, run_id: str) -> list[ToolCall]:
    """The calls of tools in a run, by its full id, in the order in which they started."""
    return [
        ToolCall(
            **{name: row[name] for name in _COLUMNS},
            arguments=None if row["arguments"] is None else json.loads(row["arguments"]),
            result=None if row["result"] is None else json.loads(row["result"]),
        )
        for row in ledger.select(_OF_RUN, {"run_id": run_id})
    ]


def counts(calls: Iterable[ToolCall]) -> dict[str, Counter[str]]:
    """How often each node called each tool, by node path and name."""
    found: dict[str, Counter[str]] = {}
    for one in calls:
        found.setdefault(one.node_path, Counter())[one.name] += 1
    return found


def _as_it_is(words: str) -> str:
    return words


withheld: ContextVar[Callable[[str], str]] = ContextVar("withheld", default=_as_it_is)
"""What is stored of a tool's error: an agent's rules on privacy may leave out its words."""


class OpenTools:
    """The calls of tools that are under way, from LangChain's events."""

    def __init__(self, ledger: Ledger, *, records: bool) -> None:
        self._ledger = ledger
        self._records = records
        self._lock = threading.Lock()
        self._open: dict[UUID, tuple[ToolCall, float, str]] = {}

    def begin(
        self, call: UUID, run_id: str, name: str, given: str, metadata: Mapping[str, Any]
    ) -> None:
        """Remember a call that starts."""
        begun = ToolCall(
            tool_call_id=str(call),
            run_id=run_id,
            node_path=node_path(metadata),
            name=name,
            round=metadata.get(tags.ROUND, 1),
            started_at=utc_text(now()),
        )
        with self._lock:
            self._open[call] = (begun, time.perf_counter(), given)

    def end(self, call: UUID, output: Any = None, error: BaseException | None = None) -> None:
        """Write the row of a call that has ended; one that asks a person has not."""
        with self._lock:
            found = self._open.pop(call, None)
        if found is None or isinstance(error, GraphBubbleUp):
            return
        begun, started, given = found
        failed = error is not None or getattr(output, "status", None) == "error"
        text = output.text if isinstance(output, BaseMessage) else output
        why = (f"{type(error).__name__}: {error}" if error else str(text)) if failed else None
        ended = dataclasses.replace(
            begun,
            status="error" if failed else "ok",
            error=None if why is None else withheld.get()(stored_line(why)),
            duration_ms=round((time.perf_counter() - started) * 1000),
        )
        self._write(ended, given, None if failed else str(text))

    def cancel(self, run_id: str | None) -> None:
        """Write the rows of the calls that were under way when their run ended."""
        with self._lock:
            left = [key for key, (begun, *_) in self._open.items() if begun.run_id == run_id]
            calls = [self._open.pop(key) for key in left]
        for begun, _, given in calls:
            self._write(dataclasses.replace(begun, status="cancelled"), given, None)

    def _write(self, ended: ToolCall, given: str, result: str | None) -> None:
        row = {name: getattr(ended, name) for name in _COLUMNS}
        try:
            with self._ledger.database.transaction() as tx:
                tx.write(_INSERT, row)
                if self._records:
                    which = {"call_id": ended.tool_call_id}
                    tx.write(RECORD_PROMPT, which | {"prompt": _json(given)})
                    if result is not None:
                        tx.write(RECORD_ANSWER, which | {"answer": _json(result)})
        except LedgerError as refused:
            _log.warning("the call of tool %s is not recorded: %s", ended.name, refused)


def _json(text: str) -> str:
    return json.dumps(without_keys(text), ensure_ascii=False)
