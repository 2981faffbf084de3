"""Text with one item in each line, or in each object of an array: JSON lines and JSON arrays.

Lines of OpenAI's batch files are items too: the last message of the user is the task, and what
comes before it are the inputs `system` and `messages`. Model and parameters are the workflow's.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import (
    HumanMessage,
    SystemMessage,
    convert_to_messages,
    convert_to_openai_messages,
)

from aideon_agents.batch.items.item import Found, Given, Wrong
from aideon_agents.errors import InputError
from aideon_agents.models.pictures.blocks import parts, url_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import BinaryIO, TextIO

LONGEST = 16 * 1024 * 1024
"""Characters of one line: a longer one does not fit into any model."""

CHUNK = 64 * 1024
"""Characters of an array that are read at a time."""

_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def decoded(start: bytes) -> str:
    """The beginning of a file as text; what is not text in its encoding are surrogates."""
    encoding, errors = _encoding(start)
    return codecs.getincrementaldecoder(encoding)(errors).decode(start)


def _encoding(start: bytes) -> tuple[str, str]:
    return ("utf-16", "surrogatepass") if start[:2] in _WIDE else ("utf-8-sig", "surrogateescape")


@contextlib.contextmanager
def text(file: BinaryIO) -> Generator[TextIO]:
    """A file as text, with its line ends as they are: of Unix, Windows or the old Mac."""
    encoding, errors = _encoding(file.read(2))
    file.seek(0)
    wrapper = io.TextIOWrapper(file, encoding, errors=errors, newline="")
    try:
        yield wrapper
    except UnicodeDecodeError as error:
        raise InputError(f"the items are not text in UTF-16 ({error.reason})") from None
    finally:
        wrapper.detach()  # the caller closes the file


def numbered(file: TextIO) -> Iterator[tuple[int, str | Wrong]]:
    """The lines of a text with their numbers."""
    number = 0
    while line := file.readline(LONGEST + 1):
        number += 1
        if len(line) > LONGEST and line[-1] not in "\r\n":
            while line and line[-1] not in "\r\n":
                line = file.readline(LONGEST)
            yield number, Wrong(f"it is longer than {LONGEST // 1024 // 1024} MB")
        else:
            yield number, line


def read(file: BinaryIO) -> Generator[Found]:
    """Read JSON lines."""
    with text(file) as opened:
        for number, line in numbered(opened):
            if isinstance(line, Wrong):
                yield number, number, line
            elif line.strip():
                yield number, number, _parsed(line.rstrip("\r\n"))


_ID = re.compile(r'\s*\{\s*"(?:custom_)?id"\s*:\s*("(?:[^"\\]|\\.)*"|\d+)\s*[,}]')
"""The beginning of an object whose id can be read, whatever comes after it."""


def _parsed(line: str) -> Given:
    if not line.isascii():
        try:
            line.encode()
        except UnicodeEncodeError:
            return Wrong("it is not text in UTF-8", _id_of(line))
    try:
        return _values(json.loads(line))
    except json.JSONDecodeError as error:
        why = f"it is not JSON ({error.msg}, column {error.colno})"
    except RecursionError:
        why = "it is nested too deeply"
    except ValueError as error:  # a number of thousands of digits
        why = f"it cannot be read ({type(error).__name__})"
    return Wrong(why, _id_of(line))


def _id_of(line: str) -> dict[str, Any]:
    found = _ID.match(line)
    try:
        return {"id": json.loads(found[1])} if found else {}
    except ValueError:
        return {}


def _values(value: object) -> Given:
    if isinstance(value, str):
        return {"task": value}
    if not isinstance(value, Mapping):
        return Wrong('it is neither an object with a "task" nor a string')
    values = cast("Mapping[str, Any]", value)
    if "custom_id" in values and "body" in values and "task" not in values:
        return _request(values)
    return values


def _request(values: Mapping[str, Any]) -> Given:
    """The values of a line of OpenAI's batch files."""
    own = {"id": values["custom_id"]}
    url, body = values.get("url"), values["body"]
    if not str(url).rstrip("/").endswith("/chat/completions"):
        return Wrong(f"its url is {url!r}: only /v1/chat/completions is an item", own)
    try:
        messages = convert_to_messages(body["messages"])
    except (KeyError, TypeError, ValueError, NotImplementedError):
        return Wrong("its body has no messages that can be read", own)
    spoken = [one for one in messages if not isinstance(one, SystemMessage)]
    if not spoken or not isinstance(spoken[-1], HumanMessage):
        return Wrong("its last message is not the user's, so there is no task", own)
    images = [url_of(part) for part in parts(spoken[-1].content)]
    if None in images or any(parts(one.content) for one in messages if one is not spoken[-1]):
        return Wrong("a part of a message is neither text nor a picture of the task", own)
    given: dict[str, Any] = {**own, "task": str(spoken.pop().text)}
    if images:
        given["images"] = images
    if system := [str(one.text) for one in messages if isinstance(one, SystemMessage)]:
        given["system"] = "\n\n".join(system)
    if spoken:
        given["messages"] = convert_to_openai_messages(spoken)
    return given


_MARK = re.compile(r"\s*([\[\],]?)\s*")
"""What comes before a value of an array, or at its end."""


def read_array(file: BinaryIO, name: str) -> Generator[Found]:
    """Read the values of a JSON array, one after another."""
    with text(file) as opened:
        unread, at, number, line, expected, is_whole = "", 0, 0, 1, "[", False
        while True:
            try:
                mark, start, value, end = _next_value(unread, at, expected)
                if end == len(unread) and not is_whole:
                    raise ValueError("it may go on")  # noqa: TRY301 - caught below
            except (ValueError, RecursionError) as error:
                if is_whole or len(unread) - at > LONGEST:
                    line += unread.count("\n", at, getattr(error, "pos", len(unread)))
                    raise InputError(
                        f"{name}:{line}: the file is no JSON array ({getattr(error, 'msg', error)}): "
                        "correct it, or write one JSON object in each line"
                    ) from None
                more = opened.read(max(CHUNK, len(unread) - at))
                unread, at, is_whole = unread[at:] + more, 0, not more
                continue
            if mark == "]":
                return
            number += 1
            yield number, line + unread.count("\n", at, start), _values(value)
            line += unread.count("\n", at, end)
            at, expected = end, ",]"


def _next_value(unread: str, at: int, expected: str) -> tuple[str, int, Any, int]:
    """The mark before the next value, the place of the value, the value, and where it ends."""
    found = _MARK.match(unread, at)
    mark, start = (found[1], found.end()) if found else ("", at)
    if not mark and start == len(unread):
        raise ValueError("it is never closed")
    if mark not in tuple(expected):
        raise ValueError(f"there is {unread[start : start + 1]!r} in place of {expected[0]}")
    if mark == "[" and unread[start : start + 1] == "]":
        mark, start = "]", _MARK.match(unread, start).end()  # pyright: ignore[reportOptionalMemberAccess] - it matches everywhere
    if mark == "]":
        if start < len(unread):
            raise ValueError("there is more behind it")
        return mark, start, None, start
    return mark, start, *_DECODER.raw_decode(unread, start)


_DECODER = json.JSONDecoder()
