"""Try a failing provider without paying: a real server on loopback, with faults and a bill."""

from pathlib import Path
from tempfile import TemporaryDirectory

from aideon_agents import Ledger, Settings, creative, run, sequential
from aideon_agents.testing import Fault, SimulatedProvider

with (
    TemporaryDirectory() as folder,
    Ledger(Path(folder) / "ledger.db") as ledger,
    SimulatedProvider(faults=[Fault(503), Fault(429, retry_after=0.1)]) as provider,
):
    settings = Settings(together_api_key="any", together_base_url=provider.base_url, offline=False)
    result = run(sequential(creative("draft")), "A haiku.", settings=settings, ledger=ledger)
    for call in ledger.calls(result.run_id):
        print(call.requested_model, call.attempt, call.status, call.error_type, call.usd)
    print("the provider's bill:", provider.bill.output_tokens, "tokens out")
