"""Writes the values of a state as bytes, so that they come back equal and of the same class.

LangGraph's serializer keeps a pydantic model as plain values, in which it knows nothing of pydantic's
own types, such as HttpUrl, and it makes lists of tuples. Here a model, a dataclass, an enumeration
and a container are kept with their class, and what is in them likewise. Everything else, messages
included, stays LangGraph's. Bytes become only the classes that the reader allows, and pydantic's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import importlib
import re
from typing import TYPE_CHECKING, Any, cast

import ormsgpack
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Interrupt, Send
from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic_core import MultiHostUrl, PydanticUndefined, Url

from aideon_agents.ledger.forks import lazily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_MODEL, _DATACLASS, _ENUM, _PYDANTIC, _BUILT_IN, _LANGGRAPH = range(100, 106)
"""What an extension of msgpack holds; LangGraph's own are below 100."""

_OPTION = (
    ormsgpack.OPT_NON_STR_KEYS
    | ormsgpack.OPT_PASSTHROUGH_BIG_INT
    | ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_TUPLE
    | ormsgpack.OPT_PASSTHROUGH_UUID
    | ormsgpack.OPT_REPLACE_SURROGATES
)

_FRAMEWORK = ("langchain_core.", "langgraph.")
_PYDANTICS = re.compile(
    r"pydantic\.networks\.\w+|pydantic\.types\.(Secret\w*|PaymentCardNumber)|pydantic\.color\.Color"
    r"|pydantic_core\._pydantic_core\.(MultiHost)?Url|pydantic_extra_types\.[\w.]+"
)
"""Classes of pydantic that bytes may name; its ImportString would import whatever they name."""


class StateSerializer(JsonPlusSerializer):
    """Writes any state, and reads one that may hold some classes."""

    types: Iterable[type] = ()
    """The classes that it may make: set, and not an argument, because each run sets them."""
    _refused: str | None = None

    @lazily
    def _classes(self) -> dict[tuple[str, str], type]:
        return {(one.__module__, one.__qualname__): one for one in self.types}

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """Write a value."""
        if obj is None or isinstance(obj, bytes | bytearray):
            return super().dumps_typed(obj)
        return "msgpack", self._packed(obj)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Read a value, also one that LangGraph's own serializer has written."""
        return self._unpacked(data[1]) if data[0] == "msgpack" else super().loads_typed(data)

    def unkept(self, value: Any) -> str | None:
        """The class of something in a value that cannot be kept; None: all of it can be."""
        self._refused = None
        try:
            self.dumps_typed(value)
        except TypeError:
            return self._refused or type(value).__qualname__
        return None

    def _packed(self, value: Any) -> bytes:
        return ormsgpack.packb(value, default=self._extended, option=_OPTION)

    def _unpacked(self, packed: bytes) -> Any:
        return ormsgpack.unpackb(packed, ext_hook=self._read, option=ormsgpack.OPT_NON_STR_KEYS)

    def _extended(self, value: Any) -> ormsgpack.Ext:
        """A value that msgpack does not know; a TypeError if it cannot be kept."""
        kind = type(value)
        try:
            if kind in _PARTS:
                name, parts = _PARTS[kind]
                return self._ext(_BUILT_IN, [name, parts(value)])
            if named := _as_plain(value, kind):
                code, plain = named
                return self._ext(code, [kind.__module__, kind.__qualname__, plain])
            return ormsgpack.Ext(_LANGGRAPH, super().dumps_typed(value)[1])
        except (TypeError, ValueError, PydanticUserError):
            # What packs it turns every error into one that names the outermost class.
            self._refused = self._refused or kind.__qualname__
            raise TypeError(f"a {kind.__qualname__} cannot be kept") from None

    def _ext(self, code: int, value: list[Any]) -> ormsgpack.Ext:
        return ormsgpack.Ext(code, self._packed(value))

    def _read(self, code: int, packed: bytes) -> Any:
        """An extension as a value; where its class is not allowed or has changed, plain values."""
        if code < _MODEL:
            packed, code = ormsgpack.packb(ormsgpack.Ext(code, packed)), _LANGGRAPH
        if code == _LANGGRAPH:
            return super().loads_typed(("msgpack", packed))
        given = self._unpacked(packed)
        if code == _BUILT_IN:
            return _BUILT[given[0]](given[1])
        module, name, plain = given
        known = self._classes.get((module, name))
        made = known or (_of_pydantic(module, name) if code == _PYDANTIC else None)
        with contextlib.suppress(TypeError, ValueError):
            if made is not None:
                return _MADE[code](made, plain)
        return plain["__dict__"] if code == _MODEL else plain


class _Pairs:
    """A mapping whose keys are no texts: msgpack would write an enumeration as its value."""

    def __init__(self, pairs: Mapping[Any, Any]) -> None:
        self.pairs = [list(one) for one in pairs.items()]


_PARTS: dict[type, tuple[str, Callable[[Any], Any]]] = {
    tuple: ("tuple", list),
    set: ("set", list),
    frozenset: ("frozenset", list),
    int: ("int", str),  # with more than 64 bits
    complex: ("complex", str),
    _Pairs: ("dict", lambda value: value.pairs),
    Send: ("Send", lambda value: [value.node, value.arg, value.timeout]),
    Interrupt: ("Interrupt", lambda value: [value.value, value.id, value.response_schema]),
}
"""The name of a class whose values msgpack does not know, and what such a value is made of."""

_BUILT: dict[str, Callable[[Any], Any]] = {
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "int": int,
    "complex": complex,
    "dict": dict,
    "Send": lambda given: Send(*given[:2], timeout=given[2]),
    "Interrupt": lambda given: Interrupt(given[0], id=given[1], response_schema=given[2]),
}
"""The same classes, by name: what makes a value of its parts again."""


def _as_plain(value: Any, kind: type) -> tuple[int, Any] | None:
    """A value whose class is kept with it, as plain values; None: it is LangGraph's to write."""
    if isinstance(value, enum.Enum):
        return _ENUM, value.value
    if kind.__module__.startswith(_FRAMEWORK):
        return None
    if isinstance(value, BaseModel):
        return _MODEL, _with_pairs(_state(value))
    if dataclasses.is_dataclass(kind):
        names = (one.name for one in dataclasses.fields(kind))
        fields = {name: getattr(value, name) for name in names if hasattr(value, name)}
        return _DATACLASS, _with_pairs(fields)
    has_schema = hasattr(kind, "__get_pydantic_core_schema__") or issubclass(
        kind, Url | MultiHostUrl
    )
    return (_PYDANTIC, _json_value(value)) if has_schema else None


def _of_pydantic(module: str, name: str) -> type | None:
    if not _PYDANTICS.fullmatch(f"{module}.{name}"):
        return None
    found = getattr(importlib.import_module(module), name, None)
    return found if isinstance(found, type) else None


def _with_pairs(value: Any) -> Any:
    """The values of a field with mappings that keep the classes of their keys."""
    if type(value) is dict:
        inner = {key: _with_pairs(one) for key, one in cast("dict[Any, Any]", value).items()}
        return inner if all(type(key) is str for key in inner) else _Pairs(inner)
    if type(value) in {list, tuple}:
        many = [_with_pairs(one) for one in cast("list[Any]", value)]
        return many if isinstance(value, list) else tuple(many)
    return value


def _state(value: BaseModel) -> dict[str, Any]:
    """What pydantic itself keeps of a model, without computed values and private locks, say."""
    state = value.__getstate__()
    fields = type(value).model_fields
    own = {name: one for name, one in state["__dict__"].items() if name in fields}
    private = (state.get("__pydantic_private__") or {}).items()
    kept = {name: one for name, one in private if StateSerializer().unkept(one) is None}
    return {**state, "__dict__": own, "__pydantic_private__": kept}


def _json_value(value: Any) -> Any:
    if isinstance(value, Url | MultiHostUrl):
        return str(value)
    if hasattr(value, "get_secret_value"):
        return value.get_secret_value()
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def _as_model(made: type[BaseModel], state: dict[str, Any]) -> BaseModel:
    """A model as it was, unvalidated; a changed class makes what it can of its old fields."""
    old, fields = state["__dict__"], made.model_fields
    needed = {name for name, one in fields.items() if one.is_required()}
    if not needed <= old.keys() <= fields.keys():
        return made.model_validate(old)
    filled = {
        name: one.get_default(call_default_factory=True, validated_data=old)
        for name, one in fields.items()
        if name not in old
    }
    private = {
        name: cast("Any", one.default_factory)() if one.default_factory else one.get_default()
        for name, one in made.__private_attributes__.items()
    }
    private = {name: one for name, one in private.items() if one is not PydanticUndefined}
    known = {**private, **(state.get("__pydantic_private__") or {})}
    model = made.__new__(made)
    model.__setstate__(
        {**state, "__dict__": {**filled, **old}, "__pydantic_private__": known or None}
    )
    return model


def _as_dataclass(made: Any, values: dict[str, Any]) -> Any:
    fields = {one.name: one for one in dataclasses.fields(made)}
    given = {name: one for name, one in values.items() if name not in fields or fields[name].init}
    instance = made(**given)
    for name in values.keys() - given.keys():
        object.__setattr__(instance, name, values[name])
    return instance


def _as_pydantic(made: Any, value: Any) -> Any:
    is_plain = issubclass(made, Url | MultiHostUrl) or hasattr(made, "get_secret_value")
    return made(value) if is_plain else TypeAdapter(made).validate_python(value)


_MADE: dict[int, Callable[[Any, Any], Any]] = {
    _MODEL: _as_model,
    _DATACLASS: _as_dataclass,
    _ENUM: lambda made, value: made(value),
    _PYDANTIC: _as_pydantic,
}
