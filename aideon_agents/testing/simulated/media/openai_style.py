"""Pictures, speech and transcription, as OpenAI and Together have them at the same addresses.

A server of one of the two dialects is that provider. Any other tells them apart by the model: those of
Together have the name of an organization before a slash.
"""

from __future__ import annotations

import base64
import math
import re
from typing import TYPE_CHECKING, Any

from aideon_agents.models.answers import estimate_tokens
from aideon_agents.testing.simulated.dialects import hosted
from aideon_agents.testing.simulated.dialects.dialect import Refused, openai_error
from aideon_agents.testing.simulated.media.exchange import Route, Sent, Service, as_json
from aideon_agents.testing.simulated.media.files import picture

if TYPE_CHECKING:
    from aideon_agents.testing.simulated.dialects.dialect import Dialect
    from aideon_agents.testing.simulated.media.exchange import MediaRequest
    from aideon_agents.testing.simulated.media.kept import Kept

TOGETHER = Service("together", hosted.TOGETHER.error)
_EITHER = Service("openai", openai_error)
_SIZE = re.compile(r"(\d{2,4})x(\d{2,4})")
_OPENAI_IMAGES = ("png", "jpeg", "webp")
_TOGETHER_IMAGES = ("jpeg", "png")
_STEPS = 4
_MB = 2**20
_TOKENS_A_PIXEL = 1056 / 1024**2
"""Of a picture of medium quality."""
_MODERATED = Refused(
    400,
    "moderation_blocked",
    "Your request was rejected by the safety system.",
    kind="image_generation_user_error",
)


class OpenAIStyle:
    """The addresses that the two share."""

    def __init__(self, kept: Kept, dialect: Dialect) -> None:
        self._kept = kept
        self._dialect = dialect

    def routes(self) -> list[Route]:
        """Its routes."""
        ways = (
            ("POST", "/v1/images/generations", _EITHER, self._generate, True),
            ("POST", "/v1/images/edits", _EITHER, self._edit, True),
            ("POST", "/v1/audio/speech", _EITHER, self._speak, True),
            ("GET", "/v1/voices", TOGETHER, self._voices, False),
            ("POST", "/v1/audio/(transcriptions|translations)", _EITHER, self._transcribe, True),
        )
        return [Route(*way) for way in ways]

    def _is_together(self, request: MediaRequest) -> bool:
        if self._dialect in (hosted.TOGETHER, hosted.OPENAI):
            return self._dialect == hosted.TOGETHER
        return "/" in request.model

    def _generate(self, request: MediaRequest) -> Sent:
        request.text("model")
        if self._is_together(request):
            return self._by_together(request)
        return self._by_openai(request, seen=0)

    def _edit(self, request: MediaRequest) -> Sent:
        if self._is_together(request):
            raise Refused(404, "not_found", f"There is no POST {request.path}.")
        request.text("model")
        given = [one for one in request.files if one.field in {"image", "image[]"}]
        if not 1 <= len(given) <= 16:  # noqa: PLR2004 - the provider's limit
            raise Refused(400, "missing_parameter", "Give from 1 to 16 images.")
        return self._by_openai(request, seen=len(given))

    def _by_openai(self, request: MediaRequest, seen: int) -> Sent:
        prompt = request.text("prompt", 32_000)
        size, n = request.fields.get("size", "auto"), request.whole("n", 1, 1, 10)
        if "response_format" in request.fields:
            name = "response_format"
            raise Refused(400, "unknown_parameter", f"Unknown parameter: '{name}'.", param=name)
        found = _SIZE.fullmatch("1024x1024" if size == "auto" else str(size))
        width, height = map(int, found.groups()) if found else (0, 0)
        if not width or width % 16 or height % 16:
            raise Refused(400, "invalid_value", f"Invalid value: '{size}'.", param="size")
        form = self._format(request, "png", _OPENAI_IMAGES)
        made = self._pictures(request, prompt, (width, height), n, form)
        text, image = estimate_tokens(prompt), seen * 323
        got = math.ceil(width * height * _TOKENS_A_PIXEL) * len(made)
        request.charge(request.model, input_tokens=text + image, output_tokens=got, unit="token")
        usage: dict[str, Any] = {
            "input_tokens": text + image,
            "input_tokens_details": {"text_tokens": text, "image_tokens": image},
            "output_tokens": got,
            "total_tokens": text + image + got,
        }
        return as_json(
            {
                "created": int(self._kept.clock.now()),
                "background": "opaque",
                "output_format": form,
                "quality": request.fields.get("quality", "medium"),
                "size": f"{width}x{height}",
                "data": [{"b64_json": base64.b64encode(data).decode()} for _, data in made],
                **({} if request.kind == "no_usage" else {"usage": usage}),
            }
        )

    def _by_together(self, request: MediaRequest) -> Sent:
        prompt, n = request.text("prompt"), request.whole("n", 1, 1, 4)
        width, height = (request.whole(side, 1024, 64, 2048) for side in ("width", "height"))
        steps = request.whole("steps", _STEPS, 1, 100)
        form = self._format(request, "jpeg", _TOGETHER_IMAGES)
        made = self._pictures(request, prompt, (width, height), n, form)
        pixels = width * height * len(made)
        quantity = -(-pixels * max(steps, _STEPS) // _STEPS)
        request.charge(request.model, unit="megapixel_step", quantity=quantity)
        listed = list[dict[str, Any]]()
        for nth, (mime, data) in enumerate(made):
            if request.fields.get("response_format", "url") == "base64":
                entry = {"type": "b64_json", "b64_json": base64.b64encode(data).decode()}
            else:
                entry = {"type": "url", "url": self._kept.link(request, mime, data)}
            listed.append({"index": nth, **entry})
        known = {"id": request.request_id, "model": request.model, "object": "list"}
        return as_json({**known, "data": listed})

    def _format(self, request: MediaRequest, usual: str, known: tuple[str, ...]) -> str:
        form = request.fields.get("output_format", usual)
        if form not in known:
            raise Refused(400, "invalid_value", f"Invalid value: '{form}'.", param="output_format")
        if request.kind == "other_format":
            return "jpeg" if form == "png" else "png"
        return form

    @staticmethod
    def _pictures(
        request: MediaRequest, prompt: str, size: tuple[int, int], n: int, form: str
    ) -> list[tuple[str, bytes]]:
        if request.kind == "moderated":
            raise _MODERATED
        count = max(0, n - 1) if request.kind == "fewer" else n
        return [picture(prompt, nth, *size, form) for nth in range(count)]

    def _speak(self, request: MediaRequest) -> Sent:
        request.text("model")
        is_together = self._is_together(request)
        text = request.text("input", None if is_together else 4096)
        request.text("voice")
        form = str(request.fields.get("response_format", "wav" if is_together else "mp3"))
        mime, data = self._kept.spoken(text, form)
        request.charge(request.model, unit="character", quantity=len(text))
        return Sent(200, {"content-type": mime}, data)

    def _voices(self, request: MediaRequest) -> Sent:
        wanted = request.query.get("model")
        listed = [
            {"model": model, "voices": [{"id": name, "name": name} for name in names]}
            for model, names in self._kept.plan.voices.items()
            if wanted in {None, model}
        ]
        return as_json({"data": listed})

    def _transcribe(self, request: MediaRequest) -> Sent:
        request.text("model")
        is_together = self._is_together(request)
        file = next((one for one in request.files if one.field == "file"), None)
        if file is None:
            raise Refused(400, "missing_parameter", "Missing required parameter: 'file'.")
        if len(file.data) > (80 if is_together else 25) * _MB:
            raise Refused(413, "file_too_large", "The file is too large.")
        if request.kind == "audio_too_long":
            raise Refused(400, "audio_too_long", "The recording is longer than the model takes.")
        text, seconds = self._kept.transcript(file.data)
        request.charge(request.model, unit="second", quantity=round(seconds * 1000))
        if request.fields.get("response_format", "json") == "verbose_json":
            segment = {"id": 0, "start": 0.0, "end": seconds, "text": text}
            language = request.fields.get("language", "en")
            known = {"task": "transcribe", "language": language, "duration": seconds}
            return as_json({**known, "text": text, "segments": [segment]})
        billed = {"type": "duration", "seconds": seconds}
        reported = {} if is_together or request.kind == "no_usage" else {"usage": billed}
        return as_json({"text": text, **reported})
