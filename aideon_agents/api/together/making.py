"""The endpoints that make files or read recordings: what is sent, and the address of what was made."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, cast, get_args

from fastapi.responses import JSONResponse

from aideon_agents.access import hosts, signing
from aideon_agents.api import doors
from aideon_agents.api.together.answering import heads_of, source
from aideon_agents.errors import InputError
from aideon_agents.media.artifacts import Artifacts
from aideon_agents.media.shapes import ImageRequest, SpeechRequest, TranscriptRequest
from aideon_agents.serving.making import Make, make
from aideon_agents.state import Use

if TYPE_CHECKING:
    from fastapi import Request, Response

    from aideon_agents.access.callers import Caller
    from aideon_agents.api.together import shapes
    from aideon_agents.media.shapes import Artifact, Kind, MediaRequest
    from aideon_agents.serving.service import Service

_LARGEST = 25 * 10**6
"""Bytes of a recording."""
_SIDE = 1024


async def picture(
    request: Request, service: Service, caller: Caller, asked: shapes.ImageAsked
) -> Response:
    """Make a picture."""
    wanted = ImageRequest(
        asked.prompt,
        asked.negative_prompt or None,
        asked.width or _SIDE,
        asked.height or _SIDE,
        steps=asked.num_inference_steps,
    )
    return await _made(request, service, caller, "image", wanted, asked.purpose, "url")


async def speech(
    request: Request, service: Service, caller: Caller, asked: shapes.SpeechAsked
) -> Response:
    """Speak a text."""
    wanted = SpeechRequest(asked.text, asked.voice)
    return await _made(request, service, caller, "tts", wanted, asked.purpose, "audio_url")


async def transcription(
    request: Request, service: Service, caller: Caller, asked: shapes.TranscriptionAsked
) -> Response:
    """Write a recording down."""
    data = await _recording(asked.audio_url)
    kept = Artifacts.of(service.settings, service.ledger).keep(data)
    if not kept.mime.startswith(("audio/", "video/")):
        raise InputError(
            f"audio_url: it is {kept.mime}, and no recording: send MP3, WAV or the like"
        )
    wanted = TranscriptRequest(kept, asked.language)
    return await _made(request, service, caller, "stt", wanted, asked.purpose, "text")


async def _made(  # noqa: PLR0917 - the parts of a request
    request: Request,
    service: Service,
    caller: Caller,
    kind: Kind,
    wanted: MediaRequest,
    purpose: str | None,
    key: str,
) -> Response:
    use = cast("Use", purpose) if purpose in get_args(Use) else None
    asked = Make(kind, wanted, purpose, use, doors.request_id(request))
    done = await doors.unless_gone(request, make(service, caller, asked))
    files = done.result.artifacts
    shown = done.result.text if key == "text" else address(service, files[0])
    document: dict[str, Any] = {key: shown, **source(service, caller, done.call)}
    return JSONResponse(document, headers=heads_of(done.run_id, done.cost))


def address(service: Service, artifact: Artifact) -> str:
    """Where a file can be fetched without a key, for an hour."""
    signed = signing.query(service.settings, service.ledger, artifact.sha256)
    return f"{service.settings.public_url.rstrip('/')}/api/v1/artifacts/{artifact.sha256}?{signed}"


async def _recording(url: str) -> bytes:
    """The bytes of a recording, from its URL or out of it."""
    if url[:5].lower() != "data:":
        return await hosts.download(url, _LARGEST)
    head, comma, text = url.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise InputError("audio_url: a data: URI must be in base64")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InputError("audio_url: its base64 is broken: encode the file again") from None
