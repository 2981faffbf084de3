"""A budget that cannot be overspent: the run stops, and resumes where it stopped with more money."""

from pathlib import Path
from tempfile import TemporaryDirectory

from aideon_agents import Ledger, Settings, creative, executor, parallel, resume, run, sequential
from aideon_agents.testing import SimulatedProvider

graph = sequential(
    executor("facts", max_tokens=256),
    parallel(*(creative(f"draft {number}", max_tokens=256) for number in range(1, 9))),
    executor("choice", max_tokens=256),
)

with (
    SimulatedProvider() as provider,
    TemporaryDirectory() as folder,
    Ledger(Path(folder) / "ledger.db") as ledger,
):
    settings = Settings(together_api_key="any", together_base_url=provider.base_url, offline=False)
    first = run(graph, "Heat pumps.", budget="0.0003", settings=settings, ledger=ledger)
    print(first.status, first.stop_reason, first.cost.usd, len(first.results))

    then = resume(graph, first.run_id, budget="0.05", settings=settings, ledger=ledger)
    print(then.status, then.cost.usd, len(then.results))
    print(then.cost.calls, "calls and", len(provider.requests), "requests: nothing was asked twice")
