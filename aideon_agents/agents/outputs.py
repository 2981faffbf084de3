"""What an agent's `output` may be: a pydantic model, a dataclass, a TypedDict, a list, or a JSON schema.

Providers accept an object as the root of a schema and nothing else. So a model is always asked for a
pydantic model whose root is an object, and its answer becomes what the agent was made with. A shape
that no model can be asked for is refused when the agent is made, before anything is paid.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    NotRequired,
    Required,
    TypeAlias,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from langchain_core.utils.function_calling import convert_to_json_schema
from pydantic import BaseModel, Field, RootModel, TypeAdapter, create_model
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
from pydantic_core import to_json

from aideon_agents.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Kept: TypeAlias = Any
"""What an answer becomes where it is no instance of the model that was asked for: a class, or a list."""

_Shape: TypeAlias = tuple[type[BaseModel], Kept | None]
_SUPPORTED = "give a pydantic model, a dataclass, a TypedDict, or a list of one of them"


class _Described(BaseModel):
    """An answer that fits a JSON schema."""

    given: ClassVar[dict[str, Any]] = {}

    @classmethod
    def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:
        """The schema as it was given."""
        return dict(cls.given)


class _Listed(BaseModel):
    """An answer whose only field is the list that was asked for."""

    items: Any


def asked_for(output: Any) -> _Shape:
    """The model to ask for, and what its answer becomes; None: it stays as it is."""
    is_plain = isinstance(output, type) and not get_args(output)
    named = f"output={output.__name__ if is_plain else repr(output)}"
    try:
        shape = _shape(output)
        if shape:
            shape[0].model_json_schema()
    except (PydanticUndefinedAnnotation, NameError) as error:
        raise UserError(f"{named}: {error.name} is not defined yet") from None
    except PydanticUserError as error:
        if undefined := re.search(r"you should define `(\w+)`", str(error)):
            raise UserError(f"{named}: {undefined[1]} is not defined yet") from None
        problem = str(error.message).partition("\n")[0]
        raise UserError(f"{named} cannot be described to a model: {problem}") from None
    if shape is None:
        raise UserError(f"{named} is nothing that a model can be asked for: {_SUPPORTED}")
    return shape


def _shape(output: Any) -> _Shape | None:
    if isinstance(output, dict):
        return _of_json_schema(cast("dict[str, Any]", output)), dict
    if get_origin(output) is Annotated:
        output = get_args(output)[0]
    if get_origin(output) is list:
        return _list_of(output, output, "List")
    if not isinstance(output, type) or output in {BaseModel, RootModel}:
        return None
    if is_typeddict(output):
        return _of_typed_dict(output), output
    if dataclasses.is_dataclass(output):
        return _of_dataclass(output), output
    return _of_model(output) if issubclass(output, BaseModel) else None


def _list_of(output: Any, kept_as: Kept, name: str) -> _Shape | None:
    (item,) = get_args(output)
    if item is Any:
        return None
    asked = list[_of_typed_dict(item)] if is_typeddict(item) else output
    items: Any = (asked, Field(description="The list that was asked for"))
    return create_model(name, __base__=_Listed, items=items), kept_as


def _of_model(output: type[BaseModel]) -> _Shape | None:
    if not issubclass(output, RootModel):
        output.model_rebuild()
        return output, None
    inner = output.model_fields["root"].annotation
    if get_origin(inner) is list:
        return _list_of(inner, output, output.__name__)
    shape = _shape(inner)
    return shape and (shape[0], output)


def _of_dataclass(output: Any) -> type[BaseModel]:
    hints = get_type_hints(output, include_extras=True)
    fields: dict[str, Any] = {}
    for one in dataclasses.fields(output):
        default: Any = ...
        if one.default is not dataclasses.MISSING:
            default = one.default
        elif one.default_factory is not dataclasses.MISSING:
            default = Field(default_factory=one.default_factory)
        if one.init:
            fields[one.name] = (hints[one.name], default)
    doc = output.__doc__
    # Python writes the signature where there is no docstring.
    described = None if doc and doc.startswith(f"{output.__name__}(") else doc
    return create_model(output.__name__, __doc__=described, **fields)


def _of_typed_dict(output: Any) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for name, given in get_type_hints(output, include_extras=True).items():
        marked = get_origin(given)
        hint = get_args(given)[0] if marked in {Required, NotRequired} else given
        # Where annotations are texts, Python does not read NotRequired in them.
        is_required = marked is not NotRequired and (
            marked is Required or name in output.__required_keys__
        )
        fields[name] = (hint, ... if is_required else None)
    return create_model(output.__name__, __doc__=output.__doc__, **fields)


def _of_json_schema(output: dict[str, Any]) -> type[BaseModel]:
    """A model whose schema is the given one. Of its rules, those of the fields at the top are checked."""
    try:
        schema = {"type": "object", **convert_to_json_schema(output)}
    except ValueError:
        schema = {}
    properties: object = schema.get("properties")
    if schema.get("type") != "object" or not isinstance(properties, dict) or not properties:
        raise UserError("output: a JSON schema needs a title, and properties of an object")
    fields: dict[str, Any] = {}
    for nth, (name, given) in enumerate(cast("dict[str, Any]", properties).items()):
        one: dict[str, Any] = given if isinstance(given, dict) else {}
        kind: Any = _KINDS.get(str(one.get("type")), Any)
        if (enum := one.get("enum")) and all(isinstance(value, str | int | None) for value in enum):
            kind = Literal[*enum]
        is_required = name in (schema.get("required") or ())
        # Its name may be one that a field of a pydantic model cannot have.
        field: Any = Field(... if is_required else None, alias=name)
        fields[f"field_{nth}"] = (kind if is_required else kind | None, field)
    made = create_model(schema["title"], __base__=_Described, **fields)
    made.given = schema
    return made


_KINDS: Mapping[str, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list[Any],
    "object": dict[str, Any],
}


def kept(answer: BaseModel, kept_as: Kept) -> Any:
    """An answer as what it is kept as."""
    if kept_as is dict:
        return answer.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if isinstance(answer, _Listed):
        item = next(iter(get_args(kept_as)), None)
        if is_typeddict(item):
            return [kept(one, item) for one in answer.items]
        return _adapter(kept_as).validate_python(answer.items)
    if isinstance(kept_as, type) and issubclass(kept_as, RootModel):
        return cast("Any", kept_as)(answer)
    if isinstance(kept_as, type) and issubclass(kept_as, BaseModel):
        return kept_as.model_validate(answer.model_dump())
    given = answer.model_fields_set
    values = {name: getattr(answer, name) for name in type(answer).model_fields if name in given}
    return values if is_typeddict(kept_as) else _adapter(kept_as).validate_python(values)


def read(model: type[BaseModel], kept_as: Kept | None, text: str) -> Any:
    """A text of JSON as an answer to `model` is kept; a ValueError if it does not fit."""
    if issubclass(model, _Listed):
        text = f'{{"items": {text}}}'
    answer = model.model_validate_json(text)
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        known: Any = extra.get("enum") if isinstance(extra, dict) else None
        if known and getattr(answer, name) not in known:
            raise ValueError(f"{name} is {getattr(answer, name)!r}: give one of {', '.join(known)}")
    return answer if kept_as is None else kept(answer, kept_as)


@functools.lru_cache(maxsize=256)
def _adapter(kept_as: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kept_as)


def as_json(data: Any) -> str:
    """Typed data as the text of a result."""
    if isinstance(data, BaseModel):
        return data.model_dump_json(indent=2)
    return to_json(data, indent=2).decode()


def one_of(names: Sequence[str]) -> Any:
    """A text field that names its values to the model, but whose parser accepts any."""
    described = f"One of: {', '.join(names)}"
    return Field(description=described, json_schema_extra={"enum": list(names)})
