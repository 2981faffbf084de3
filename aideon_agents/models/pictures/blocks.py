"""The pictures in a conversation: what is refused before it is sent, and how many tokens they are.

Callers of `chat_model` give messages with LangChain's content blocks, and tools return them. LangChain
converts these for each provider. What chat completions do not take it refuses with an error of its
own, or not at all, so it is refused here with what to do instead.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from aideon_agents.errors import CallerError, InputError, NotThisModel, Transient, Unsupported
from aideon_agents.models.pictures import unreachable
from aideon_agents.models.pictures.kinds import in_words, kind_of
from aideon_agents.models.pictures.sight import EXAMPLE, Size, bound, estimate, takes_none

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from aideon_agents.errors import ProviderError
    from aideon_agents.models.candidates import Candidate
    from aideon_agents.models.fallbacks import Attempts

_PICTURES = frozenset({"image", "image_url", "input_image"})
_REFUSED: Mapping[str, str] = {
    "video": "a model here takes no video: send single frames of it as pictures",
    "text-plain": "a model here takes no file of text: send its text as a text block",
}
_BY_FILE_ID = "a file_id is not known to every provider: send the bytes of the file as base64"
_BY_URL: Mapping[str, str] = {
    "audio": "models here take a sound as base64 only: send its bytes",
    "file": "models here take a file as base64 only: send its bytes",
}
_MEDIA = frozenset({"image", "audio", "file"})


class Seen(NamedTuple):
    """A picture in a message."""

    url: str
    """Its URL, or a data URI."""
    mime: str | None
    size: Size

    def __str__(self) -> str:
        width, height = self.size
        if self.mime is None or width is None:
            return "a picture at a URL" if self.mime is None else f"{self.mime} of unknown size"
        return in_words(self.mime, width, height)


def parts(content: object) -> list[Mapping[str, Any]]:
    """The parts of a message's content that are no text."""
    if not isinstance(content, list):
        return []
    blocks = [one for one in cast("list[Any]", content) if isinstance(one, Mapping)]
    return [one for one in blocks if one.get("type") != "text"]


def seen(content: object) -> list[Seen]:
    """The pictures in a message's content, in LangChain's or OpenAI's form."""
    return [_seen(url) for part in parts(content) if (url := url_of(part)) is not None]


def is_picture(part: Mapping[str, Any]) -> bool:
    """Whether a part of a message is a picture, in LangChain's or OpenAI's form."""
    return part.get("type") in _PICTURES


def url_of(part: Mapping[str, Any]) -> str | None:
    """The URL or the data URI of a picture; None: the part is none, or has neither."""
    if not is_picture(part):
        return None
    inner: Any = part.get("image_url")
    url: Any = inner.get("url") if isinstance(inner, Mapping) else inner or part.get("url")
    source: Any = part.get("source")
    of_source = cast("Mapping[str, Any]", source) if isinstance(source, Mapping) else {}
    data: Any = part.get("base64") or part.get("data") or of_source.get("data")
    mime = part.get("mime_type") or of_source.get("media_type") or "image/png"
    if isinstance(data, str):
        return f"data:{mime};base64,{data}"
    url = url or of_source.get("url")
    return url if isinstance(url, str) else None


def _seen(url: str) -> Seen:
    if not url.startswith("data:"):
        return Seen(url, None, (None, None))
    try:
        kind = kind_of(decoded(url), "a picture in a message")
    except InputError:
        return Seen(url, url[5:].partition(";")[0], (None, None))
    return Seen(url, kind.mime, (kind.width, kind.height))


def decoded(uri: str) -> bytes:
    """The bytes in a data URI; InputError: they are not in base64."""
    try:
        return base64.b64decode("".join(uri.partition(",")[2].split()), validate=True)
    except (binascii.Error, ValueError):
        raise InputError("the base64 of a picture is broken: encode the file again") from None


def pictures_in(messages: Sequence[BaseMessage], attempts: Attempts, candidate: Candidate) -> int:
    """The tokens of the pictures in messages, by their bound for a model, else about.

    Raises CallerError for what no model can be sent, and gives a model up that takes no pictures.
    """
    found = [part for message in messages for part in parts(message.content)]
    total = 0
    for part in found:
        # A model that was given as an object may take what chat completions do not.
        if candidate.address_variable and (refused := _refused(part)):
            raise CallerError(f"{candidate} was not asked: {refused}", billed=False)
        if (url := url_of(part)) is not None:
            size = _seen(url).size
            about = estimate(candidate.provider, candidate.model, size)
            total += bound(candidate, size) or about
    if total and candidate.is_blind:
        if all(one.is_blind for one in attempts.candidates):
            advice = f"name one that does, such as {EXAMPLE}"
            raise CallerError(f"{takes_none(attempts.candidates)}: {advice}", billed=False)
        attempts.give_up(candidate, NotThisModel(takes_none([candidate]), billed=False))
    return total


def _refused(part: Mapping[str, Any]) -> str | None:
    """Why a part cannot be sent; None: it can."""
    kind, url = str(part.get("type")), url_of(part)
    wrong = _REFUSED.get(kind)
    if kind in _MEDIA and part.get("file_id") and not part.get("base64"):
        wrong = _BY_FILE_ID
    elif kind in _BY_URL and part.get("url"):
        wrong = _BY_URL[kind]
    elif kind in _PICTURES and url is None:
        wrong = "a picture in a message has neither a URL nor base64: give one of them"
    elif url is not None and not url.startswith("data:"):
        wrong = unreachable(url)
    elif url is not None:
        try:
            decoded(url)  # of its kind the server decides: some take more than others
        except InputError as error:
            wrong = str(error)
    return wrong


_TAKES_NONE = re.compile(
    r"certain models|not (a )?(multimodal|vision)|not support|unsupported content|at most 0 image"
    r"|no endpoints|missing data required"
)
"""How servers refuse any picture."""
_TAKES_TEXT = re.compile(
    r"\bstr(?:ing)?\b.{0,80}\b(?:list|array|sequence)\b|\b(?:list|array|sequence)\b.{0,80}\bstr(?:ing)?\b"
    r"|start_array|'list' object|unhashable type: 'list'"
)
"""How servers fail, in several languages, that take a message as text alone, and no list of its parts."""
_ABOUT_A_REQUEST = (CallerError, NotThisModel, Transient, Unsupported)
_UNREADABLE = re.compile(r"unsupported image|invalid image|image format")


def with_advice(
    refused: ProviderError, payload: Mapping[str, Any], candidate: Candidate
) -> ProviderError:
    """A refusal; that of any picture is remembered, and that of a URL says what to do.

    No other way to ask makes a model see, so it is not `Unsupported`.
    """
    words = (refused.words or str(refused)).lower()
    found = [url for one in payload.get("messages") or () for url, *_ in seen(one.get("content"))]
    takes_text = _TAKES_TEXT.search(words) and type(refused) in _ABOUT_A_REQUEST
    if not found or not (takes_text or re.search(r"image|modal|vision|'url'", words)):
        return refused
    kind, advice = type(refused), ""
    if takes_text and not re.search(r"image|'url'", words):
        kind, advice = NotThisModel, "; it seems to take no pictures: name one that does"
        candidate.features.is_blind = True
    elif kind in (Unsupported, NotThisModel):
        kind = CallerError if _UNREADABLE.search(words) else NotThisModel
        candidate.features.is_blind = candidate.features.is_blind or bool(_TAKES_NONE.search(words))
    if not advice and not all(url.startswith("data:") for url in found):
        advice = "; if it reads no URLs, give the path of the picture instead"
    given = kind(f"{refused}{advice}", billed=refused.billed, status=refused.status)
    given.words, given.param = refused.words, refused.param
    return given


def without_pictures(
    sent: dict[str, Any],
) -> tuple[dict[str, Any], list[Any], tuple[Size, ...]]:
    """A request in OpenAI's form without its pictures, its other parts, and the sizes of the pictures."""
    messages: list[Any] = []
    others: list[Any] = []
    sizes: list[Size] = []
    for message in cast("list[Any]", sent["messages"]):
        content = message.get("content")
        if isinstance(content, list):
            sizes += [one.size for one in seen(content)]
            kept = [one for one in cast("list[Any]", content) if not _has_url(one)]
            others += kept
            messages.append({**message, "content": kept})
        else:
            messages.append(message)
    return {**sent, "messages": messages}, others, tuple(sizes)


def _has_url(part: object) -> bool:
    return isinstance(part, Mapping) and url_of(cast("Mapping[str, Any]", part)) is not None
