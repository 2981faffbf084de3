"""Writes a small ledger the way the package on the path writes it.

    python tests/ledger/schemas/make.py [FOLDER]

Run with a release's own code, so that the file is what its users have. It uses what every release
has, and leaves out what one has not. Nothing of the machine it runs on gets into the file.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import sqlite3
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

from aideon_agents.ledger import schema, store
from aideon_agents.ledger.pricing import Usage
from aideon_agents.ledger.rows import Call, CallEnd, CallStatus, Run

OWNED = {"host": "a build machine", "pid": 4711}
OWNED |= {"process_start": "00000000-0000-4000-8000-000000000000:1234"}
BEGIN = datetime(2026, 11, 20, 9, tzinfo=UTC)
RUNS = (
    {"run_id": "01M7Z000000000000000000001", "workflow": "article", "target": "article"}
    | {"user": "ada", "tier": "premium", "key_id": "aid_1", "request_id": "r-1"}
    | {"key_source": "user"},
    {"run_id": "01M7Z000000000000000000002", "workflow": "brief", "rehearsed": True},
    {"run_id": "01M7Z000000000000000000003", "workflow": "Wärmepumpen 熱 🌡", "thread": "t-1"}
    | {"user": "Zoë", "tier": "free", "options": {"timeout": 5.0}, "target_hash": "ab" * 32}
    | {"graph": {"nodes": []}, "batch_id": "b-1", "item_id": "7", "task_hash": "cd" * 32},
    {"run_id": "01M7Z000000000000000000004", "workflow": "graph"},
    {"run_id": "01M7Z000000000000000000005", "workflow": "still running"},
)
ENDS: tuple[dict[str, Any], ...] = (
    {"status": "completed"},
    {"status": "completed", "stop_reason": "max_rounds"},
    {"status": "completed", "output": "Wärme\nfließt 熱", "results": {"draft": {"content": "🌡"}}},
    {"status": "failed", "error": "a node is broken", "error_type": "ValueError"},
)
FULL = Usage(
    input_tokens=1000,
    output_tokens=100,
    cache_read_tokens=200,
    cache_creation_tokens=0,
    reasoning_tokens=50,
)
ANSWERED = {"response_model": "openai/gpt-oss-120b", "finish_reason": "stop", "usage": FULL}
BROKEN = "broken" if "broken" in get_args(CallStatus) else "truncated"
REPORTED = {"usage_source": "reported", "price_source": "genai-prices 0.2.3"}
CALLS: tuple[tuple[int, dict[str, Any], dict[str, Any] | None], ...] = (
    (0, {}, {"status": "ok", "cost_nanousd": 230_000, **ANSWERED, **REPORTED}),
    (0, {"purpose": "research"}, {"status": "error", "error_type": "Transient", "error": "503"}),
    (0, {"attempt": 2}, {"status": "ok", "cost_nanousd": 2**53 + 1, **ANSWERED, **REPORTED}),
    (0, {"candidate": 1}, {"status": BROKEN, "usage": FULL, "usage_source": "estimated"}),
    (0, {"round": 2, "shortened": True, "economized": True}, {"status": "cancelled"}),
    (
        0,
        {"round": 3},
        {"status": "cached", "cost_nanousd": 0, "time_to_first_token_ms": 1, "saved_nanousd": 12},
    ),
    (0, {"node_path": "", "role": ""}, None),
    (1, {"rehearsed": True}, {"status": "ok", "cost_nanousd": 10, **ANSWERED, **REPORTED}),
    (
        1,
        {"simulated": True},
        {"status": "ok", "cost_nanousd": 11, "simulated": True, **ANSWERED, **REPORTED},
    ),
    (2, {"node_path": "prüfen/熱"}, {"status": "ok", "cost_nanousd": 7, **ANSWERED, **REPORTED}),
    (3, {"requested_model": "nobody/knows-its-price"}, {"status": "ok", **ANSWERED}),
    (
        3,
        {"feature": "tool_call", "choice": '{"rule": "role", "rung": "medium"}'},
        {"status": "ok", **ANSWERED, "finish_reason": "length", "truncated": True},
    ),
    (4, {}, None),
)
RUN, DAY = RUNS[4]["run_id"], "2026-11-20T09:00:00.000Z"
HOLD = {"run_id": RUN, "node_path": "draft", "provider": "together", "taken_at": DAY, **OWNED}
HOLD |= {"amount_nanousd": 3, "accounts": "[]", "expires_at": 1.5}
BATCH = {"batch_id": "b-1", "workflow": "Wärme", "rehearsed": 0, "engine": "local", "items": 3}
BATCH |= {"identity": "ef" * 32, "out_path": "out.jsonl", "status": "stopped", "is_cancelled": 0}
BATCH |= {"graph": '{"nodes": ["熱"]}', "version": "ab" * 6, "options": "cd" * 32}
BATCH |= {"carried_from": "b-0"}
BATCH |= {"started_at": DAY, "seen_at": DAY, "stop_reason": "budget", **OWNED}
ITEM = {"batch_id": "b-1", "attempts": 1, "content": "ef" * 16, "is_carried": 1}
REFUSED = {"reason": "another version 熱", "refused_at": "2026-11-20T09:00:01.000Z"}
REST: tuple[tuple[str, dict[str, Any]], ...] = (
    ("budgets", {"scope": "user:ada", "limit_nanousd": 10**9, "warns": 0}),
    (
        "accounts",
        {"account": f"run:{RUN}", "limit_nanousd": 9, "spent_nanousd": 2} | {"held_nanousd": 3},
    ),
    ("told", {"account": "user:ada", "limit_nanousd": 10**9, "percent": 80}),
    *(
        ("holds", {"call_id": f"hold-{status}", "status": status, **HOLD})
        for status in ("held", "settled", "released", "forfeited", "unknown")
    ),
    ("batches", BATCH),
    ("items", {"position": 0, "item_id": "7", "status": "completed", "run_id": RUN, **ITEM}),
    ("items", {"position": 1, "item_id": "8", "status": "invalid", "error": "no task", **ITEM}),
    ("outputs", {"batch_id": "b-1", "position": 0, "document": '{"id": "7 🌡"}'}),
    (
        "tool_calls",
        {"tool_call_id": "t-1", "run_id": RUN, "node_path": "draft", "round": 1}
        | {"name": "nachschlagen 熱", "status": "error", "error": "ValueError: no such topic"}
        | {"started_at": DAY, "duration_ms": 12},
    ),
    ("refusals", {"batch_id": "b-1", "host": OWNED["host"], "pid": OWNED["pid"], **REFUSED}),
    (
        "outcomes",
        {"task_class": "executor/zusammenfassen 熱", "model": "together:openai/gpt-oss-120b"}
        | {"score": 0.75, "source": "person", "run_id": RUN, "node_path": "draft"}
        | {"rehearsed": 0, "recorded_at": DAY},
    ),
    (
        "model_states",
        {"breaker": "ab" * 8, "provider": "together", "model": "m", "key_name": "TOGETHER_API_KEY"}
        | {"state": "open", "reason": "together:m answered 500", "rests_until": DAY, "number": 1}
        | {"changed_at": DAY, "simulated": 0, **OWNED},
    ),
    (
        "answers",
        {"key": "ab" * 32, "prompt": "cd" * 32, "model": "together:m", "answer": '{"type": "ai"}'}
        | {"bytes": 14, "simulated": 0, "stored_at": 1.5, "used_at": 2.5},
    ),
    ("leases", {"key": "ef" * 32, "owner": "0" * 32, "expires_at": 0.5, **OWNED}),
    (
        "served",
        {"run_id": RUNS[0]["run_id"], "workflow": "brief", "intent": "done", "renewed_at": 1.5},
    ),
    (
        "run_events",
        {
            "run_id": RUNS[0]["run_id"],
            "number": 1,
            "at": "2026-11-20T09:00:00.000Z",
            "kind": "token",
            "document": '{"node_path": "draft", "text": "🌡"}',
        },
    ),
    (
        "served_batches",
        {"batch_id": "b-1", "user_id": "ada", "workflow": "brief", "intent": "done", "folder": "b"},
    ),
    (
        "idempotency",
        {
            "caller": "ada",
            "word": "a",
            "digest": "ef" * 32,
            "run_id": RUNS[0]["run_id"],
            "at": "2026-11-20T09:00:00.000Z",
        },
    ),
    (
        "threads",
        {
            "thread_id": "t-1",
            "user_id": "ada",
            "created_at": "2026-11-20T09:00:00.000Z",
            "updated_at": "2026-11-20T09:00:00.000Z",
        },
    ),
    (
        "users",
        {"user_id": "ada", "name": "Ada 熱", "email": "ada@example.org", "role": "admin"}
        | {"tier": "premium", "created_at": DAY},
    ),
    ("identities", {"issuer": "https://id.example.org", "subject": "7", "user_id": "ada"}),
    (
        "api_keys",
        {"key_id": "0123456789", "lineage": "0123456789", "user_id": "ada", "name": "laptop"}
        | {"digest": "ab" * 32, "scopes": '["runs"]', "workflows": '["brief"]'}
        | {"created_at": DAY, "expires_at": DAY, "grace_until": DAY, "used_on": DAY[:10]},
    ),
    (
        "sessions",
        {"digest": "cd" * 32, "user_id": "ada", "csrf": "ef" * 16, "key_id": "0123456789"}
        | {"created_at": DAY, "expires_at": DAY},
    ),
    ("sign_in_links", {"digest": "ef" * 32, "user_id": "ada", "expires_at": DAY, "used_at": DAY}),
    (
        "flags",
        {"name": "together_ai_fallback", "is_on": 1, "share": 10}
        | {"changed_by": "ada", "changed_at": DAY},
    ),
    ("audit", {"number": 1, "body": '{"action": "user.added"}', "digest": f"sha256:{'ab' * 32}"}),
    (
        "quotas",
        {"subject": "user:ada", "feature": "text_generation", "unit": "tokens", "per": "day"}
        | {"most": 10_000, "set_by": "root", "set_at": DAY},
    ),
    (
        "counters",
        {"account": "day:2026-11-20:user:ada:text_generation:tokens", "used": 7, "held": 3},
    ),
    ("uses", {"use_id": "u-1", "amounts": '{"c": 3}', "status": "held", "taken_at": DAY}),
    (
        "quota_requests",
        {"id": "q-1", "user_id": "Zoë", "feature": "text_generation", "unit": "requests"}
        | {"asked": 100, "reason": "熱", "status": "open", "asked_at": DAY},
    ),
    (
        "provider_keys",
        {"row_id": "pk-1", "owner": "system", "provider": "together", "share": 100}
        | {"ring_id": "a", "wrapped": "AA==", "sealed": "AA==", "last4": "x1y2"}
        | {"created_by": "root", "created_at": DAY, "share_since": DAY, "may_fall_back": 0},
    ),
    (
        "artifacts",
        {"sha256": "ab" * 32, "call_id": "00000000-0000-7000-8000-000000000000"}
        | {"run_id": RUNS[0]["run_id"], "mime": "image/png", "bytes": 67, "width": 1, "height": 1}
        | {"created_at": DAY},
    ),
    (
        "provider_jobs",
        {"job_id": "j-1", "batch_id": "b-1", "model": "together:m", "status": "running"}
        | {"lines": 1, "file_id": "file-1", "provider_job": "batch_1", "made_at": DAY},
    ),
    (
        "provider_lines",
        {"run_id": RUNS[2]["run_id"], "node_path": "draft", "number": 1, "batch_id": "b-1"}
        | {"call_id": "c-1", "model": "together:m", "job_id": "j-1", "tries": 1, "state": "sent"},
    ),
    ("tickets", {"account": "user:ada", "place": 1, "call_id": "c", "expires_at": 0.5, **OWNED}),
)
PROMPT = json.dumps([{"role": "user", "content": "Wärme 熱"}])
_ticks = itertools.count()


def main(folder: Path) -> None:
    """Write the newest schema's file."""
    store.this_process = lambda: OWNED
    store.now = lambda: BEGIN + timedelta(seconds=next(_ticks))
    path = folder / f"{schema.STEPS[-1].__name__}.db"
    path.unlink(missing_ok=True)
    with store.Ledger(path) as ledger:
        for number, run in enumerate(RUNS):
            ledger.start_run(Run(**_known(Run, run)))
            _calls(ledger, number)
        for run, end in zip(RUNS, ENDS, strict=False):
            ledger.finish_run(run["run_id"], **end)
    _rest(path)
    _pack(path)
    print(path, path.stat().st_size)  # noqa: T201 - a command


def _calls(ledger: Any, number: int) -> None:
    for place, (of, start, end) in enumerate(CALLS):
        if of != number:
            continue
        call_id = f"00000000-0000-7000-8000-{place:012}"
        named = {"node_path": "draft", "role": "creative", "provider": "together"} | start
        named = {"requested_model": "openai/gpt-oss-120b", "started_at": _time()} | named
        named |= {"call_id": call_id, "run_id": RUNS[of]["run_id"]}
        begun = Call(**_known(Call, named))
        if of != 2 or not hasattr(ledger, "record_answer"):
            ledger.start_call(begun)
        else:
            if hasattr(ledger, "record_prompt"):  # in 0.1.0
                ledger.start_call(begun)
                ledger.record_prompt(call_id, PROMPT)
            else:
                ledger.start_call(begun, prompt=PROMPT)
            ledger.record_answer(call_id, json.dumps({"role": "assistant", "content": "🌡"}))
        if end:
            ledger.finish_call(call_id, CallEnd(duration_ms=300, **_known(CallEnd, end)))


def _rest(path: Path) -> None:
    """Rows of the tables that the release has besides."""
    rows = sqlite3.connect(path)
    for table, made in REST:
        found = rows.execute("SELECT name FROM pragma_table_info(?)", (table,)).fetchall()
        if names := [name for (name,) in found if name in made]:
            columns = ", ".join(names)
            places = ", ".join(f":{name}" for name in names)
            rows.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})", made)  # noqa: S608 - our names
    rows.commit()
    rows.close()


def _pack(path: Path) -> None:
    """Make it one small file."""
    rows = sqlite3.connect(path, isolation_level=None)
    rows.execute("UPDATE _sqlite_migrations SET applied_at = '2026-11-20 09:00:00'")
    rows.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    rows.execute("VACUUM")
    rows.close()


def _known(shape: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    """What this release's shape has a field for."""
    fields = {field.name for field in dataclasses.fields(shape)}
    return {name: value for name, value in values.items() if name in fields}


def _time() -> str:
    return (BEGIN + timedelta(seconds=next(_ticks))).strftime("%Y-%m-%dT%H:%M:%S.000Z")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
