"""One request for media as it was read, and what is sent back."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, unquote

from aideon_agents.testing.simulated.dialects.dialect import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aideon_agents.testing.simulated.bill import Bill, BilledCall
    from aideon_agents.testing.simulated.faults import Fault, Kind
    from aideon_agents.testing.simulated.wire import Wire

_NAMED = re.compile(rb'\bname="([^"]*)"')
_FILE = re.compile(rb'\bfilename="([^"]*)"')
_TYPE = re.compile(rb"^content-type:\s*(\S+)", re.IGNORECASE | re.MULTILINE)
_BOUNDARY = re.compile(r'boundary="?([^";]+)"?')


class FormFile(NamedTuple):
    """A file in a form."""

    field: str
    name: str
    mime: str
    data: bytes


def read_form(content_type: str, body: bytes) -> tuple[dict[str, str], list[FormFile]]:
    """The texts and the files of a multipart form; Refused: it is none."""
    found = _BOUNDARY.search(content_type)
    if not content_type.startswith("multipart/form-data") or found is None:
        raise Refused(400, "invalid_request", "The body must be a multipart form.")
    texts, files = dict[str, str](), list[FormFile]()
    for part in (b"\r\n" + body).split(b"\r\n--" + found[1].encode())[1:-1]:
        head, _, data = part.partition(b"\r\n\r\n")
        name, file, kind = _NAMED.search(head), _FILE.search(head), _TYPE.search(head)
        field = name[1].decode() if name else ""
        if file is None:
            texts[field] = data.decode(errors="replace")
        else:
            mime = kind[1].decode() if kind else "application/octet-stream"
            files.append(FormFile(field, file[1].decode(errors="replace"), mime, data))
    return texts, files


class Sent(NamedTuple):
    """A response."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def as_json(document: object, status: int = 200, **headers: str) -> Sent:
    """A response in JSON."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps(document).encode()
    return Sent(status, {"content-type": "application/json", **named}, body)


@dataclasses.dataclass(slots=True, kw_only=True)
class MediaRequest:
    """One request for media."""

    request_id: str
    key: str
    """The caller's key, as sent."""
    method: str
    path: str
    model: str
    """The requested model; empty: the request names none."""
    origin: str
    """The address of this server, without a path."""
    parts: Sequence[str]
    """What the path has in the places that its route leaves open."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    fields: Mapping[str, Any]
    """The JSON object, or the texts of the form; empty: there is neither."""
    files: Sequence[FormFile]
    body: bytes
    fault: Fault | None = None
    bill: Bill

    @property
    def kind(self) -> Kind | None:
        """What goes wrong with it; None: nothing."""
        return self.fault.kind if self.fault else None

    def text(self, name: str, most: int | None = None) -> str:
        """A text that must be given; Refused: it is missing, or longer than `most`."""
        value = self.fields.get(name)
        if not isinstance(value, str) or not value:
            raise Refused(400, "missing_parameter", f"Missing required parameter: '{name}'.")
        if most is not None and len(value) > most:
            raise Refused(
                400, "string_above_max_length", f"'{name}' has more than {most} characters."
            )
        return value

    def whole(self, name: str, usual: int, least: int = 1, most: int = 10**9) -> int:
        """A whole number; Refused: it is none, or not from `least` to `most`."""
        value = self.fields.get(name, usual)
        if isinstance(value, str) and value.isdigit():  # as forms have it
            value = int(value)
        if type(value) is not int or not least <= value <= most:
            raise Refused(400, "invalid_value", f"'{name}' must be from {least} to {most}.")
        return value

    @property
    def billed(self) -> BilledCall:
        """Its line of the bill."""
        return self.bill.call(self.request_id)

    def charge(self, model: str, **changes: Any) -> None:
        """Write what it costs: a unit, a quantity, reported costs."""
        self.bill.amend(self.request_id, model=model, **changes)


Handler: TypeAlias = "Callable[[MediaRequest], Sent]"


@dataclasses.dataclass(frozen=True, slots=True)
class Service:
    """What all routes of one provider have in common."""

    name: str
    error: Callable[[Refused], Any]
    """The document of an error."""
    schemes: tuple[str, ...] = ("bearer",)
    """The words that may be before a key; empty: no key is needed."""
    headers: Callable[[int], Mapping[str, str]] = lambda _: {}
    """The headers of each answer, by its status."""


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """A way to ask a provider."""

    method: str
    path: str
    """A pattern; each group is one of the request's `parts`."""
    service: Service
    handler: Handler
    pays: bool = False
    """Whether it is a line of the bill, and faults happen to it."""
    having: bytes = b""
    """What the body must have; a path that several providers use is recognized by it."""


def read_request(wire: Wire, parts: Sequence[str], request_id: str, bill: Bill) -> MediaRequest:
    """Read a request; Refused: its body is not in its form."""
    kind = wire.headers.get("content-type", "")
    fields: Mapping[str, Any] = {}
    files: Sequence[FormFile] = ()
    if kind.startswith("multipart/"):
        fields, files = read_form(kind, wire.body)
    elif wire.body and "json" in kind:
        try:
            fields = json.loads(wire.body)
        except (ValueError, RecursionError):
            raise Refused(400, "invalid_request", "The body is not valid JSON.") from None
        if not isinstance(fields, dict):
            raise Refused(400, "invalid_request", "The body must be a JSON object.")
    model = fields.get("model")
    return MediaRequest(
        request_id=request_id,
        key=key_of(wire),
        method=wire.method,
        path=wire.path,
        model=model if isinstance(model, str) else "",
        origin=f"http://{wire.headers.get('host', '')}",
        parts=[unquote(part) for part in parts],
        query=dict(parse_qsl(wire.query)),
        headers=wire.headers,
        fields=fields,
        files=files,
        body=wire.body,
        bill=bill,
    )


def key_of(wire: Wire) -> str:
    """The key of a request, whatever the scheme; empty: there is none."""
    return wire.headers.get("authorization", "").partition(" ")[2].strip()
