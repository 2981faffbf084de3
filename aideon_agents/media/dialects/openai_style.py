"""Pictures, speech and transcription as OpenAI and Together offer them: one form, with few differences."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, cast

from aideon_agents.ledger.rows import Usage
from aideon_agents.media.requests import MOST, reported
from aideon_agents.media.shapes import Measured, MediaResult
from aideon_agents.media.sniffing import ENDINGS
from aideon_agents.models import faults

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aideon_agents.media.requests import Asking, Part, Reply
    from aideon_agents.media.shapes import (
        Artifact,
        ImageRequest,
        MediaRequest,
        SpeechRequest,
        TranscriptRequest,
    )

_MOST_PICTURES = {"openai": 10, "together": 4}
_MOST_SPOKEN = 4096
"""Characters that OpenAI speaks at once."""
_MOST_SOUND = {"openai": 25 * 2**20, "together": 80 * 2**20}
"""Bytes of a recording."""
_VOICES = {
    "openai": "alloy",
    "kokoro": "af_heart",
    "orpheus": "tara",
    "cartesia": "friendly sidekick",
}
"""The voice of a model where none is asked for, by a part of its name, else its provider."""
_DEFAULT_VOICE = "default"
"""What the founding documents write for no voice in particular."""


class OpenAIStyle:
    """Asks OpenAI, Together, and servers with OpenAI's protocol."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._is_together = provider == "together"

    def lacks(self, request: MediaRequest, model: str) -> str | None:
        """What a model lacks that a request needs, in words; None: nothing."""
        del model
        count = getattr(request, "n", 1)
        if count > (most := _MOST_PICTURES.get(self._provider, 10)):
            return f"it makes at most {most} pictures at once"
        text: str = getattr(request, "text", "")
        if self._provider == "openai" and len(text) > _MOST_SPOKEN:
            return f"it speaks at most {_MOST_SPOKEN:,} characters at once"
        audio: Artifact | None = getattr(request, "audio", None)
        if audio and audio.bytes > (most := _MOST_SOUND.get(self._provider, 2**40)):
            return f"it takes recordings of at most {most // 2**20} MB"
        return None

    async def image(self, request: ImageRequest, asking: Asking) -> MediaResult:
        """Make pictures, or change some."""
        if request.images and not self._is_together:
            reply = await asking.send("images/edits", form=self._edit(request, asking))
        else:
            reply = await asking.send("images/generations", json=self._picture(request, asking))
        document = reply.object()
        if (error := reported(document)) is not None:
            raise asking.refused(error)
        listed: Any = document.get("data")
        found = [await _file(one, reply, asking) for one in listed or ()]
        if not found:
            raise faults.unreadable(asking.candidate.name, "it has no picture", reply.body[:200])
        measured = Measured("image", len(found) * 10**6)
        if usage := _tokens(document.get("usage"), "image"):
            measured = Measured("token", usage.input_tokens + usage.output_tokens, usage)
        return MediaResult(tuple(found), measured=measured, model=_name(document))

    def _picture(self, request: ImageRequest, asking: Asking) -> dict[str, Any]:
        body: dict[str, Any] = {"model": asking.model, "prompt": request.prompt, "n": request.n}
        if not self._is_together:
            body["size"] = f"{request.width}x{request.height}"
            body["quality"] = request.quality
            if request.negative_prompt:
                body["prompt"] += f"\n\nDo not show: {request.negative_prompt}"
        else:
            body |= {
                "width": request.width,
                "height": request.height,
                "steps": request.steps,
                "seed": request.seed,
                "negative_prompt": request.negative_prompt,
                "response_format": "base64",
            }
            if request.images:
                uris = [_uri(one, asking) for one in request.images]
                body |= {"image_url": uris[0]} if len(uris) == 1 else {"reference_images": uris}
        return {name: value for name, value in body.items() if value is not None}

    def _edit(self, request: ImageRequest, asking: Asking) -> list[Part]:
        fields = self._picture(request, asking)
        form: list[Part] = [(name, str(value)) for name, value in fields.items()]
        name = "image" if len(request.images) == 1 else "image[]"
        return [*form, *((name, _part(one, asking)) for one in request.images)]

    async def tts(self, request: SpeechRequest, asking: Asking) -> MediaResult:
        """Speak a text."""
        voice = None if request.voice == _DEFAULT_VOICE else request.voice
        body: dict[str, Any] = {
            "model": asking.model,
            "input": request.text,
            "voice": voice or self._voice(asking.model),
            "response_format": request.format,
        }
        if self._is_together and request.language:
            body["language"] = request.language
        headers = {"Accept": "audio/*, application/json"}
        reply = await asking.send("audio/speech", json=body, headers=headers, most=MOST["tts"])
        if reply.headers.get("Content-Type", "").startswith("application/json"):
            error = reported(document := reply.object())
            raise asking.refused(document if error is None else error)
        kept = checked(asking.artifacts.keep(reply.body), "audio", asking)
        return MediaResult((kept,), measured=Measured("character", len(request.text)))

    def _voice(self, model: str) -> str:
        known = (voice for part, voice in _VOICES.items() if part in model.lower())
        return next(known, _VOICES["openai"])

    async def stt(self, request: TranscriptRequest, asking: Asking) -> MediaResult:
        """Write a recording down."""
        form: list[Part] = [("model", asking.model)]  # Together wants it before the file
        if self._is_together or "whisper" in asking.model:
            form.append(("response_format", "verbose_json"))  # which says how long it is
        else:
            form.append(("response_format", "json"))
        form += [
            (name, value) for name in ("language", "prompt") if (value := getattr(request, name))
        ]
        form.append(("file", _part(request.audio, asking)))
        reply = await asking.send("audio/transcriptions", form=form)
        document = reply.object()
        if (error := reported(document)) is not None:
            raise asking.refused(error)
        text = document.get("text")
        if not isinstance(text, str):
            raise faults.unreadable(asking.candidate.name, "it has no text", reply.body[:200])
        measured = _length(document, request.audio)
        return MediaResult(text=text.strip(), measured=measured, model=_name(document))


async def _file(given: Any, reply: Reply, asking: Asking) -> Artifact:
    """The picture of one entry of an answer, which holds it, or says where it is."""
    entry = cast("Mapping[str, Any]", given) if isinstance(given, dict) else {}
    data, url = entry.get("b64_json") or entry.get("base64"), entry.get("url")
    if isinstance(data, str) and data:
        try:
            return _picture_in(base64.b64decode(data.partition(",")[2] or data), asking)
        except binascii.Error as error:
            raise faults.unreadable(asking.candidate.name, error) from None
    if isinstance(url, str) and url.startswith("data:"):
        return await _file({"b64_json": url}, reply, asking)
    if isinstance(url, str) and url:
        return checked(await asking.fetch(url, "image"), "image", asking)
    raise faults.unreadable(asking.candidate.name, "a picture is missing", reply.body[:200])


def _picture_in(data: bytes, asking: Asking) -> Artifact:
    return checked(asking.artifacts.keep(data), "image", asking)


def checked(artifact: Artifact, kind: str, asking: Asking) -> Artifact:
    """A file, if it is one of its kind: a page of a proxy is none."""
    if not artifact.mime.startswith(f"{kind}/"):
        raise faults.unreadable(asking.candidate.name, f"it is {artifact.mime}, and no {kind}")
    return artifact


def _tokens(given: object, kind: str) -> Usage | None:
    """The tokens of an answer, those of pictures apart; None: it reports none."""
    usage = cast("Mapping[str, Any]", given) if isinstance(given, dict) else {}
    counts = [usage.get(name) for name in ("input_tokens", "output_tokens")]
    if not all(type(one) is int and one >= 0 for one in counts):
        return None
    sent, got = cast("list[int]", counts)
    details: Any = usage.get("input_tokens_details") or {}
    of_kind = details.get(f"{kind}_tokens") if isinstance(details, dict) else None
    others = [(f"input_{kind}_tokens", of_kind)] if type(of_kind) is int and of_kind else []
    if kind == "image":  # all that is answered is a picture
        others.append(("output_image_tokens", got))
    return Usage(input_tokens=sent, output_tokens=got, others=tuple(others))


def _length(document: Mapping[str, Any], audio: Artifact) -> Measured:
    """How long a recording was, as the answer says, else as its header does."""
    usage: Any = document.get("usage") or {}
    if isinstance(usage, dict) and usage.get("type") == "tokens":
        tokens = _tokens(cast("object", usage), "audio")
        return Measured("token", tokens and tokens.input_tokens + tokens.output_tokens, tokens)
    stated = usage.get("seconds") if isinstance(usage, dict) else None
    seconds = document.get("duration") if stated is None else stated
    try:
        return Measured("second", round(float(cast("Any", seconds)) * 1000))
    except (TypeError, ValueError, OverflowError):
        return Measured("second", audio.duration_ms)


def _name(document: Mapping[str, Any]) -> str | None:
    return name if isinstance(name := document.get("model"), str) and name else None


def _part(artifact: Artifact, asking: Asking) -> tuple[str, str, bytes]:
    ending = ENDINGS.get(artifact.mime, "bin")
    return f"file.{ending}", artifact.mime, asking.artifacts.read(artifact)


def _uri(artifact: Artifact, asking: Asking) -> str:
    data = base64.b64encode(asking.artifacts.read(artifact)).decode()
    return f"data:{artifact.mime};base64,{data}"
