"""The pictures of a task or an agent: from what a caller gives to what a model is sent.

A run keeps references, which are small: a path and the SHA-256 of the file, or a URL. The bytes are
read again for each call. So a run that resumes finds its pictures, or says which file has changed.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import functools
import hashlib
import ipaddress
import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from aideon_agents import settings as environment
from aideon_agents.errors import InputError, shown
from aideon_agents.ledger.postgres.address import names_a_server
from aideon_agents.ledger.sqlite.database import ledger_path
from aideon_agents.models.pictures.kinds import in_words, kind_of, refuse_ending, refuse_size
from aideon_agents.state import Artifact, Picture

Image: TypeAlias = str | Path | bytes | Mapping[str, Any] | Picture | Artifact
"""A path, a URL, a data URI, bytes, an image block of LangChain, or what a run has made."""
Images: TypeAlias = Image | Sequence[Image]

_OF_REFERENCE = ("name", "path", "url", "sha256", "mime", "width", "height")
_WEB = ("http", "https")
_HELP = "give a path, a URL, bytes, a data URI, or an image block of LangChain"


def pictures(given: Any, folder: Path | None = None) -> tuple[Picture, ...]:
    """What a caller gave as `images`: one or several. A relative path is one in `folder`.

    Raises InputError for what is no picture that models take.
    """
    if given is None:
        return ()
    several = cast("list[Any]", given if isinstance(given, list | tuple) else [given])
    return tuple(_picture(one, folder) for one in several)


_NAMED = re.compile(r"\{([^\W\d]\w*)\}")
"""A name in braces, as in the texts of agents."""


def own_pictures(given: Any, folder: Path | None) -> tuple[Picture | str, ...]:
    """The pictures of an agent; a text that names inputs in braces is read when these are known."""
    several = cast("list[Any]", given if isinstance(given, list | tuple) else [given])
    named = [isinstance(one, str) and bool(_NAMED.search(one)) for one in several]
    return tuple(
        one if is_named else _picture(one, folder)
        for one, is_named in zip(several, named, strict=True)
    )


def keys_in(several: Sequence[Picture | str]) -> list[str]:
    """The keys of inputs that the pictures of an agent name."""
    return [key for one in several if isinstance(one, str) for key in _NAMED.findall(one)]


def filled(
    several: Sequence[Picture | str], folder: Path | None, values: Mapping[str, Any]
) -> tuple[Picture, ...]:
    """The pictures of an agent, for a task and its inputs."""

    def value(found: re.Match[str]) -> str:
        return str(values.get(found[1], found[0]))

    return tuple(
        _picture(_NAMED.sub(value, one), folder) if isinstance(one, str) else one for one in several
    )


def _picture(given: Any, folder: Path | None) -> Picture:
    if isinstance(given, Picture):
        return given
    if isinstance(given, Artifact):
        return _of_artifact(given)
    if isinstance(given, bytes | bytearray | memoryview):
        return of_bytes(bytes(given))
    if isinstance(given, Mapping):
        return _of_block(cast("Mapping[str, Any]", given), folder)
    if isinstance(given, Path):
        return _of_file(str(given), folder)
    if not isinstance(given, str):
        raise InputError(f"images: {shown(given)} is no picture: {_HELP}")
    return _of_text(given, folder)


def _of_artifact(artifact: Artifact) -> Picture:
    """A picture that a run has made: its file lies where the settings say."""
    settings = environment.load()
    where = None if names_a_server(settings.ledger) else ledger_path(settings.ledger).parent
    folder = settings.artifacts or (where or Path(".aideon")) / "artifacts"
    found = next((folder / artifact.sha256[:2]).glob(f"{artifact.sha256[2:]}.*"), None)
    if found is None:
        raise InputError(
            f"images: the artifact {artifact.sha256[:16]} is not in {folder}: give its path, or set "
            "AIDEON_ARTIFACTS to the folder that it is in"
        )
    return _of_file(str(found), None)


def _of_text(text: str, folder: Path | None) -> Picture:
    scheme = text.partition(":")[0].lower()
    if scheme == "data":
        return of_data_uri(text)
    if scheme in _WEB:
        return of_url(text)
    if scheme == "file":
        text = url2pathname(urlsplit(text).path)
    elif "://" in text:
        raise InputError(f"images: {text} is no address that a provider can reach: {_HELP}")
    return _of_file(text, folder)


def of_bytes(data: bytes, name: str | None = None) -> Picture:
    """A picture whose bytes are given."""
    kind = kind_of(data, name or "a picture in images")
    named = name or f"picture.{kind.mime.rpartition('/')[2]}"
    digest = hashlib.sha256(data).hexdigest()
    return Picture(name=named, data=data, sha256=digest, **kind._asdict())


def of_data_uri(uri: str) -> Picture:
    """A picture in a data URI."""
    head, comma, text = uri.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise InputError(f"images: {uri[:40]!r} is no data URI in base64: {_HELP}")
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InputError(
            f"images: the base64 after {head!r} is broken: encode the file again"
        ) from None
    return of_bytes(data)


def of_url(url: str) -> Picture:
    """A picture at an address that a provider can reach; nothing is fetched here."""
    if wrong := unreachable(url):
        raise InputError(f"images: {wrong}")
    name = unquote(urlsplit(url).path.rpartition("/")[2]) or "picture"
    refuse_ending(url, f"images: {name}")
    return Picture(name=name, url=url)


def unreachable(url: str) -> str | None:
    """Why a provider cannot read a picture at a URL; None: it may be able to."""
    download = "download the picture and give its path"
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return f"{shown(url)} is no URL: correct it, or {download}"
    if parts.scheme.lower() not in _WEB or not host:
        return f"a provider reads no picture at {shown(url)}: give its bytes or an https URL"
    if parts.username or parts.password:
        return f"the URL of a picture at {host} has a password in it: {download}"
    try:
        is_public = ipaddress.ip_address(host).is_global
    except ValueError:
        is_public = "." in host and not host.endswith((".local", ".internal", ".localhost", ".lan"))
    if not is_public:
        return f"no provider can reach {host}, which is a private address: {download}"
    return None


def _of_block(block: Mapping[str, Any], folder: Path | None) -> Picture:
    """The picture of an image block, in the forms that LangChain knows."""
    kind = block.get("type")
    inner = block.get("image_url") if kind == "image_url" else None
    url = inner.get("url") if isinstance(inner, Mapping) else inner or block.get("url")
    data = block.get("base64") or block.get("data")
    if kind in {"image", "image_url"} and isinstance(data, str):
        return of_data_uri(f"data:;base64,{data}")
    if kind in {"image", "image_url"} and isinstance(url, str):
        return _picture(url, folder)
    if block.get("file_id"):
        raise InputError(
            "images: a file_id cannot be sent to every provider: give the picture itself"
        )
    raise InputError(f"images: a block of the type {shown(kind)} is no picture: {_HELP}")


def _of_file(text: str, folder: Path | None) -> Picture:
    path = Path(text).expanduser()
    path = Path(os.path.abspath((folder or Path()) / path))  # noqa: PTH100 - resolve() follows links
    try:
        about = path.stat()
        if stat.S_ISREG(about.st_mode):
            return _of_path(path, about.st_size, about.st_mtime_ns)
    except FileNotFoundError:
        raise InputError(f"there is no picture {text}: give the path of a file") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"the picture {text[:200]} cannot be read: {why}") from None
    raise InputError(f"{text or '(empty)'} is no file: give the path of a picture")


@functools.lru_cache(maxsize=1024)
def _of_path(path: Path, size: int, _changed: int) -> Picture:
    """The picture in a file; what is known of it holds until its size or its time changes."""
    refuse_size(size, path.name)  # before it is read
    data = path.read_bytes()
    known = of_bytes(data, path.name)
    return dataclasses.replace(known, data=None, path=str(path))


def content(picture: Picture) -> bytes:
    """The bytes of a picture; InputError: its file is gone, or is another one now."""
    if picture.data is not None:
        return picture.data
    if picture.path is None:
        raise InputError(f"the bytes of {picture.name} were not kept: give the picture again")
    try:
        data = Path(picture.path).read_bytes()
    except OSError as error:
        why = error.strerror or error
        raise InputError(
            f"the picture {picture.path} cannot be read any more: {why}: put it back, or start anew"
        ) from None
    if hashlib.sha256(data).hexdigest() != picture.sha256:
        raise InputError(
            f"the picture {picture.path} was changed since it was given: put it back, or start anew"
        )
    return data


def block(picture: Picture) -> dict[str, Any]:
    """A picture as LangChain's content block."""
    if picture.url:
        return {"type": "image", "url": picture.url}
    text = base64.b64encode(content(picture)).decode()
    return {"type": "image", "base64": text, "mime_type": picture.mime}


def described(picture: Picture) -> str:
    """A picture in one line, for models and people."""
    if picture.mime is None:
        return picture.name
    return f"{picture.name}: {in_words(picture.mime, picture.width, picture.height)}"


def identities(several: Sequence[Picture]) -> list[str | None]:
    """What makes pictures the same: their bytes, else their URLs."""
    return [one.sha256 or one.url for one in several]


def reference(picture: Picture, *, whole: bool = False) -> dict[str, Any]:
    """A picture as JSON values. `whole`: with the bytes that were given."""
    known = {name: getattr(picture, name) for name in _OF_REFERENCE}
    if whole and picture.data is not None:
        known["data"] = base64.b64encode(picture.data).decode()
    return {name: value for name, value in known.items() if value is not None}


def referred(
    references: Sequence[Mapping[str, Any]] | None, *, checks: bool
) -> tuple[Picture, ...]:
    """The pictures of references. `checks`: each one must still be there, and be the same."""
    found = [
        Picture(**cast("Any", {**one, "data": base64.b64decode(data) if data else None}))
        for one in references or ()
        for data in (one.get("data"),)
    ]
    for picture in found if checks else ():
        if picture.url is None:
            content(picture)
    return tuple(found)


def portable(given: Any) -> list[Any]:
    """Pictures that a caller gave for an item, as JSON values."""
    several = cast("list[Any]", given if isinstance(given, list | tuple) else [given])
    return [
        f"data:;base64,{base64.b64encode(bytes(one)).decode()}"
        if isinstance(one, bytes | bytearray | memoryview)
        else str(one)
        if isinstance(one, os.PathLike)
        else one
        for one in several
    ]


def stored(several: Sequence[Picture], folder: Path) -> tuple[Picture, ...]:
    """The pictures, those whose bytes were given as files in a folder, named by their content."""
    return tuple(one if one.data is None else _stored(one, one.data, folder) for one in several)


def _stored(picture: Picture, data: bytes, folder: Path) -> Picture:
    digest, kind = cast("str", picture.sha256), cast("str", picture.mime).rpartition("/")[2]
    path = folder.absolute() / digest[:2] / f"{digest[2:]}.{kind}"
    if not path.exists():
        partial = path.with_suffix(f".{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
            partial.replace(path)  # whole, or not there
        except OSError as error:
            raise InputError(f"a picture cannot be kept in {folder}: {error.strerror}") from None
    return dataclasses.replace(picture, data=None, path=str(path))
