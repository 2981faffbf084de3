"""In what servers of the OpenAI protocol differ: what they accept, and what they send.

Everything in which they may differ is a field of `Dialect`, and the rest of the simulated provider
only asks its dialect.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

from aideon_agents.models.pictures.sight import tiled

if TYPE_CHECKING:
    from aideon_agents.models.answers import Ask
    from aideon_agents.models.pictures.blocks import Seen
    from aideon_agents.models.pictures.sight import Size


class Refused(Exception):  # noqa: N818 - reads as what happened
    """A request is answered with an error status. Nothing is charged for it."""

    def __init__(
        self,
        status: int,
        code: str | None,
        message: str,
        retry_after: float | None = None,
        *,
        kind: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after
        """Seconds for the Retry-After header; None: it is not sent."""
        self.kind = kind
        """What the error document calls its `type`; None: what is usual for the status."""
        self.param = param
        """The parameter that it is about; None: it names none."""

    @property
    def headers(self) -> dict[str, str]:
        """The headers that belong to it."""
        return {} if self.retry_after is None else {"retry-after": f"{self.retry_after:g}"}


PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
"""The kinds of pictures that most servers read."""
ROLES = ("system", "user", "assistant", "tool")
"""The roles that every server knows."""
TOO_LONG = "context_length_exceeded"
"""The code, and the kind of fault, of a request that does not fit into the model's window."""

_ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_SERVER_ERROR = 500


def openai_error(refused: Refused) -> dict[str, Any]:
    """An error document as OpenAI writes it."""
    usual = "server_error" if refused.status >= _SERVER_ERROR else "invalid_request_error"
    kind = refused.kind or _ERROR_TYPES.get(refused.status, usual)
    error = {"message": refused.message, "type": kind, "param": refused.param, "code": refused.code}
    return {"error": error}


def format_of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The `response_format` of a request; empty: it has none."""
    wanted = body.get("response_format")
    return cast("Mapping[str, Any]", wanted) if isinstance(wanted, dict) else {}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What one server accepts and sends. The defaults are the protocol as OpenAI documents it."""

    needs_key: bool = True
    """Whether a request without a key is refused."""
    roles: Collection[str] | None = None
    """The roles that a message may have; None: any."""
    response_formats: Collection[str] | None = None
    """The types of `response_format` that are accepted; None: any."""
    reads_schema_of_json_object: bool = True
    """Whether `{"type": "json_object", "schema": ...}` gives an instance of the schema."""
    ignores: Collection[str] = ()
    """Parameters that the server does not know and leaves unread."""
    refuse: Callable[[Mapping[str, Any]], Refused | None] | None = None
    """What else this server refuses, from the body of a request; None: nothing."""
    invalid_status: int = 400
    """The status of a request that is not accepted."""
    refusals: Mapping[object, Callable[[], Refused]] = dataclasses.field(
        default_factory=dict[object, Callable[[], Refused]]
    )
    """How this server words a refusal: by the kind of a fault, `role`, `response_format`, `picture`,
    or `blind` for a model that takes no pictures.

    `{model}` and `{value}` in a message stand for the requested model and for what is refused.
    """
    error: Callable[[Refused], Mapping[str, Any] | str] = openai_error
    """The document that describes an error; a text is sent as it is."""
    stream_error: Callable[[Refused], Mapping[str, Any]] | None = None
    """The only event of a stream whose prompt is too long or whose model fails.

    None: such a stream is refused with the status, as everything else.
    """
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    """Headers of every answer, such as `x-ratelimit-limit-requests`."""
    finish_reasons: Mapping[str, str | None] = dataclasses.field(
        default_factory=dict[str, str | None]
    )
    """What is sent in place of `stop`, `length`, `tool_calls` and `content_filter`; None: no reason."""
    thoughts: str | None = None
    """The field of a message that holds a model's thoughts; None: they are not sent."""
    call_id: str = "call_{request}"
    """The id of a tool call, from the `{request}` id and the `{tool}`."""
    streamed_calls: Literal["pieces", "whole", "repeated"] = "pieces"
    """A tool call in a stream: arguments in pieces, all in one chunk, or name and id in each piece."""
    calls_as_objects: bool = False
    """Whether arguments are sent as a JSON object, and the one call of a chunk without its list."""
    cached_beside: bool = False
    """Whether `cached_tokens` stand beside the other counts, not in `prompt_tokens_details`."""
    stream_usage: Literal["requested", "always", "never", "cumulative"] = "requested"
    """When a stream ends with its usage; `cumulative`: each chunk has the usage so far as well."""
    ends_with_done: bool = True
    """Whether a stream ends with `data: [DONE]`."""
    pings: bool = False
    """Whether a stream has comments between its events."""
    picture_tokens: Callable[[Size], int] = tiled
    """How many tokens a picture is, by its width and height."""
    picture_urls: bool = True
    """Whether it reads a picture at a URL; nothing is fetched."""
    pictures: Collection[str] = PICTURES
    """The kinds of pictures that it reads."""
    one_at_a_time: bool = False
    """Whether one request is answered at once; the next one cuts a stream off."""

    only_named_tools: bool = False
    """Whether tools are called only if `tool_choice` names one; otherwise they are not read."""

    def body(self, refused: Refused) -> bytes:
        """An error as the body of an answer."""
        document = self.error(refused)
        return document.encode() if isinstance(document, str) else json.dumps(document).encode()

    def event(self, refused: Refused) -> bytes | None:
        """An error as an event of a stream; None: it is refused with its status."""
        if self.stream_error is None:
            return None
        return b"data: " + json.dumps(self.stream_error(refused)).encode() + b"\n\n"

    def check(self, ask: Ask, body: Mapping[str, Any]) -> None:
        """Refuse what this server does not accept."""
        for turn in ask.turns:
            if self.roles is not None and turn.role not in self.roles:
                raise self._unsupported("role", turn.role)
        kind = format_of(body).get("type", "text")
        if self.response_formats is not None and kind not in self.response_formats:
            raise self._unsupported("response_format", kind)
        if self.refuse is not None and (refused := self.refuse(body)) is not None:
            raise refused

    def check_picture(self, picture: Seen, model: str) -> None:
        """Refuse a picture that this server does not read."""
        is_sent = picture.url.startswith("data:")
        if not (
            picture.mime in self.pictures and picture.size[0] if is_sent else self.picture_urls
        ):
            usual = self.invalid(f"Invalid image: {picture.url[:40]}")
            raise self.worded("picture", picture.url[:40], model) or usual

    def invalid(self, message: str) -> Refused:
        """The refusal of a request that is not accepted."""
        return Refused(self.invalid_status, "invalid_request", message)

    def worded(self, about: object, value: str, model: str) -> Refused | None:
        """This server's own refusal of something; None: it has no words of its own."""
        if about not in self.refusals:
            return None
        refused = self.refusals[about]()
        refused.message = refused.message.replace("{model}", model).replace("{value}", value)
        return refused

    def _unsupported(self, what: str, value: str) -> Refused:
        named = what.replace("_", " ")
        usual = self.invalid(f"The {named} {value!r} is not supported.")
        return self.worded(what, value, "") or usual
