"""Jobs of the simulated provider: their states by the clock, their faults, and what they cost."""

from __future__ import annotations

import httpx
import pytest

from aideon_agents.media.sniffing import sniffed
from aideon_agents.testing import Clock, Fault, MediaPlan, Rate, SimulatedProvider

KEY = {"authorization": "Bearer key-1234", "x-runway-version": "2024-11-06"}
VEO, GEN = "google/veo-3.0", "gen4.5"


class Asked:
    """One provider of videos, as a client sees it."""

    def __init__(self, provider, name):
        self.provider = provider
        self.name = name
        self.origin = provider.base_url.removesuffix("/v1")

    def ask(self, method, path, body=None, **headers):
        return httpx.request(method, self.origin + path, json=body, headers=KEY | headers)

    def begin(self, **headers):
        path, body = {
            "together": ("/v2/videos", {"model": VEO, "prompt": "A river", "seconds": "4"}),
            "runway": (
                "/v1/text_to_video",
                {"model": GEN, "promptText": "A river", "ratio": "1280:720", "duration": 4},
            ),
            "replicate": (
                "/v1/models/minimax/video-01/predictions",
                {"input": {"prompt": "A river", "duration": 4}},
            ),
        }[self.name]
        return self.ask("POST", path, body, **headers).json()

    def look(self, job):
        folder = {"together": "v2/videos", "runway": "v1/tasks", "replicate": "v1/predictions"}
        return self.ask("GET", f"/{folder[self.name]}/{job['id']}").json()

    def states(self, job):
        """The states that a job of 100 seconds is in, as time passes."""
        found = []
        for _ in range(12):
            found.append(self.look(job)["status"])
            self.provider.clock.advance(10)
        return list(dict.fromkeys(found))


@pytest.fixture(params=["together", "runway", "replicate"])
def name(request):
    return request.param


def serve(*faults, rates=None):
    plan = MediaPlan(job_seconds=100, link_seconds=3600)
    clock = Clock(at=1_800_000_000)  # which stands still until a test moves it on
    return SimulatedProvider(faults=list(faults), media=plan, rates=rates, clock=clock)


PASSED = {
    "together": ["queued", "in_progress", "completed"],
    "runway": ["PENDING", "THROTTLED", "RUNNING", "SUCCEEDED"],
    "replicate": ["starting", "processing", "succeeded"],
}
FAULTS = {
    "stuck": {name: states[:-1] for name, states in PASSED.items()},
    "unknown_state": {
        "together": ["queued", "post_processing", "completed"],
        "runway": ["PENDING", "THROTTLED", "POST_PROCESSING", "SUCCEEDED"],
        "replicate": ["starting", "post_processing", "succeeded"],
    },
    "job_failed": {
        "together": ["queued", "in_progress", "failed"],
        "runway": ["PENDING", "THROTTLED", "RUNNING", "FAILED"],
        "replicate": ["starting", "processing", "failed"],
    },
    "job_aborted": {
        "together": ["queued", "failed"],
        "runway": ["PENDING", "FAILED"],
        "replicate": ["starting", "aborted"],
    },
}


def test_a_job_passes_through_its_states_as_time_passes(name):
    with serve() as provider:
        asked = Asked(provider, name)
        assert asked.states(asked.begin()) == PASSED[name]
        assert len(provider.bill.calls) == 1


@pytest.mark.parametrize("kind", FAULTS)
def test_a_job_can_go_wrong(name, kind):
    with serve(Fault(kind)) as provider:
        asked = Asked(provider, name)
        assert asked.states(asked.begin()) == FAULTS[kind][name]


def test_a_job_costs_what_its_end_reports(name):
    with serve(rates={VEO: Rate(0, 0, each=400_000_000)}) as provider:
        asked = Asked(provider, name)
        job = asked.begin()
        provider.clock.advance(100)
        ended = asked.look(job)
        (call,) = provider.bill.calls
    if name == "together":
        assert (ended["outputs"]["cost"], call.nanousd) == (1.6, 1_600_000_000)
        assert (call.unit, call.quantity) == ("second", 4000)
    elif name == "runway":
        assert (ended["cost"]["credits"], call.quantity) == (48, 48_000_000)
        assert call.nanousd == call.reported_nanousd == 480_000_000
    else:
        assert ended["metrics"]["predict_time"] * 1000 == call.quantity == 75_000
        assert call.unit == "hardware_second"


@pytest.mark.parametrize("kind", ["job_failed", "job_aborted", "moderated"])
def test_what_a_failed_job_costs_differs_by_provider(name, kind):
    with serve(Fault(kind)) as provider:
        asked = Asked(provider, name)
        job = asked.begin()
        provider.clock.advance(100)
        ended = asked.look(job)
        (call,) = provider.bill.calls
    is_charged = {
        "together": False,
        "runway": kind == "moderated",
        "replicate": kind != "job_aborted",
    }[name]
    assert bool(call.quantity) == is_charged
    if name == "runway":
        assert ended["cost"]["credits"] == (48 if is_charged else 0)
        code = {"moderated": "SAFETY.", "job_failed": "INTERNAL.BAD_OUTPUT."}.get(kind, "INTERNAL")
        assert ended["failureCode"].startswith(code)
    elif kind == "moderated":
        assert "moderation" in str(ended) or "NSFW" in ended["error"]


def test_a_cost_can_be_missing(name):
    with serve(Fault("no_cost")) as provider:
        asked = Asked(provider, name)
        job = asked.begin()
        provider.clock.advance(100)
        ended = asked.look(job)
        assert provider.bill.calls[0].quantity
    assert "cost" not in ended
    assert "cost" not in ended.get("outputs", {})
    assert not ended.get("metrics")


@pytest.mark.parametrize("after", [5, 60])
def test_a_job_is_cancelled_where_the_provider_can(name, after):
    with serve() as provider:
        asked = Asked(provider, name)
        job = asked.begin()
        provider.clock.advance(after)
        if name == "together":
            assert asked.ask("DELETE", f"/v2/videos/{job['id']}").status_code == 404
            return
        if name == "runway":
            assert asked.ask("DELETE", f"/v1/tasks/{job['id']}").status_code == 204
        else:
            asked.ask("POST", f"/v1/predictions/{job['id']}/cancel")
        provider.clock.advance(100)
        ended = asked.look(job)
        (call,) = provider.bill.calls
    assert ended["status"] in {"CANCELLED", "canceled"}
    if name == "runway":
        assert ended["cost"]["credits"] == (0 if after == 5 else 48)
    else:
        assert call.quantity == (0 if after == 5 else 35_000)


def test_a_result_is_at_an_address_that_expires(name):
    with serve() as provider:
        asked = Asked(provider, name)
        job = asked.begin()
        provider.clock.advance(100)
        ended = asked.look(job)
        found = ended.get("output") or ended["outputs"]["video_url"]
        link = found[0] if isinstance(found, list) else found
        assert sniffed(httpx.get(link).content).duration_ms == 4000
        provider.clock.advance(3601)
        assert httpx.get(link).status_code == 403
        if name == "replicate":
            removed = asked.look(job)
            assert (removed["output"], removed["data_removed"]) == (None, True)
            assert removed["metrics"]["predict_time"] == 75


def test_runway_demands_its_version():
    with serve() as provider:
        asked = Asked(provider, "runway")
        answer = asked.ask("GET", "/v1/tasks/1", **{"x-runway-version": "2023-01-01"})
        assert answer.status_code == 400
        assert "X-Runway-Version" in answer.json()["error"]
        assert asked.ask("GET", "/v1/tasks/1").status_code == 404


def test_replicate_that_waits_answers_before_the_prediction_has_ended():
    with SimulatedProvider() as provider:
        asked = Asked(provider, "replicate")
        begun = asked.begin(prefer="wait=5")
        assert (begun["status"], begun["metrics"]) == ("processing", {})
        assert begun["output"]
        assert asked.look(begun)["status"] == "succeeded"
        assert asked.begin()["output"] is None


def test_replicate_says_in_words_and_headers_when_to_ask_again():
    with serve(Fault(429, message="Request was throttled. Your rate limit resets in ~30s.")) as one:
        asked = Asked(one, "replicate")
        path = "/v1/models/minimax/video-01/predictions"
        answer = asked.ask("POST", path, {"input": {"prompt": "A river"}})
    assert (answer.status_code, answer.headers["ratelimit-reset"]) == (429, "30")
    assert answer.json()["detail"].endswith("~30s.")


def test_together_takes_seconds_as_a_text_and_short_data_alone():
    with serve() as provider:
        asked = Asked(provider, "together")
        body = {"model": VEO, "prompt": "A river"}
        assert asked.ask("POST", "/v2/videos", {**body, "seconds": 4}).status_code == 400
        frame = {"input_image": "data:image/png;base64," + "A" * 80_000, "frame": "first"}
        media = {"frame_images": [frame]}
        assert asked.ask("POST", "/v2/videos", {**body, "media": media}).status_code == 400
        assert all(call.quantity is None for call in provider.bill.calls)


def test_an_upload_takes_the_fields_that_were_given_and_no_key():
    with serve() as provider:
        asked = Asked(provider, "runway")
        place = asked.ask("POST", "/v1/uploads", {"filename": "a.mp4", "type": "ephemeral"}).json()
        files = {"file": ("a.mp4", b"1234")}
        with_key = httpx.post(place["uploadUrl"], data=place["fields"], files=files, headers=KEY)
        assert with_key.status_code == 400
        assert httpx.post(place["uploadUrl"], files=files).status_code == 403
        taken = httpx.post(place["uploadUrl"], data=place["fields"], files=files)
        assert taken.status_code == 204
