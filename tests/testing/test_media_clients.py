"""The official clients of the providers ask the simulated provider: they know the real protocol."""

from __future__ import annotations

import base64
import io
from decimal import Decimal

import httpx
import huggingface_hub
import openai
import pytest
import replicate
import runwayml
import together
from huggingface_hub import constants
from huggingface_hub.inference import _providers as providers

from aideon_agents.media.sniffing import sniffed
from aideon_agents.testing import MediaPlan, Rate, SimulatedProvider
from aideon_agents.testing.simulated.media.files import video

FLUX, KOKORO = "black-forest-labs/FLUX.1-schnell", "hexgrad/Kokoro-82M"
TEXT = "Heat pumps move heat."


@pytest.fixture(scope="module")
def provider():
    with SimulatedProvider() as started:
        yield started


@pytest.fixture(scope="module")
def origin(provider):
    return provider.base_url.removesuffix("/v1")


@pytest.fixture(scope="module")
def of_together(origin):
    with together.Together(base_url=origin, api_key="key", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def of_openai(provider):
    with openai.OpenAI(base_url=provider.base_url, api_key="key", max_retries=0) as client:
        yield client


def test_together_makes_pictures(of_together):
    answer = of_together.images.generate(
        model=FLUX, prompt="A house", width=64, height=64, n=2, response_format="base64"
    )
    assert [one.index for one in answer.data] == [0, 1]
    assert sniffed(base64.b64decode(answer.data[0].b64_json)).width == 64
    linked = of_together.images.generate(model=FLUX, prompt="A house")
    assert linked.data[0].url.startswith("http://127.0.0.1")


def test_together_speaks_and_writes_down(of_together):
    sound = of_together.audio.speech.create(
        model=KOKORO, input=TEXT, voice="af_heart", response_format="wav"
    ).read()
    answer = of_together.audio.transcriptions.create(
        model="openai/whisper-large-v3",
        file=("a.wav", sound),
        response_format="verbose_json",
    )
    assert answer.text == TEXT
    assert answer.duration == pytest.approx(len(TEXT) / 15, 0.01)
    assert answer.segments[0].text == TEXT


def test_together_lists_voices(of_together):
    (listed,) = of_together.audio.voices.list(extra_query={"model": KOKORO}).data
    assert "af_heart" in [voice.name for voice in listed.voices]


def test_openai_makes_and_changes_pictures(of_openai):
    made = of_openai.images.generate(model="gpt-image-2", prompt="A house", size="1024x1536")
    data = base64.b64decode(made.data[0].b64_json)
    assert sniffed(data).height == 1536
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens
    changed = of_openai.images.edit(
        model="gpt-image-2", prompt="In snow", image=[("a.png", data), ("b.png", data)]
    )
    assert changed.usage.input_tokens_details.image_tokens > 0


def test_openai_speaks_and_writes_down(of_openai):
    sound = of_openai.audio.speech.create(model="tts-1", input=TEXT, voice="alloy").read()
    assert sniffed(sound).mime == "audio/mpeg"
    answer = of_openai.audio.transcriptions.create(model="gpt-transcribe", file=("a.mp3", sound))
    assert answer.text == TEXT
    assert answer.usage.seconds > 0


# --- Videos and other jobs ---------------------------------------------------------------------------


def test_together_makes_videos(of_together):
    job = of_together.videos.create(model="Wan-AI/Wan2.2-T2V", prompt="A river", seconds="4")
    done = of_together.videos.retrieve(job.id)
    assert (done.status, done.seconds) == ("completed", "4")
    assert float(done.outputs.cost) == pytest.approx(0.2)
    assert sniffed(httpx.get(done.outputs.video_url).content).duration_ms == 4000


@pytest.fixture(scope="module")
def of_runway(origin):
    with runwayml.RunwayML(base_url=origin, api_key="key", max_retries=0) as client:
        yield client


def test_runway_makes_videos_from_texts_pictures_and_videos(of_runway):
    tasks = [
        of_runway.text_to_video.create(
            model="gen4.5", prompt_text="A river", ratio="1280:720", duration=5
        ),
        of_runway.image_to_video.create(
            model="gen4_turbo",
            prompt_text="It flows",
            prompt_image="https://example.org/a.png",
            ratio="1280:720",
            duration=5,
        ),
        of_runway.video_to_video.create(
            model="aleph2", prompt_text="In snow", video_uri="https://example.org/a.mp4"
        ),
    ]
    ended = [of_runway.tasks.retrieve(task.id) for task in tasks]
    assert [one.status for one in ended] == ["SUCCEEDED"] * 3
    assert [one.cost.credits for one in ended] == [60, 25, 140]
    assert [task.estimated_cost.credits for task in tasks] == [60, 25, 140]
    assert sniffed(httpx.get(ended[0].output[0]).content).duration_ms == 5000


def test_runway_makes_pictures_and_speech(of_runway):
    task = of_runway.text_to_image.create(
        model="gen4_image", prompt_text="A house", ratio="1360:768"
    )
    made = of_runway.tasks.retrieve(task.id)
    assert sniffed(httpx.get(made.output[0]).content).width == 1360
    voice = {"type": "runway-preset", "preset_id": "Leslie"}
    task = of_runway.text_to_speech.create(
        model="eleven_multilingual_v2", prompt_text=TEXT, voice=voice
    )
    assert of_runway.tasks.retrieve(task.id).cost.credits == 1


def test_runway_takes_uploads_counts_credits_and_deletes_tasks(of_runway):
    uploaded = of_runway.uploads.create_ephemeral(file=("a.mp4", video("x", 3)[1]))
    assert uploaded.uri.startswith("runway://")
    before = of_runway.organization.retrieve().credit_balance
    task = of_runway.video_to_video.create(
        model="aleph2", prompt_text="In snow", video_uri=uploaded.uri
    )
    assert of_runway.tasks.retrieve(task.id).cost.credits == 3 * 28
    assert of_runway.organization.retrieve().credit_balance == before - 84
    of_runway.tasks.delete(task.id)
    with pytest.raises(runwayml.NotFoundError):
        of_runway.tasks.retrieve(task.id)


def test_runway_names_the_field_that_is_wrong(of_runway):
    with pytest.raises(runwayml.BadRequestError) as caught:
        of_runway.text_to_video.create(
            model="gen4.5", prompt_text="A river", ratio="wide", duration=5
        )
    assert caught.value.body["issues"][0]["path"] == ["ratio"]


@pytest.fixture(scope="module")
def of_replicate(origin):
    client = replicate.Client(base_url=origin, api_token="key")
    yield client
    client._client.close()


def test_replicate_predicts_and_reports_how_long_the_model_ran(of_replicate):
    begun = of_replicate.models.predictions.create(
        "minimax/video-01", {"prompt": "A river", "duration": 6}
    )
    ended = of_replicate.predictions.get(begun.id)
    assert (ended.status, ended.metrics["predict_time"]) == ("succeeded", 2.5)
    assert sniffed(httpx.get(ended.output).content).duration_ms == 6000
    listed = of_replicate.predictions.list().results
    assert begun.id in [one.id for one in listed]
    assert of_replicate.predictions.cancel(begun.id).status == "succeeded"


def test_replicate_runs_versions_and_deployments(of_replicate):
    begun = of_replicate.predictions.create(version="a" * 64, input={"prompt": "A river"})
    assert begun.version == "a" * 64
    begun = of_replicate.deployments.predictions.create("me/flux", {"prompt": "A house"})
    ended = of_replicate.predictions.get(begun.id)
    assert sniffed(httpx.get(ended.output[0]).content).mime == "image/webp"


def test_replicate_runs_a_model_to_its_output(of_replicate):
    (made,) = of_replicate.run("black-forest-labs/flux-schnell", {"prompt": "A house"})
    assert sniffed(httpx.get(made).content).mime == "image/webp"


def test_replicate_streams_a_text(of_replicate):
    begun = of_replicate.models.predictions.create("meta/llama-3", {"prompt": "Heat moves."})
    events = list(begun.stream())
    assert "".join(map(str, events)).strip() == "Heat moves."
    assert events[-1].event.value == "done"


def test_replicate_describes_models_and_keeps_files(of_replicate):
    model = of_replicate.models.get("minimax/video-01")
    schema = model.latest_version.openapi_schema["components"]["schemas"]["Input"]
    assert "prompt" in schema["properties"]
    file = of_replicate.files.create(io.BytesIO(b"1234"), filename="a.txt")
    assert of_replicate.files.get(file.id).size == 4
    assert of_replicate.files.delete(file.id)


def test_together_lists_what_it_has_and_what_was_used():
    added = {"name": "google/veo-3.0", "capabilities": ["CAPABILITY_VIDEO_GENERATION"]}
    plan = MediaPlan(supported=({"name": FLUX}, {"name": KOKORO}, added))
    with (
        SimulatedProvider(media=plan, rates={FLUX: Rate(0, 0, each=2_700_000)}) as started,
        together.Together(
            base_url=started.base_url.removesuffix("/v1"), api_key="key", max_retries=0
        ) as client,
    ):
        names = [one.name for one in client.models.list_supported(limit=2)]
        assert names == [FLUX, KOKORO, "google/veo-3.0"]
        (found,) = client.models.list_supported(search="veo").data
        assert found.capabilities == ["CAPABILITY_VIDEO_GENERATION"]
        client.images.generate(model=FLUX, prompt="A house", width=1000, height=1000)
        (window,) = client.organization.usage.costs.list().data
        (item,) = window.line_items
        assert (item.cost, item.quantity) == ("0.002700000", "1")
        assert Decimal(item.cost).scaleb(9) == started.bill.nanousd


# --- Hugging Face ------------------------------------------------------------------------------------

WAN, SCHNELL, LTX = "Wan-AI/Wan2.2-T2V", "black-forest-labs/FLUX.1-schnell", "Lightricks/LTX"


def served(task, **providers):
    return {
        name.replace("_", "-"): {"status": "live", "providerId": provider_id, "task": task}
        for name, provider_id in providers.items()
    }


MAPPING = {
    WAN: served("text-to-video", together=WAN),
    SCHNELL: served(
        "text-to-image",
        together=SCHNELL,
        replicate="black-forest-labs/flux-schnell",
        fal_ai="fal-ai/flux/schnell",
        hf_inference=SCHNELL,
    ),
    KOKORO: served("text-to-speech", together=KOKORO, fal_ai="fal-ai/kokoro"),
    LTX: served("text-to-video", fal_ai="fal-ai/ltx-video"),
    "openai/whisper": served(
        "automatic-speech-recognition", fal_ai="fal-ai/whisper", hf_inference="openai/whisper"
    ),
}


@pytest.fixture
def hugging_face(monkeypatch, tmp_path):
    with SimulatedProvider(media=MediaPlan(mapping=MAPPING)) as started:
        origin = started.base_url.removesuffix("/v1")
        monkeypatch.setattr(constants, "ENDPOINT", origin)
        monkeypatch.setattr(constants, "INFERENCE_PROXY_TEMPLATE", f"{origin}/{{provider}}")
        monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(tmp_path / "harnesses.json"))
        monkeypatch.setattr(providers.together, "_VIDEO_POLLING_INTERVAL", 0.01)
        monkeypatch.setattr(providers.fal_ai, "_POLLING_INTERVAL", 0.01)
        for helpers in providers.PROVIDERS["hf-inference"].values():
            monkeypatch.setattr(helpers, "base_url", f"{origin}/hf-inference", raising=False)
        providers._common._fetch_inference_provider_mapping.cache_clear()

        def of(provider):
            return huggingface_hub.InferenceClient(provider=provider, api_key="hf_key")

        of.provider = started
        yield of
        huggingface_hub.close_session()


@pytest.mark.parametrize("name", ["together", "replicate", "fal-ai", "hf-inference"])
def test_hugging_face_makes_pictures_by_its_providers(hugging_face, name):
    made = hugging_face(name).text_to_image("A house", model=SCHNELL, width=512, height=512)
    assert made.size[0] in {512, 1024}
    seen = hugging_face.provider.requests[-1 if name in {"together", "hf-inference"} else -2]
    assert seen.path.startswith(f"/{name}/")
    assert hugging_face.provider.bill.calls[0].delivered


@pytest.mark.parametrize(("name", "model"), [("together", WAN), ("fal-ai", LTX)])
def test_hugging_face_makes_videos_by_its_providers(hugging_face, name, model):
    made = hugging_face(name).text_to_video("A river", model=model)
    assert sniffed(made).duration_ms == 5000


@pytest.mark.parametrize("name", ["together", "fal-ai"])
def test_hugging_face_speaks_by_its_providers(hugging_face, name):
    options = {"extra_body": {"voice": "af_heart"}} if name == "together" else {}
    made = hugging_face(name).text_to_speech(TEXT, model=KOKORO, **options)
    assert sniffed(made).mime == "audio/wav"


@pytest.mark.parametrize("name", ["fal-ai", "hf-inference"])
def test_hugging_face_writes_down_by_its_providers(hugging_face, name):
    spoken = hugging_face("together").text_to_speech(
        TEXT, model=KOKORO, extra_body={"voice": "af_heart"}
    )
    client = hugging_face(name)
    assert client.automatic_speech_recognition(spoken, model="openai/whisper").text == TEXT
