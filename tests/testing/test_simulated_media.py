"""Pictures, speech and transcripts of the simulated provider: forms, files, faults and the bill."""

from __future__ import annotations

import base64
import io
import json
import wave

import httpx
import pytest

from aideon_agents.media.sniffing import sniffed
from aideon_agents.testing import Clock, Fault, MediaPlan, Rate, SimulatedProvider

FLUX, KOKORO = "black-forest-labs/FLUX.1-schnell", "hexgrad/Kokoro-82M"
WHISPER = "openai/whisper-large-v3"
KEY = {"authorization": "Bearer key-1234"}
TEXT = "Heat pumps move heat from outdoor air into a house."


def ask(provider, path, body=None, **options):
    address = provider.base_url.removesuffix("/v1") + path
    method = "POST" if body is not None or "files" in options else "GET"
    headers = KEY | options.pop("headers", {})
    return httpx.request(method, address, json=body, headers=headers, **options)


def picture(provider, **fields):
    body = {"model": FLUX, "prompt": "A red house", "response_format": "base64", **fields}
    return ask(provider, "/v1/images/generations", body)


def transcribe(provider, sound, **fields):
    fields = {"model": WHISPER, **fields}
    return ask(provider, "/v1/audio/transcriptions", data=fields, files={"file": ("a.wav", sound)})


@pytest.fixture(scope="module")
def shared():
    rates = {FLUX: Rate(0, 0, each=2_700_000), KOKORO: Rate(0, 0, each=4_000)}
    with SimulatedProvider(rates=rates | {"gpt-image-2": Rate(5_000, 30_000)}) as provider:
        yield provider


@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_pictures_are_true_files_of_the_size_and_form_that_was_asked_for(shared, form):
    answer = picture(shared, width=512, height=256, n=2, output_format=form).json()
    made = [base64.b64decode(one["b64_json"]) for one in answer["data"]]
    abouts = [sniffed(one) for one in made]
    assert [(one.mime, one.width, one.height) for one in abouts] == [
        (f"image/{form}", 512, 256)
    ] * 2
    assert made[0] != made[1]
    assert "usage" not in answer
    call = shared.bill.calls[-1]
    assert (call.unit, call.quantity, call.model) == ("megapixel_step", 2 * 512 * 256, FLUX)
    assert call.nanousd == round(2 * 512 * 256 / 10**6 * 2_700_000)
    assert call.delivered


def test_pictures_of_openai_are_billed_by_the_tokens_of_the_answer(shared):
    body = {"model": "gpt-image-2", "prompt": "A red house", "output_format": "webp"}
    answer = ask(shared, "/v1/images/generations", body).json()
    assert sniffed(base64.b64decode(answer["data"][0]["b64_json"])).mime == "image/webp"
    call, usage = shared.bill.calls[-1], answer["usage"]
    assert (call.input_tokens, call.output_tokens) == (
        usage["input_tokens"],
        usage["output_tokens"],
    )
    assert call.nanousd == usage["input_tokens"] * 5_000 + usage["output_tokens"] * 30_000


@pytest.mark.parametrize(
    "wrong",
    [{"n": 5}, {"prompt": ""}, {"model": ""}, {"width": "wide"}, {"model": "gpt-image-2"}],
)
def test_a_wrong_request_for_a_picture_is_refused_and_costs_nothing(shared, wrong):
    answer = picture(shared, **wrong)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
    call = shared.bill.calls[-1]
    assert (call.status, call.quantity, call.output_tokens) == (400, None, 0)


def test_a_path_with_the_version_twice_is_not_found(shared):
    assert ask(shared, "/v1/v1/images/generations", {"model": FLUX}).status_code == 404


@pytest.mark.parametrize("form", ["wav", "mp3"])
def test_a_text_is_spoken_in_its_length_and_written_down_again(shared, form):
    asked = {"model": KOKORO, "input": TEXT, "voice": "af_heart", "response_format": form}
    sound = ask(shared, "/v1/audio/speech", asked).content
    spoken = shared.bill.calls[-1]
    assert (spoken.unit, spoken.quantity) == ("character", len(TEXT))
    if form == "wav":
        with wave.open(io.BytesIO(sound)) as opened:
            assert opened.getnframes() / opened.getframerate() == pytest.approx(
                len(TEXT) / 15, 0.01
            )
    answer = transcribe(shared, sound, response_format="verbose_json").json()
    assert answer["text"] == TEXT
    assert answer["duration"] == pytest.approx(len(TEXT) / 15, 0.1)
    assert shared.bill.calls[-1].quantity == round(answer["duration"] * 1000)


def test_two_texts_of_one_length_are_two_recordings(shared):
    sounds = [
        ask(shared, "/v1/audio/speech", {"model": KOKORO, "input": text, "voice": "x"}).content
        for text in ("one", "two")
    ]
    assert [transcribe(shared, sound).json()["text"] for sound in sounds] == ["one", "two"]


def test_the_log_keeps_the_fields_of_a_form_and_the_sizes_of_its_files(shared):
    transcribe(shared, b"x" * 1000)
    seen = shared.requests[-1]
    assert (seen.model, seen.outcome) == (WHISPER, "ok")
    assert seen.body["file"] == {"name": "a.wav", "mime": "audio/x-wav", "bytes": 1000}


@pytest.mark.parametrize(
    ("fault", "status"), [(Fault(413), 413), (Fault("audio_too_long"), 400), (Fault(500), 500)]
)
def test_a_transcript_can_be_refused(fault, status):
    with SimulatedProvider(faults=[fault]) as provider:
        refused = transcribe(provider, b"x" * 1000)
        assert refused.status_code == status
        assert transcribe(provider, b"x" * 1000).json()["text"]
        first, second = provider.bill.calls
    assert (first.status, first.quantity, first.fault) == (status, None, fault.kind)
    assert second.quantity == 1000


@pytest.mark.parametrize("kind", ["moderated", "fewer", "other_format", "empty", "garbage"])
def test_a_picture_can_go_wrong(kind):
    with SimulatedProvider(faults=[Fault(kind)]) as provider:
        answer = picture(provider, n=2, output_format="png", width=64, height=64)
        call = provider.bill.calls[0]
    if kind == "moderated":
        assert answer.json()["error"]["code"] == "moderation_blocked"
        assert (answer.status_code, call.quantity) == (400, None)
        return
    assert answer.status_code == 200
    assert call.quantity == 64 * 64 * (1 if kind == "fewer" else 2)
    if kind in {"empty", "garbage"}:
        with pytest.raises(json.JSONDecodeError):
            answer.json()
        return
    data = answer.json()["data"]
    assert len(data) == (1 if kind == "fewer" else 2)
    mime = sniffed(base64.b64decode(data[0]["b64_json"])).mime
    assert mime == ("image/jpeg" if kind == "other_format" else "image/png")


@pytest.mark.parametrize("kind", ["truncated_body", "reset_after", "reset_before"])
def test_an_answer_can_break_off_and_is_charged_if_the_work_was_done(kind):
    with SimulatedProvider(faults=[Fault(kind)]) as provider:
        with pytest.raises(httpx.TransportError):
            picture(provider)
        (call,) = provider.bill.calls
    assert (call.quantity is None) == (kind == "reset_before")
    assert not call.delivered


def linked(provider):
    answer = picture(provider, response_format="url", width=64, height=64).json()
    return answer["data"][0]["url"]


def test_a_link_needs_no_key_refuses_one_and_expires():
    with SimulatedProvider(media=MediaPlan(link_seconds=60)) as provider:
        link = linked(provider)
        assert sniffed(httpx.get(link).content).mime == "image/jpeg"
        assert httpx.get(link, headers=KEY).status_code == 400
        provider.clock.advance(61)
        assert httpx.get(link).status_code == 403


@pytest.mark.parametrize(
    ("kind", "status"),
    [("link_forbidden", 403), ("link_missing", 404), ("link_redirects", 302), ("link_slow", 200)],
)
def test_a_link_can_go_wrong(kind, status):
    with SimulatedProvider(faults=[Fault(kind, seconds=0.01)]) as provider:
        answer = httpx.get(linked(provider))
        assert answer.status_code == status
        if status == 302:
            assert sniffed(httpx.get(answer.headers["location"]).content).mime == "image/jpeg"
        assert provider.bill.calls[0].quantity == 64 * 64


def test_a_file_can_be_longer_than_anybody_reads():
    with (
        SimulatedProvider(faults=[Fault("link_too_long")]) as provider,
        httpx.stream("GET", linked(provider)) as answer,
    ):
        assert int(answer.headers["content-length"]) > 10**9


@pytest.mark.parametrize("headers", [{"authorization": ""}, {"authorization": "Bearer other"}])
def test_a_wrong_key_is_refused_before_anything_is_charged(headers):
    with SimulatedProvider(keys=["key-1234"]) as provider:
        body = {"model": FLUX, "prompt": "x"}
        answer = ask(provider, "/v1/images/generations", body, headers=headers)
        assert answer.status_code == 401
        assert provider.bill.calls == []


# --- Stability, and the router of Hugging Face -------------------------------------------------------

GENERATE = "/v2beta/stable-image/generate"


def stability(provider, path=f"{GENERATE}/core", accept="image/*", **fields):
    files = {"none": ("", b"")}  # which makes it a form
    fields = {"prompt": "A house", **fields}
    headers = {"accept": accept}
    return ask(provider, path, data=fields, files=files, headers=headers)


def test_stability_sends_a_picture_or_a_document_as_it_is_asked(shared):
    answer = stability(shared, aspect_ratio="16:9", output_format="webp")
    about = sniffed(answer.content)
    assert (about.mime, about.width > about.height) == ("image/webp", True)
    assert answer.headers["finish-reason"] == "SUCCESS"
    document = stability(shared, accept="application/json", seed=7).json()
    assert (document["finish_reason"], document["seed"]) == ("SUCCESS", 7)
    assert sniffed(base64.b64decode(document["image"])).mime == "image/png"
    call = shared.bill.calls[-1]
    assert (call.model, call.unit, call.quantity) == ("core", "image", 10**6)


@pytest.mark.parametrize(
    "fields", [{"aspect_ratio": "7:5"}, {"prompt": ""}, {"output_format": "x"}]
)
def test_stability_names_what_is_wrong(shared, fields):
    answer = stability(shared, **fields)
    assert (answer.status_code, answer.json()["name"]) == (400, "bad_request")
    assert answer.json()["errors"][0].startswith(next(iter(fields)))


def test_stability_takes_forms_alone_and_needs_a_picture_to_edit(shared):
    answer = ask(shared, f"{GENERATE}/core", {"prompt": "A house"})
    assert "multipart/form-data" in answer.json()["errors"][0]
    path = "/v2beta/stable-image/edit/inpaint"
    assert stability(shared, path).status_code == 400
    edited = ask(shared, path, data={"prompt": "In snow"}, files={"image": ("a.png", b"1")})
    assert sniffed(edited.content).mime == "image/png"


@pytest.mark.parametrize(
    ("kind", "status", "charged"),
    [("moderated", 403, False), ("content_filtered", 200, True), (429, 429, False)],
)
def test_stability_can_refuse_before_and_after_the_work(kind, status, charged):
    with SimulatedProvider(faults=[Fault(kind)]) as provider:
        answer = stability(provider, accept="application/json")
        assert answer.status_code == status
        assert bool(provider.bill.calls[0].quantity) == charged
    if status == 200:
        assert answer.json()["finish_reason"] == "CONTENT_FILTERED"
    else:
        assert answer.json()["name"] in {"content_moderation", "rate_limit_exceeded"}


def test_stability_makes_videos_only_where_the_plan_says_so(shared):
    path, files = "/v2beta/image-to-video", {"image": ("a.png", b"1")}
    assert ask(shared, path, files=files).status_code == 404
    clock, plan = Clock(at=1_800_000_000), MediaPlan(stability_video=True, job_seconds=60)
    with SimulatedProvider(media=plan, clock=clock) as provider:
        job = ask(provider, path, files=files).json()["id"]
        assert ask(provider, f"{path}/result/{job}").status_code == 202
        clock.advance(60)
        made = ask(provider, f"{path}/result/{job}", headers={"accept": "video/*"})
        assert sniffed(made.content).duration_ms == 4000
        assert provider.bill.calls[0].quantity == 20 * 10**6


def test_the_router_takes_the_addresses_of_its_providers_alone(shared):
    body = {"model": FLUX, "prompt": "A house"}
    assert ask(shared, "/together/v1/images/generations", body).status_code == 200
    assert ask(shared, "/replicate/v1/images/generations", body).status_code == 404
    assert ask(shared, "/together/v1/predictions", {"version": "x"}).status_code == 404


def test_the_router_says_that_the_credit_is_used_up():
    with SimulatedProvider(faults=[Fault(402)]) as provider:
        body = {"model": FLUX, "prompt": "A house"}
        answer = ask(provider, "/together/v1/images/generations", body)
    assert answer.status_code == 402
    assert "monthly included credits" in answer.json()["error"]


@pytest.mark.parametrize("status", ["staging", "error"])
def test_the_hub_says_which_provider_serves_a_model_and_how_well(status):
    mapping = {FLUX: {"together": {"status": status, "providerId": FLUX, "task": "text-to-image"}}}
    with SimulatedProvider(media=MediaPlan(mapping=mapping)) as provider:
        path = f"/api/models/{FLUX}?expand=inferenceProviderMapping"
        found = ask(provider, path).json()["inferenceProviderMapping"]
        assert found["together"]["status"] == status
        assert ask(provider, "/api/models/other/model").status_code == 404
