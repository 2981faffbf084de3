"""The official clients of the providers ask the simulated provider: they know the real protocol."""

from __future__ import annotations

import base64

import openai
import pytest
import together

from aideon_agents.media.sniffing import sniffed
from aideon_agents.testing import SimulatedProvider

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
