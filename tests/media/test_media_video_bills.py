"""Videos of the documents' tables at a simulated provider: the ledger says what the bill says."""

from __future__ import annotations

from decimal import Decimal

import pytest

from aideon_agents import run, sequential, video
from aideon_agents.errors import UserError
from aideon_agents.media.rehearsal import mp4, png
from aideon_agents.testing import Fault, MediaPlan, Rate, SimulatedProvider

PRO, LITE = "ByteDance/Seedance-1.0-pro", "ByteDance/Seedance-1.0-lite"
ZEROSCOPE = "anotherjesse/zeroscope-v2-xl"
RATES = {PRO: Rate(0, 0, each=114_000_000), LITE: Rate(0, 0, each=28_000_000)}


@pytest.fixture
def serve(monkeypatch):
    """Starts one simulated provider that is Runway, Replicate and Together."""
    opened = []

    def start(*faults, **more):
        plan = MediaPlan(job_seconds=more.pop("job_seconds", 0.2))
        made = SimulatedProvider(faults=faults, rates=RATES, media=plan, **more).__enter__()
        opened.append(made)
        origin = made.base_url.removesuffix("/v1")
        for name in ("RUNWAYML_API_SECRET", "REPLICATE_API_TOKEN", "TOGETHER_API_KEY"):
            monkeypatch.setenv(name, f"{name.lower()}-1234")
        monkeypatch.setenv("RUNWAYML_BASE_URL", origin)
        monkeypatch.setenv("REPLICATE_BASE_URL", origin)
        monkeypatch.setenv("TOGETHER_BASE_URL", made.base_url)
        return made

    yield start
    for one in opened:
        one.__exit__(None, None, None)


def agree(provider, ledger, run_id):
    """What the ledger and the bill have, call by call, where anything was begun."""
    begun = [one for one in ledger.calls(run_id) if one.provider_job]
    billed = [one for one in provider.bill.calls if one.unit is not None]
    assert [(one.unit, one.quantity, one.cost_nanousd) for one in begun] == [
        (one.unit, one.quantity, one.nanousd) for one in billed
    ]
    return begun


ROWS = [
    # 003: Runway for premium; its Gen-2 is gone, and gen4.5 came after it
    ("premium", "generate", "runway", "gen4.5"),
    ("enterprise", "generate", "runway", "gen4.5"),
    # 003: Replicate's Zeroscope for free
    ("free", "generate", "replicate", ZEROSCOPE),
    # 003: edit_video and extend_video of every provider; those that can
    ("premium", "edit", "runway", "aleph2"),
    ("premium", "extend", "runway", "seedance2_5"),
    ("premium", "image", "runway", "gen4.5"),
    ("free", "edit", "replicate", ZEROSCOPE),
    ("free", "image", "replicate", ZEROSCOPE),
]


@pytest.mark.parametrize("row", ROWS, ids=[f"{row[0]}-{row[1]}" for row in ROWS])
def test_each_row_of_the_tables_works_and_is_billed_as_recorded(serve, ledger, folder, row):
    tier, operation, provider, model = row
    (folder / "clip.mp4").write_bytes(mp4(4))
    (folder / "house.png").write_bytes(png(4, 4))
    files = {"edit": "clip.mp4", "extend": "clip.mp4", "image": "house.png"}
    given = {operation: str(folder / files[operation])} if operation in files else {}
    simulated = serve()
    graph = sequential(video(duration=4, **given))
    result = run(graph, "A red house in the snow", tier=tier, ledger=ledger)
    assert result.status == "completed", result.error
    assert result.results["video"].artifacts[0].mime == "video/mp4"
    (call,) = agree(simulated, ledger, result.run_id)
    assert (call.provider, call.requested_model.partition(":")[0]) == (provider, model)
    assert (call.usd is None) == (provider == "replicate")


@pytest.mark.parametrize("tier", ["free", "premium"])
def test_together_is_the_next_of_both_tiers(serve, ledger, tier):
    simulated = serve(Fault(402))
    result = run(sequential(video()), "A red house", tier=tier, ledger=ledger, budget=None)
    assert result.status == "completed", result.error
    (call,) = agree(simulated, ledger, result.run_id)
    model, usd = {"free": (LITE, "0.14"), "premium": (PRO, "0.57")}[tier]
    assert (call.requested_model, call.usd) == (model, Decimal(usd))
    assert [one.status for one in ledger.calls(result.run_id)] == ["error", "ok"]


def test_a_retired_model_of_the_documents_names_its_successor(serve, ledger):
    serve()
    with pytest.raises(UserError, match=r"runway:gen4\.5"):
        run(sequential(video(model="runway:gen-2")), "A red house", ledger=ledger)


@pytest.mark.parametrize(
    ("fault", "providers"),
    [
        ("unknown_state", ["runway"]),
        ("job_failed", ["runway", "runway"]),  # refunded, so it is tried again
        ("job_aborted", ["runway", "runway"]),
        ("moderated", ["runway"]),
        ("link_forbidden", ["runway"]),
        ("link_missing", ["runway"]),
        ("link_redirects", ["runway"]),
    ],
)
def test_faults_of_jobs_leave_ledger_and_bill_the_same(serve, ledger, fault, providers):
    simulated = serve(Fault(fault))
    result = run(sequential(video()), "A red house", ledger=ledger, budget="5")
    begun = agree(simulated, ledger, result.run_id)
    assert [one.provider for one in begun] == providers
    assert result.cost.complete
    assert all(one.status != "started" for one in begun)
    (sums,) = ledger.select("SELECT SUM(held_nanousd) AS held FROM accounts")
    assert sums["held"] == 0


def test_a_video_whose_cost_is_not_reported_has_the_price_of_the_catalog(serve, ledger):
    simulated = serve(Fault("no_cost"))
    result = run(sequential(video()), "A red house", ledger=ledger)
    (call,) = ledger.calls(result.run_id)
    assert (call.unit, call.quantity, call.cost_reported) == ("second", 5000, None)
    assert call.cost_nanousd == simulated.bill.calls[0].nanousd == 600_000_000


def test_a_budget_refuses_the_next_video_before_it_is_asked_for(serve, ledger):
    simulated = serve()
    graph = sequential(*(video(f"v{nth}", model="runway:gen4.5") for nth in range(5)))
    result = run(graph, "A red house", ledger=ledger, budget="1.30")
    assert (result.status, result.stop_reason) == ("stopped", "budget")
    assert len(agree(simulated, ledger, result.run_id)) == 2
