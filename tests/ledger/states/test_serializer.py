"""What is in a state comes back equal, and of the same class."""

from __future__ import annotations

import dataclasses
import decimal
import enum
import threading
import uuid
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import ormsgpack
import pytest
from langchain_core.messages import AIMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Interrupt, Send
from pydantic import (
    AnyUrl,
    BaseModel,
    ByteSize,
    ConfigDict,
    HttpUrl,
    IPvAnyAddress,
    PostgresDsn,
    PrivateAttr,
    RootModel,
    Secret,
    SecretStr,
    TypeAdapter,
    field_validator,
)
from pydantic_core import Url

from aideon_agents.ledger.states.serializer import StateSerializer
from aideon_agents.state import StepResult

T = TypeVar("T")


class Kind(enum.Enum):
    LINK = "link"


class ShortUrl(HttpUrl):
    """A user's own."""


class Link(BaseModel):
    url: HttpUrl
    kind: Kind = Kind.LINK


@dataclasses.dataclass
class Seen:
    url: HttpUrl
    link: Link
    counted: int = dataclasses.field(init=False, default=0)


class Page(BaseModel, Generic[T]):
    items: list[T]


class Links(RootModel[list[Link]]):
    pass


class Odd(BaseModel):
    """One whose validators and computed values must not run again, and that holds a lock."""

    model_config = ConfigDict(extra="allow")
    name: str
    _lock: Any = PrivateAttr(default_factory=threading.Lock)
    _count: int = PrivateAttr(1)

    @field_validator("name")
    @classmethod
    def _longer(cls, name: str) -> str:
        return f"{name}!"

    @cached_property
    def lock(self) -> Any:
        return threading.Lock()


class Everything(BaseModel):
    any: AnyUrl
    short: ShortUrl
    database: PostgresDsn
    host: IPvAnyAddress
    secret: SecretStr
    number: Secret[int]
    size: ByteSize
    links: dict[str, list[Link]]
    kinds: dict[Kind, int]
    pair: tuple[int, Link]
    names: set[str]
    seen: Seen | Link
    big: int
    price: decimal.Decimal
    path: Path
    when: datetime
    took: timedelta
    id: uuid.UUID
    data: bytes
    page: Page[int]
    other: Any = None


LINK = Link(url=HttpUrl("https://a.example/x?y=1"))
SEEN = Seen(HttpUrl("https://b.example"), LINK)
ALL = Everything.model_validate(
    {
        "any": "ftp://a.example/f",
        "short": "https://c.example",
        "database": "postgresql://user:word@host/db",
        "host": "1.2.3.4",
        "secret": "hidden",
        "number": 5,
        "size": "1 kB",
        "links": {"a": [LINK]},
        "kinds": {Kind.LINK: 1},
        "pair": (1, LINK),
        "names": {"a"},  # one: two would print in any order
        "seen": SEEN,
        "big": 10**30,
        "price": "1.10",
        "path": "/a/b",
        "when": datetime(2026, 1, 1, tzinfo=UTC),
        "took": timedelta(minutes=1),
        "id": uuid.UUID(int=5),
        "data": b"\0",
        "page": Page[int](items=[1]),
        "other": {"t": (1, 2), "z": 1j, "u": Url("https://d.example")},
    }
)


def serializer(*types: type) -> StateSerializer:
    made = StateSerializer(allowed_msgpack_modules=types)
    made.types = types
    return made


KNOWN = serializer(Kind, Link, Seen, Page[int], Links, Odd, Everything, ShortUrl, StepResult)


def again(value: Any, using: StateSerializer = KNOWN) -> Any:
    return using.loads_typed(using.dumps_typed(value))


@pytest.mark.parametrize(
    "value",
    [
        LINK,
        SEEN,
        ALL,
        Links([LINK]),
        [LINK.url, SecretStr("x"), (1, (2,)), {3}, frozenset([4]), 2**80, None],
        {"results": {"a/b": StepResult(node_path="a/b", role="executor", content="x", data=ALL)}},
        Interrupt({"of": LINK}, id="i1", response_schema={"type": "string"}),
        Send("work", {"data": SEEN}, timeout=5),
        TypeAdapter(PostgresDsn).validate_python("postgresql://a@b/c"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_comes_back_is_equal_and_of_the_same_class(value):
    back = again(value)
    assert back == value
    assert repr(back) == repr(value)  # a tuple is no list


def test_a_model_comes_back_without_its_validators_and_with_its_other_keys():
    odd = Odd(name="a", more=(1,))
    odd._count = 7
    assert odd.lock
    back = again(odd)
    assert (back.name, back.more, back._count) == ("a!", (1,), 7)
    assert back._lock is not odd._lock
    assert back._lock.acquire(blocking=False)


def test_messages_are_langgraphs_to_write():
    message = AIMessage("hi", id="1")
    assert again([message]) == [message]


def test_what_langgraph_wrote_before_can_be_read():
    older = JsonPlusSerializer().dumps_typed({"a": Kind.LINK, "b": Path("/x")})
    assert KNOWN.loads_typed(older) == {"a": Kind.LINK, "b": Path("/x")}


def test_a_class_that_nobody_allowed_comes_back_as_its_values():
    nobody = serializer()
    assert again(LINK, nobody) == {"url": HttpUrl("https://a.example/x?y=1"), "kind": "link"}
    assert again(Kind.LINK, nobody) == "link"


def test_a_class_that_has_changed_makes_what_it_can_of_what_was_kept():
    class Link(BaseModel):
        url: HttpUrl
        kind: Kind = Kind.LINK
        note: str = "none"

    Link.__qualname__ = "Link"
    newer = serializer(Kind, Link)
    back = newer.loads_typed(KNOWN.dumps_typed(LINK))
    assert back == Link(url=HttpUrl("https://a.example/x?y=1"))


def test_bytes_cannot_name_a_function_or_an_import():
    for module, name in (
        ("pydantic.types", "ImportString"),
        ("pydantic.networks", "validate_email"),
        ("subprocess", "getoutput"),
    ):
        inner = ormsgpack.packb([module, name, "antigravity"])
        packed = ormsgpack.packb(ormsgpack.Ext(103, inner))
        assert KNOWN.loads_typed(("msgpack", packed)) == "antigravity"


def test_what_cannot_be_kept_is_named():
    assert KNOWN.unkept({"a": [ALL]}) is None
    assert KNOWN.unkept({"a": [LINK, {"b": (threading.Lock(),)}]}) == "lock"
    with pytest.raises(TypeError):
        KNOWN.dumps_typed(threading.Lock())
