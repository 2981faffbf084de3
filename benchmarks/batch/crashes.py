"""A batch that is killed at random and goes on: what is lost, doubled, repeated, or not accounted for.

A repeated call is one that was made again because the answer of the first had not been written down
when the process died. Each item in flight may have one; so at most as many are repeated at a kill as
items were in flight then. What the provider charged must be known to the last nano-dollar, or stand
in a row that says that nobody knows.
"""

from __future__ import annotations

import collections
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aideon_agents import Ledger
from aideon_agents.testing import Fault, Rate, SimulatedProvider

if TYPE_CHECKING:
    import argparse

HERE = Path(__file__).parent
CALLS = 3
AT_ONCE = 50
RATES = {
    "openai/gpt-oss-120b": Rate(150, 600),
    "Qwen/Qwen3.5-9B": Rate(170, 250),
}
"""In nano-dollars a token, written down once more: the bill shares no code with the ledger."""
MODELS = ["--model", "executor=together:Qwen/Qwen3.5-9B"]
MODELS += ["--model", "creative=together:openai/gpt-oss-120b"]


def options(parser: argparse.ArgumentParser) -> None:
    """What can be said about this measurement."""
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)


def measure(given: argparse.Namespace) -> bool:
    """Print the figures; returns whether every bound is kept."""
    chance = random.Random(given.seed)
    with (
        tempfile.TemporaryDirectory() as name,
        SimulatedProvider(
            announce=False, faults=Fault("delay", seconds=0.2), rates=RATES
        ) as provider,
    ):
        folder = Path(name)
        ids = [f"item-{number}" for number in range(given.items)]
        lines = (json.dumps({"id": one, "task": f"Heat pumps for {one}."}) for one in ids)
        (folder / "items.jsonl").write_text("\n".join(lines), "utf-8")
        calls = given.items * CALLS
        marks = sorted(chance.randrange(1, calls) for _ in range(given.kills))
        allowed = 0
        for mark in marks:
            allowed += _until_killed(folder, provider, mark)
        result = json.loads(_start(folder, provider).communicate()[0])
        is_whole = wrote_each_once(folder, ids, provider.bill.requests, allowed)
        with Ledger(folder / ".aideon" / "ledger.db") as ledger:
            return accounts_for_all(provider, ledger, result) and is_whole


def _start(folder: Path, provider: SimulatedProvider) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "aideon_agents", "batch", str(HERE / "three_nodes.py")]
    command += ["items.jsonl", "-o", "out.jsonl", "--checkpoint", "--json", *MODELS]
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
    environment |= {"TOGETHER_API_KEY": "key", "TOGETHER_BASE_URL": provider.base_url}
    return subprocess.Popen(
        [*command, "--max-concurrency", str(AT_ONCE)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
    )


def _until_killed(folder: Path, provider: SimulatedProvider, mark: int) -> int:
    """Run until the provider has been asked so often; returns how many items were in flight."""
    with _start(folder, provider) as running:
        while provider.bill.requests < mark and running.poll() is None:
            time.sleep(0.005)
        running.send_signal(signal.SIGKILL)
        asked = provider.in_flight
    with Ledger(folder / ".aideon" / "ledger.db") as ledger:
        (row,) = ledger.select("SELECT COUNT(*) AS n FROM items WHERE status = 'running'")
    print(
        f"killed after {provider.bill.requests:,} calls with {row['n']} items in flight, {asked} at provider"
    )
    return int(row["n"])


def wrote_each_once(folder: Path, ids: list[str], requests: int, allowed: int) -> bool:
    """Print what OUT lacks or has twice, and which calls were made again; returns whether all is well."""
    written = [json.loads(line) for line in (folder / "out.jsonl").read_text("utf-8").splitlines()]
    times = collections.Counter(line["id"] for line in written)
    lost = sum(1 for one in ids if not times[one])
    doubled = sum(count - 1 for count in times.values())
    in_order = [line["id"] for line in written] == ids
    failed = sum(line["status"] != "completed" for line in written)
    repeated = requests - len(ids) * CALLS
    print(f"items lost {lost}, doubled in OUT {doubled}, failed {failed}; in order: {in_order}")
    print(f"calls repeated {repeated}, bound {allowed}: items in flight at the kills")
    return not (lost or doubled or failed) and in_order and repeated <= allowed


def accounts_for_all(provider: SimulatedProvider, ledger: Ledger, result: dict[str, Any]) -> bool:
    """Print what of the provider's bill the ledger does not know; returns whether it knows all."""
    while provider.in_flight:  # requests whose callers have died are still being charged
        time.sleep(0.05)
    billed = {line.request_id: line.nanousd or 0 for line in provider.bill.calls}
    by_call = {
        request.headers.get("x-aideon-call", ""): billed.get(request.request_id, 0)
        for request in provider.requests
    }
    rows = {row["call_id"]: row["cost_nanousd"] for row in ledger.select("SELECT * FROM calls")}
    unknown = [call for call, cost in rows.items() if cost is None]
    missing = sum(cost for call, cost in by_call.items() if call not in rows)
    wrong = sum(abs(cost - by_call.get(call, 0)) for call, cost in rows.items() if cost is not None)
    says_so = result["complete"] is not bool(unknown)
    print(
        f"money unaccounted {missing + wrong} nano-dollars of {sum(billed.values()):,}; "
        f"{len(unknown)} rows say that nobody knows (charged: "
        f"{sum(by_call.get(call, 0) for call in unknown):,})"
    )
    return not (missing or wrong) and says_so
