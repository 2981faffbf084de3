"""Typed answers: ask for one, find the JSON in what the model says, ask once more if it is wrong.

A small model puts its thoughts, words, code fences and the marks of its chat template around the
JSON. The text is read once, from its start to its end. An object is read as a whole before the search
continues behind it, because marks inside its texts are part of them.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
from typing import TYPE_CHECKING, Any, TypeVar, cast

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from pydantic import BaseModel, RootModel, ValidationError

from aideon_agents.errors import Malformed
from aideon_agents.ledger.redaction import ANSWER_BEGINS
from aideon_agents.models.bridge import blocking
from aideon_agents.models.candidates import announce_restart
from aideon_agents.models.fallbacks import pass_of
from aideon_agents.models.features import SHAPE, in_words, shape_name
from aideon_agents.models.protocol.reading import mended
from aideon_agents.models.protocol.thoughts import BEGINS, ENDS, OVER, UNMARKED, UNMARKED_ANSWER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.language_models import LanguageModelInput

Model = TypeVar("Model", bound=BaseModel)

_SHOWN = 120  # characters of a wrong answer that an error shows

_MARK = re.compile(
    rf"(?P<thought>{BEGINS})|(?P<answer>{ENDS})|(?P<over>{OVER})"
    r"|```[ \t]{0,9}(?P<fence>\w*)"
    r"|(?P<json>[{\[])"
    r'|(?P<encoded>"(?=(?:\s|\\n){0,20}\{\s{0,20}\\))',
    re.IGNORECASE,
)
"""Where thoughts begin, where the answer begins, where it is over, and what may be JSON."""
_JSON_FENCES = frozenset({"", "json", "json5", "jsonc", "jsonl", "text", "txt", "md", "markdown"})
_BRACKET = re.compile(r"[{\[]")
_MOST_ENCODED = 100
"""Texts in which JSON is looked for: each of them may be read to its end."""
_MOST_TRIED = 1000
"""Values that are compared with the schema."""
_CUT = 4096
"""Characters after which what was read is cut off: an error of `json` counts lines from the start."""
_TOO_DEEP = 500
"""Brackets that are passed over where JSON is nested too deep to be read."""


def parse(answer: AIMessage, schema: type[Model]) -> Model:
    """Read a typed answer; Malformed: it holds no instance of `schema`.

    Where several objects fit the schema, the last one counts.
    """
    text = _text_of(answer, schema)
    if (whole := _whole(text, schema)) is not None:
        return whole
    problem = ""
    for value in itertools.islice(_values(text, schema), _MOST_TRIED):
        try:
            return _valid(value, schema)
        except ValidationError as error:
            problem = problem or _problem(error)
    begins = text[:_SHOWN] + ("…" if len(text) > _SHOWN else "")
    raise Malformed(
        f"the answer is no {schema.__name__}: {problem or _without_json(text, schema)}"
        f"{ANSWER_BEGINS}{json.dumps(begins, ensure_ascii=False)}"
    )


def _problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the answer"
    return f"{place}: {first['msg']}"


def _without_json(text: str, schema: type[BaseModel]) -> str:
    """What is wrong with a text that holds no value that could be the answer."""
    try:
        schema.model_validate_json(text)
    except ValidationError as error:
        return _problem(error)
    return "the answer: it repeats the schema"


def cut_off(answer: AIMessage, schema: type[BaseModel] | None) -> Malformed | None:
    """The error of a typed answer that met `max_tokens` before it was whole; None: it did not."""
    if schema is None or answer.response_metadata.get("finish_reason") != "length":
        return None
    try:
        parse(answer, schema)
    except Malformed as wrong:
        return Malformed(f"{wrong}; it met max_tokens: give it more")
    return None


def has_json(answer: AIMessage, schema: type[BaseModel]) -> bool:
    """Whether an answer holds an object or a list at all, fitting or not."""
    return any(values for part in _parts(_text_of(answer, schema)) for values in part)


def _text_of(answer: AIMessage, schema: type[BaseModel]) -> str:
    """The text of an answer, or the arguments of the tool of the schema."""
    calls: list[tuple[str, str]] = [
        (call["name"], json.dumps(call["args"], ensure_ascii=False)) for call in answer.tool_calls
    ]
    calls += [(call["name"] or "", call["args"] or "") for call in answer.invalid_tool_calls]
    given = [arguments for name, arguments in calls if _is_name(name, schema)]
    return (given[-1] if given else answer.text).strip()


def _is_name(name: object, schema: type[BaseModel]) -> bool:
    """Whether a model means the schema by a name, which it may spell in its own way."""
    spelled, meant = (re.sub(r"[\W_]", "", str(one)).lower() for one in (name, shape_name(schema)))
    return spelled == meant


def _whole(text: str, schema: type[Model]) -> Model | None:
    """The answer of a text that is JSON and nothing else, as nearly all are."""
    if not text.startswith("{") or '"properties"' in text:
        return None
    try:
        return schema.model_validate_json(text)
    except ValidationError:
        return None


def _valid(value: object, schema: type[Model]) -> Model:
    """A value as an instance. As JSON: pydantic is then less strict about dates and the like."""
    try:
        return schema.model_validate_json(mended(json.dumps(value, ensure_ascii=False)))
    except ValidationError:
        inner = _unwrapped(value, schema)
        if inner is None:
            raise
    return schema.model_validate_json(mended(json.dumps(inner, ensure_ascii=False)))


def _unwrapped(value: object, schema: type[BaseModel]) -> object | None:
    """The arguments of a tool call that a model has written as text; None: it is none."""
    if not isinstance(value, dict):
        return None
    known = cast("dict[str, Any]", value)
    for name, inner in known.items() if len(known) == 1 else ():
        if _is_name(name, schema):
            return inner
    if not _is_name(known.get("name"), schema):
        return None
    inner = known.get("arguments") or known.get("parameters")
    if isinstance(inner, str):
        return next(_values(inner, schema), None)
    return inner


def _values(text: str, schema: type[BaseModel]) -> Iterator[object]:
    """What may be the answer, best first; a list only where there is no object."""
    for part in _parts(text):
        for values in part:
            own = [one for one in reversed(values) if not _is_schema(one, schema)]
            is_list = issubclass(schema, RootModel)
            objects = own if is_list else [one for one in own if isinstance(one, dict)]
            yield from objects or own[:1]


def _is_schema(value: object, schema: type[BaseModel]) -> bool:
    """Whether a value is the schema itself, which some models repeat."""
    if not isinstance(value, dict):
        return False
    known = cast("dict[str, Any]", value)
    if "$defs" in known or "$schema" in known:
        return True
    fields, properties = schema.model_fields, known.get("properties")
    return (
        isinstance(properties, dict)
        and "properties" not in fields
        and known.get("type") == "object"
    )


def _parts(text: str) -> list[tuple[list[object], list[object]]]:
    """The JSON of each turn in a text: outside and inside code of other languages, in their order.

    A model that does not stop at the end of its turn continues with turns of others.
    """
    if UNMARKED.match(text) and UNMARKED_ANSWER in text:
        text = text.rpartition(UNMARKED_ANSWER)[2]
    parts: list[tuple[list[object], list[object]]] = [([], [])]
    fence: str | None = None
    at = tries = 0
    while mark := _MARK.search(text, at):
        if mark.start() > _CUT:
            text, at = text[mark.start() :], 0
            continue
        at = mark.end()
        if mark["thought"]:
            end = next((one for one in _MARK.finditer(text, at) if one["answer"]), None)
            at = end.end() if end else len(text)
        elif mark["answer"]:
            parts = [([], [])]  # all before it were thoughts
        elif mark["over"]:
            parts.append(([], []))
        elif mark["fence"] is not None:
            fence = None if fence is not None and not mark["fence"] else mark["fence"].lower()
        elif mark["json"] or tries < _MOST_ENCODED:
            tries += bool(mark["encoded"])
            values, at = _read(text, mark)
            parts[-1][fence not in _JSON_FENCES | {None}].extend(values)
    return parts


def _read(text: str, mark: re.Match[str]) -> tuple[list[object], int]:
    """The value that begins at a mark, if it is one, and where to go on."""
    begins = mark.start()
    try:
        value, ends = _DECODER.raw_decode(text, begins)
        if mark["encoded"]:
            value = _DECODER.decode(value)
    except json.JSONDecodeError as error:
        # Inside what broke off there are no answers, but parts of one.
        return [], begins + 1 if mark["encoded"] else max(begins + 1, error.pos)
    except RecursionError:
        inside = itertools.islice(_BRACKET.finditer(text, begins), _TOO_DEEP)
        return [], max(one.end() for one in inside)
    return [value], ends


def _whole_number(digits: str) -> float:
    """A number of any length; Python refuses to read very long ones."""
    return int(digits) if len(digits) < 1000 else float(digits)  # noqa: PLR2004 - far more than any number has


_DECODER = json.JSONDecoder(strict=False, parse_int=_whole_number)
"""It accepts line breaks inside texts, as small models write them."""


def shaped(model: Any, schema: type[Model], **kwargs: Any) -> Runnable[LanguageModelInput, Model]:
    """A runnable that asks `model` for an instance of `schema`, in at most two calls."""
    bound = model.bind(**{SHAPE: schema}, **kwargs)
    features = model.candidate.features

    async def ask(question: LanguageModelInput, config: RunnableConfig) -> Model:
        messages = model._convert_input(question).to_messages()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - as LangChain reads it
        complain = functools.partial(pass_of(config, model.candidate).complain, model.candidate)
        rung = features.rung
        first = await bound.ainvoke(messages, config)
        try:
            answer = parse(first, schema)
        except Malformed as wrong:
            features.count_prose(rung, has_json=has_json(first, schema))
            cut = cut_off(first, schema)
            complain(cut or wrong, is_last=cut is not None)
            # A server that ignores the format gets the schema in words.
            again = HumanMessage(f"That cannot be used: {wrong}. {in_words(schema)}")
        else:
            features.count_prose(rung, has_json=True)
            return answer
        announce_restart(config)
        quoted = AIMessage(
            _text_of(first, schema) or "(no answer)"
        )  # no call of a tool: it would need a result
        second = await bound.ainvoke([*messages, quoted, again], config)
        try:
            return parse(second, schema)
        except Malformed as wrong:
            features.count_prose(rung, has_json=has_json(second, schema))
            complain(cut_off(second, schema) or wrong, is_last=True)
            raise

    def ask_blocking(question: LanguageModelInput, config: RunnableConfig) -> Model:
        return blocking(ask(question, config))

    return RunnableLambda(ask_blocking, ask, name=f"shape {schema.__name__}")
