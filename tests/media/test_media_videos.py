"""Videos: what each provider is asked, which answers, what it costs, and how jobs fail."""

from __future__ import annotations

from decimal import Decimal

import pytest
from filming import Films

from aideon_agents import image, run, sequential, video
from aideon_agents.errors import UserError
from aideon_agents.media import attempts
from aideon_agents.media.dialects.openai_style import TogetherVideo
from aideon_agents.media.dialects.videos import Replicate, Runway
from aideon_agents.media.rehearsal import mp4, png

ZEROSCOPE = "anotherjesse/zeroscope-v2-xl"


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """Jobs are looked at again without waiting."""
    for dialect in (Runway, Replicate, TogetherVideo):
        monkeypatch.setattr(dialect, "pause", 0.01)


@pytest.fixture
def films(monkeypatch):
    made = Films()
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    yield made
    made.close()


def begun(films):
    (body,) = films.begun.values()
    return body


@pytest.mark.parametrize("tier", ["premium", "enterprise"])
def test_runway_makes_the_videos_of_premium_and_says_in_credits_what_they_cost(films, ledger, tier):
    films.looks = [films.runway("THROTTLED"), films.runway("SOMETHING_NEW"), films.runway()]
    result = run(sequential(video(seed=7)), "A red house", tier=tier, ledger=ledger)
    (made,) = result.results["video"].artifacts
    assert (made.mime, made.duration_ms) == ("video/mp4", 5000)
    assert result.results["video"].models == ["runway:gen4.5"]
    (call,) = ledger.calls(result.run_id)
    assert (call.modality, call.unit, call.quantity) == ("video", "credit", 60_000_000)
    assert (call.provider_job, call.usd) == ("job-0", Decimal("0.6"))
    assert result.cost.complete
    assert begun(films) == {
        "model": "gen4.5",
        "promptText": "A red house",
        "ratio": "1280:720",
        "duration": 5,
        "seed": 7,
    }
    first, *looks, download = films.asked
    assert first[1] == "/v1/text_to_video"
    assert {one[2]["X-Runway-Version"] for one in (first, *looks)} == {"2024-11-06"}
    assert first[2]["Authorization"] == "Bearer runway-key-123456"
    assert "Authorization" not in download[2]


def test_replicate_makes_the_videos_of_free_and_its_price_is_not_known(films, ledger):
    films.looks = [films.replicate(status="processing"), films.replicate()]
    result = run(sequential(video(fps=24)), "A red house", tier="free", ledger=ledger)
    (call,) = ledger.calls(result.run_id)
    assert call.requested_model.startswith(ZEROSCOPE)
    assert (call.unit, call.quantity, call.usd) == ("hardware_second", 12_500, None)
    assert not result.cost.complete
    body = begun(films)
    assert body["input"] == {"prompt": "A red house", "seconds": 5, "fps": 24}
    assert body["version"].startswith("9f747673")
    assert [one[1] for one in films.asked][1] == "/v1/predictions"


def test_together_makes_videos_and_says_in_dollars_what_they_cost(films, ledger):
    films.looks = [films.together(status="queued"), films.together(cost="0.284")]
    node = video(model="together:ByteDance/Seedance-1.0-lite", duration=6, ratio="9:16")
    result = run(sequential(node), "A red house", ledger=ledger)
    (call,) = ledger.calls(result.run_id)
    assert (call.unit, call.quantity, call.usd) == ("second", 6000, Decimal("0.284"))
    assert begun(films) == {
        "model": "ByteDance/Seedance-1.0-lite",
        "prompt": "A red house",
        "seconds": "6",
        "resolution": "720p",
        "ratio": "9:16",
    }
    assert films.asked[0][1] == "/v2/videos"
    assert films.asked[1][1] == "/v2/videos/job-0"


def test_together_answers_where_the_first_of_a_tier_cannot(films, ledger):
    films.refusal = {
        "text_to_video": (500, {"error": "down"}),
        "predictions": (402, {"title": "No credit", "status": 402}),
    }
    films.looks = [films.together()]
    for tier, first in (("premium", "runway"), ("free", "replicate")):
        result = run(sequential(video()), "A red house", tier=tier, ledger=ledger)
        calls = ledger.calls(result.run_id)
        assert [one.provider for one in calls] == [first, "together"]
        assert [one.status for one in calls] == ["error", "ok"]
        assert calls[0].cost_nanousd == 0
        assert result.cost.usd == Decimal("0.28")


def test_videos_are_edited_and_extended_by_models_that_can(films, ledger, folder):
    (folder / "clip.mp4").write_bytes(mp4(4))
    films.looks = [films.runway()]
    clip = str(folder / "clip.mp4")
    graph = sequential(video("edited", edit=clip), video("longer", extend=True, duration=3))
    result = run(graph, "Make it night", ledger=ledger)
    assert result.status == "completed", result.error
    edit, extend = films.begun.values()
    assert edit["model"] == "aleph2"
    assert edit["videoUri"].startswith("data:video/mp4;base64,")
    assert (extend["model"], extend["mode"], extend["duration"]) == ("seedance2_5", "extend", 3)
    assert extend["promptText"] == "Make it night"


def test_a_video_begins_with_the_picture_of_the_node_before_it(films, ledger, folder):
    (folder / "house.png").write_bytes(png(4, 4))
    films.looks = [films.runway()]
    graph = sequential(video(image=str(folder / "house.png")))
    assert run(graph, "It moves", ledger=ledger).status == "completed"
    assert begun(films)["promptImage"].startswith("data:image/png;base64,")
    assert films.asked[0][1] == "/v1/image_to_video"
    result = run(sequential(image(), video(image=True)), "It moves", rehearse=True)
    assert [len(one.artifacts) for one in result.results.values()] == [1, 1]


def test_what_no_model_can_do_is_refused_before_anything_is_sent(films, ledger, folder):
    (folder / "clip.mp4").write_bytes(mp4(4))
    graph = sequential(video(extend=str(folder / "clip.mp4"), fps=24))
    result = run(graph, "Longer", ledger=ledger)
    assert result.status == "failed"
    assert "runway:seedance2_5: its frames per second cannot be chosen" in result.error
    assert films.asked == []


@pytest.mark.parametrize(
    "given",
    [
        {"duration": 0},
        {"duration": 1.5},
        {"fps": 0},
        {"edit": "a.mp4", "extend": "b.mp4"},
        {"image": "a.png", "edit": "a.mp4"},
    ],
)
def test_an_argument_that_cannot_be_is_refused(given):
    with pytest.raises(UserError):
        video(**given)


def test_a_file_of_another_kind_is_refused(films, ledger, folder):
    (folder / "clip.mp4").write_bytes(png(2, 2))
    with pytest.raises(UserError, match="image/png, and no video"):
        run(sequential(video(edit=str(folder / "clip.mp4"))), "x", ledger=ledger)
    assert films.asked == []


def test_a_budget_refuses_a_video_before_it_is_asked_for(films, ledger):
    films.looks = [films.runway()]
    graph = sequential(video("one", model="runway:gen4.5"), video("two", model="runway:gen4.5"))
    result = run(graph, "A red house", ledger=ledger, budget="1")
    assert (result.status, result.stop_reason) == ("stopped", "budget")
    assert len(films.begun) == 1
    assert result.cost.usd == Decimal("0.6")


def test_a_job_that_failed_and_is_refunded_costs_nothing_and_is_tried_again(films, ledger):
    failed = films.runway("FAILED", failure="x", failureCode="INTERNAL.BAD_OUTPUT.CODE01")
    films.looks = [failed | {"cost": {"credits": 0}}, films.runway()]
    result = run(sequential(video()), "A red house", ledger=ledger)
    first, second = ledger.calls(result.run_id)
    assert (first.status, first.error_type, first.cost_nanousd) == ("error", "Transient", 0)
    assert (second.provider, second.usd) == ("runway", Decimal("0.6"))
    assert result.cost.complete


def test_a_job_that_failed_and_may_be_paid_is_not_tried_again_at_the_same_model(films, ledger):
    failed = films.runway("FAILED", failure="x", failureCode="INTERNAL.BAD_OUTPUT.CODE01")
    films.looks = [failed, films.together()]
    result = run(sequential(video()), "A red house", ledger=ledger, budget="5")
    first, second = ledger.calls(result.run_id)
    assert (first.provider, first.cost_nanousd) == ("runway", None)
    assert (second.provider, second.status) == ("together", "ok")
    assert not result.cost.complete


@pytest.mark.parametrize("code", ["SAFETY.INPUT.TEXT", "SAFETY.OUTPUT.VIDEO"])
def test_a_refused_video_is_not_offered_to_another_provider(films, ledger, code):
    films.looks = [films.runway("FAILED", failureCode=code, cost={"credits": 12})]
    result = run(sequential(video()), "Something", ledger=ledger)
    (call,) = ledger.calls(result.run_id)
    assert (result.status, call.error_type, call.usd) == ("failed", "Refused", Decimal("0.12"))
    assert len(films.begun) == 1


@pytest.mark.parametrize("status", ["CANCELLED", 404])
def test_a_job_that_was_cancelled_or_deleted_elsewhere_is_not_bought_again(films, ledger, status):
    films.looks = [status if status == 404 else films.runway(status)]
    result = run(sequential(video()), "A red house", ledger=ledger)
    assert result.status == "failed"
    assert "job-0 of runway:gen4.5" in result.error
    assert len(films.begun) == 1
    assert [one.status for one in ledger.calls(result.run_id)] == ["error"]


def test_looks_that_fail_are_repeated(films, ledger):
    films.looks = [503, 429, 500, films.runway()]
    result = run(sequential(video()), "A red house", ledger=ledger)
    assert result.status == "completed"
    assert len(films.begun) == 1


def test_a_file_is_looked_up_again_where_its_url_has_expired(films, ledger):
    films.looks = [films.runway()]
    films.files = [(403, {"error": "expired"}), (200, b"<html>"), (200, mp4(5))]
    result = run(sequential(video()), "A red house", ledger=ledger)
    assert result.status == "completed"
    assert len(films.begun) == 1


def test_a_file_that_is_gone_is_paid_and_not_bought_again(films, ledger):
    films.looks = [films.runway()]
    films.files = [(403, {"error": "expired"})]
    result = run(sequential(video()), "A red house", ledger=ledger, budget="5")
    assert result.status == "failed"
    assert "done and paid, but its file is gone" in result.error
    (call,) = ledger.calls(result.run_id)
    assert (call.status, call.usd) == ("error", Decimal("0.6"))
    assert len(films.begun) == 1


def test_a_job_that_is_not_done_in_time_stays_open_and_says_what_to_do(films, ledger, monkeypatch):
    monkeypatch.setitem(attempts.SECONDS, "video", 0.001)
    films.looks = [films.runway("RUNNING")]
    graph = sequential(video(timeout=60))
    result = run(graph, "A red house", ledger=ledger, budget="5")
    assert (result.status, result.stop_reason) == ("stopped", "timeout")
    assert "resume the run, or repeat the command" in str(result.exception)
    (call,) = ledger.calls(result.run_id)
    assert (call.status, call.provider_job) == ("started", "job-0")
    (hold,) = ledger.select("SELECT status, amount_nanousd FROM holds")
    assert (hold["status"], hold["amount_nanousd"]) == ("held", 600_000_000)
    assert films.cancelled == []
