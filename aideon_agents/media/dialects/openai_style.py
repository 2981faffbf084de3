"""Pictures, speech and transcription as OpenAI and Together offer them: one form, with few differences."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any, cast

from aideon_agents import errors
from aideon_agents.ledger.money import NANO
from aideon_agents.ledger.rows import Usage
from aideon_agents.media.jobs import LOOK_SECONDS, SUBMIT_SECONDS, Look, amount
from aideon_agents.media.requests import MOST, checked, reported
from aideon_agents.media.shapes import Measured, MediaResult
from aideon_agents.media.sniffing import ENDINGS
from aideon_agents.models import faults

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aideon_agents.media.jobs import State
    from aideon_agents.media.requests import Asking, Part, Reply
    from aideon_agents.media.shapes import (
        Artifact,
        ImageRequest,
        MediaRequest,
        SpeechRequest,
        TranscriptRequest,
        VideoRequest,
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


_LONGEST_PROMPT = 32_000
_MOST_INLINE = 45_000
"""Bytes of a file that go with a request, because its data URI has a limit of about 60 kB."""
_TAKES_VIDEOS = re.compile(r"edit|vace|extend", re.IGNORECASE)
"""The names of models that take a video; those for texts and pictures take none."""
_JOB_STATES: Mapping[str, State] = {
    "completed": "done",
    "failed": "failed",
    "cancelled": "cancelled",
    "canceled": "cancelled",
}
_REFUSED = ("moderation", "safety", "content_policy", "nsfw", "sensitive")
"""Words in the code of a failure that means a refusal."""


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
                uris = [uri(one, asking) for one in request.images]
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


class TogetherVideo:
    """Asks Together for videos."""

    pause = 5.0

    def lacks(self, request: VideoRequest, model: str) -> str | None:
        """What a model lacks that a request needs, in words; None: nothing."""
        if request.operation != "generate" and not _TAKES_VIDEOS.search(model):
            return f"it {request.operation}s no videos"
        sent = request.source or request.image
        if sent and sent.bytes > _MOST_INLINE:
            return f"it takes files of at most {_MOST_INLINE // 1000} kB"
        too_long = len(request.prompt) > _LONGEST_PROMPT
        return f"its prompt has at most {_LONGEST_PROMPT} characters" if too_long else None

    async def submit(self, request: VideoRequest, asking: Asking) -> str:
        """Begin a job."""
        body: dict[str, Any] = {
            "model": asking.model,
            "prompt": request.prompt,
            "seconds": str(request.duration),
            "resolution": request.resolution,
            "ratio": request.ratio,
            "fps": request.fps,
            "seed": request.seed,
            "media": self._media(request, asking),
        }
        if request.operation == "edit":  # it is as long and as large as what is edited
            body |= dict.fromkeys(("seconds", "resolution", "ratio"))
        known = {name: value for name, value in body.items() if value is not None}
        url = asking.url("videos", version="v2")
        reply = await asking.send(url, json=known, seconds=SUBMIT_SECONDS)
        if not isinstance(job := reply.object().get("id"), str) or not job:
            raise faults.unreadable(asking.candidate.name, "it has no id", reply.body[:200])
        return job

    def _media(self, request: VideoRequest, asking: Asking) -> dict[str, Any] | None:
        """The files of a request."""
        media = dict[str, Any]()
        if request.image:
            media["frame_images"] = [{"input_image": uri(request.image, asking), "frame": "first"}]
        if request.source:
            video = {"video": uri(request.source, asking)}
            is_edit = request.operation == "edit"
            media |= {"source_video": video} if is_edit else {"frame_videos": [video]}
        return media or None

    async def look(self, job: str, asking: Asking) -> Look:
        """Look at a job."""
        url = asking.url(f"videos/{job}", version="v2")
        found = (await asking.send(url, pays=False, seconds=LOOK_SECONDS)).object()
        state = _JOB_STATES.get(str(found.get("status")).lower(), "running")
        given: Any = found.get("outputs")
        outputs: dict[str, Any] = given if isinstance(given, dict) else {}
        dollars, file = amount(outputs.get("cost")), outputs.get("video_url")
        stated = None if dollars is None else round(dollars.scaleb(NANO))
        error = _failure_of(found.get("error"), asking) if state == "failed" else None
        measured = Measured(reported_nanousd=stated)
        return Look(state, file if isinstance(file, str) else None, measured, error)

    async def cancel(self, job: str, asking: Asking) -> bool:
        """Together cancels no job."""
        del job, asking
        return False


def _failure_of(given: Any, asking: Asking) -> errors.ProviderError:
    """Why a job failed."""
    report: dict[str, Any] = given if isinstance(given, dict) else {"message": given}
    code, message = str(report.get("code") or ""), str(report.get("message") or "")
    words = ": ".join(filter(None, (code, message)))
    if any(one in words.lower() for one in _REFUSED):
        return faults.refused(str(asking.candidate), words)
    return errors.Transient(f"{asking.candidate} made no video: {words or 'it does not say why'}")


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


def uri(artifact: Artifact, asking: Asking) -> str:
    data = base64.b64encode(asking.artifacts.read(artifact)).decode()
    return f"data:{artifact.mime};base64,{data}"
