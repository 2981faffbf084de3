"""What a run is given, checked before any model is called, and what its graph takes and gives.

Our graphs take a `task` and `inputs`, and give `results`. A graph made elsewhere has keys of its own:
its `messages` receive the task as a person's message, and each input is passed under its own name.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
import inspect
from collections.abc import Mapping
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast, get_args

from langchain_core.messages import BaseMessage, HumanMessage, convert_to_messages
from langchain_core.tools import BaseTool
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import interrupt
from pydantic_core import to_json

from aideon_agents.agents.judging import quality_of
from aideon_agents.agents.node import Agent
from aideon_agents.errors import InputError, shown
from aideon_agents.graphs import Graph
from aideon_agents.graphs.enclosing import Enclosing
from aideon_agents.graphs.material import require, with_pictures
from aideon_agents.graphs.output import output
from aideon_agents.graphs.walk import (
    functions,
    graphs,
    named_images,
    once_per_graph,
    path_keys,
    requests,
    required_keys,
    walk,
)
from aideon_agents.ledger.budgets.limits import Budget
from aideon_agents.ledger.checkpointer import Checkpointer
from aideon_agents.ledger.rows import Run
from aideon_agents.ledger.store import Ledger
from aideon_agents.models import Models, models_for
from aideon_agents.models.answers.reply import estimate_tokens
from aideon_agents.models.pictures import filled
from aideon_agents.models.providers import choices
from aideon_agents.models.strategies import max_age, strategies
from aideon_agents.runner.options import check_paths
from aideon_agents.runner.outcome import Journal, is_library
from aideon_agents.settings import Settings
from aideon_agents.state import (
    Context,
    Model,
    OnRateLimit,
    Privacy,
    Role,
    StepResult,
    Strategy,
    Tier,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from langchain_core.runnables import RunnableConfig

    from aideon_agents.state import Picture


class Nothing(enum.Enum):
    """The type of NOTHING."""

    NOTHING = enum.auto()


NOTHING: Final = Nothing.NOTHING
"""That no answer was given. None is an answer: JSON's null."""


Keeping: TypeAlias = Literal["each step", "end"]
"""When the state of a run is kept: after each step, or once, when the run ends early."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSpec:
    """Everything that a run is given."""

    graph: Graph
    context: Context
    start: Run
    """What its row says. For the items of a batch: what all of their rows say."""
    task: str = ""
    """Empty for a run that resumes: the task is read from its state."""
    entry: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    """The input of the graph; empty for a run that resumes."""
    timeout: float | None
    """Seconds until it is stopped; None: never."""
    budget: Budget | None
    """What it may cost; None: only standing limits apply, and a budget that it has already."""
    ledger: Ledger | str | Path
    record_content: bool
    """Whether prompts and answers are kept."""
    checkpoint: Keeping | None = "each step"
    """When its state is kept; None: never."""
    checkpointer: Checkpointer | None = None
    """What keeps its state, if many runs share one; None: it is opened for this run."""
    resumes: Run | None = None
    """The row of the run as it was read; None: the run is new."""
    answer: object = NOTHING
    """The answer to the questions of a run that resumes."""
    journal: Journal | None = None
    """Records the run as one of a batch's items; None: it belongs to no batch."""
    config: RunnableConfig | None = None
    """What the caller gave of LangChain's config; None: nothing."""
    otel: bool | None = None
    """As `Settings.otel`."""


Room: TypeAlias = "tuple[Role, int]"
"""A role, and the tokens of prompt and answer that the largest of its models takes."""


def check_task(graph: Graph, task: str, inputs: Mapping[str, Any]) -> None:
    """Refuse a task or inputs that the graph cannot run with."""
    if not isinstance(cast("object", task), str):
        raise InputError(f"the task is {shown(task)}: it must be text")
    if not isinstance(cast("object", inputs), Mapping):
        raise InputError(f"the inputs are a {type(inputs).__name__}: they must be values by key")
    if wrong := [key for key in inputs if not isinstance(cast("object", key), str)]:
        raise InputError(f"the inputs have the key {shown(wrong[0])}: a key must be text")
    if not task.strip():
        raise InputError("the task is empty: say what to do with --task TEXT or --file PATH")
    require(required_keys(graph), {"task": task, "inputs": dict(inputs), "results": {}})
    if keys := path_keys(graph):
        check_paths(keys, inputs)
    for images, folder in named_images(graph):
        filled(images, folder, {**inputs, "task": task})


def check_length(task: str, rooms: Sequence[Room]) -> None:
    """Refuse a task that is longer than the models of an agent take."""
    tokens = estimate_tokens(task)
    for role, room in rooms:
        if tokens > room:
            raise InputError(
                f"the task has about {tokens:,} tokens, and the {role}'s models take "
                f"{room:,} at most: shorten it, or name a larger model with --model"
            )


def check_models(graph: Graph, context: Context) -> list[Room]:
    """Refuse an agent that no model can answer; returns what models take, where that is known."""
    rooms, models = list[Room](), cast("Models", context.models)
    for request in requests(graph):
        if isinstance(request, MethodType):  # of a node that makes files
            request(context)
            continue
        given = context.model.get(request.role) or request.model
        vision = request.vision or (request.vision is None and bool(context.images)) or None
        wanted = dataclasses.replace(request, model=given, vision=vision)
        models.chat(wanted, context)
        if (room := models.roomiest(wanted, context)) is not None:
            rooms.append((request.role, room))
    return rooms


def context_for(
    settings: Settings,
    *,
    tier: str | None,
    user: str | None,
    model: Mapping[str, Model | Sequence[Model]] | None,
    stream: bool,
    rehearse: bool,
    fallback: bool | Sequence[Strategy],
    on_rate_limit: str | None,
    cache: str | None,
    privacy: str | None,
    quality: object,
    replace_retired: bool | None,
    is_item: bool,
) -> Context:
    """What the nodes of a run are given; an error names a tier or a role that does not exist."""
    named = {"on_rate_limit": (on_rate_limit, OnRateLimit), "privacy": (privacy, Privacy)}
    for name, (value, kind) in named.items():
        if value not in (None, *get_args(kind)):
            raise InputError(f"{name} is {value!r}: give {' or '.join(get_args(kind))}")
    tier = tier or settings.tier
    if tier not in get_args(Tier):
        raise InputError(f"there is no tier {tier!r}: one of {', '.join(get_args(Tier))}")
    if unknown := [role for role in model or {} if role not in get_args(Role)]:
        raise InputError(f"there is no role {unknown[0]!r}: one of {', '.join(get_args(Role))}")
    chains = {role: choices(chain, f"the {role}") for role, chain in (model or {}).items()}
    return Context(
        models=models_for(cast("Any", settings)),
        tier=cast("Tier", tier),
        user=user,
        model=chains,
        stream=stream,
        rehearse=rehearse,
        fallback=fallback if isinstance(fallback, bool) else strategies(fallback, "the run"),
        on_rate_limit=cast("Any", on_rate_limit),
        privacy=cast("Any", privacy),
        quality=None if quality is None else quality_of(quality, "", InputError),
        replace_retired=bool(replace_retired),
        is_item=is_item,
        cache=None if cache is None else max_age(cache, "the run"),
    )


_TASK_KEYS = ("task", "messages")
"""The keys that a task can be passed in."""


def input_keys(graph: Graph) -> tuple[str, ...]:
    builder = graph.builder
    return tuple(sorted(builder.schemas[builder.input_schema]))


def takes_task(graph: Graph) -> bool:
    """Whether a graph reads a task as our nodes do. Others only know LangGraph's threads."""
    return "task" in graph.builder.schemas[graph.builder.input_schema]


def graph_input(
    graph: Graph, task: str, inputs: Mapping[str, Any], images: Sequence[Picture] = ()
) -> dict[str, Any]:
    """The input of a graph for a task. An error names the keys that the graph takes.

    Our agents take pictures from the run. A graph made elsewhere gets them in the message.
    """
    takes = input_keys(graph)
    if not set(takes) & set(_TASK_KEYS):
        raise InputError(
            f"{graph.get_name()} takes {', '.join(takes)}: a task needs a key "
            f"{' or '.join(_TASK_KEYS)} in the state of the graph"
        )
    put: dict[str, Any] = {"task": task, "messages": [HumanMessage(task)]}
    if images and "task" not in takes:
        put["messages"] = [HumanMessage(with_pictures(task, images))]
    given = {key: value for key, value in put.items() if key in takes}
    if "inputs" in takes:
        return {**given, "inputs": dict(inputs)}
    unknown = [key for key in inputs if key not in takes or key in given]
    if unknown:
        raise InputError(
            f"{graph.get_name()} has no input {unknown[0]!r}: it takes {', '.join(takes)}"
        )
    return {**given, **inputs}


def output_text(
    graph: Graph, values: Mapping[str, Any], results: Mapping[str, StepResult], *, completed: bool
) -> str | None:
    """The output of a graph as text; None: there is none.

    It is the last message if a person did not write it, else the last result, and those of all branches
    of a graph that ends in several. A graph without results gives its output values as JSON.
    """
    if text := _last_message(values.get("messages")):
        return text
    if last := output(graph, results):
        return last.content
    if not completed or isinstance(values.get("results"), Mapping):
        return None
    gives = graph.builder.schemas[graph.builder.output_schema]
    given = {key: value for key, value in values.items() if key in gives and key != "messages"}
    return to_json(given, indent=2, serialize_unknown=True).decode() if given else None


def _last_message(messages: object) -> str | None:
    if not isinstance(messages, list) or not messages:
        return None
    last = cast("list[Any]", messages)[-1]
    if not isinstance(last, BaseMessage | dict | tuple):
        return None
    (message,) = convert_to_messages([last])
    return None if isinstance(message, HumanMessage) else str(message.text)


def keeping(keeps: bool) -> Keeping | None:  # noqa: FBT001 - the option `checkpoint`
    """When the state of a run is kept whose caller has decided that."""
    return "each step" if keeps else None


def needed_keeping(graph: Graph, thread: str | None, budget: object) -> Keeping | None:
    """When the state of a run is kept whose caller has not decided that."""
    if thread is not None or may_wait(graph):
        return "each step"
    return None if budget is None else "end"


@once_per_graph
def may_wait(graph: Graph) -> bool:
    """Whether a node may ask a person: an approval, a tool, or code that is not of this package."""
    return (
        _has_breakpoint(graph)
        or any(True for _ in functions(graph))
        or any(node.asks or not _is_known(node.runs) for node in walk(graph))
    )


def _has_breakpoint(graph: Graph) -> bool:
    return any(one.interrupt_before_nodes or one.interrupt_after_nodes for one in graphs(graph))


def _is_known(runs: Any) -> bool:
    """Whether nothing but this package's code runs in a node, apart from what `functions` finds."""
    if isinstance(runs, Agent):
        return runs.is_alone
    is_function = callable(getattr(runs, "func", None)) or callable(getattr(runs, "afunc", None))
    return is_function or isinstance(runs, CompiledStateGraph | Enclosing)


@once_per_graph
def asks(graph: Graph) -> bool:
    """Whether a node asks a person: an approval, a breakpoint, or code that names `interrupt`.

    Code is read, not run: of functions and tools, and of the user's functions that they name.
    """
    seen: dict[int, object] = {}
    unread: list[object] = [graph]
    while unread:
        one = unread.pop()
        if one is interrupt:
            return True
        code = getattr(one, "__func__", one)
        if id(code) in seen:
            continue
        seen[id(code)] = code
        if isinstance(one, CompiledStateGraph):
            if _has_breakpoint(one) or any(node.asks for node in walk(one)):
                return True
            unread += [*functions(one), *_tools(one)]
        elif isinstance(one, BaseTool):
            unread += [getattr(one, name, None) for name in _TOOL_CODE]
        else:
            unread += _named_in(one)
    return False


_TOOL_CODE = ("func", "coroutine", "work", "_run", "_arun")
"""Where the code of a tool is."""


def _tools(graph: Graph) -> Iterator[BaseTool]:
    """The tools of our agents, and of LangGraph's nodes that call tools."""
    for node in walk(graph):
        box = node.runs.spec.toolbox if isinstance(node.runs, Agent) else None
        yield from box.tools if box else ()
        yield from cast("Any", getattr(node.runs, "tools_by_name", {})).values()


def _named_in(one: object) -> Iterator[object]:
    """What the code of a function names: other code of the user, graphs, tools, and `interrupt`."""
    if isinstance(one, functools.partial):
        yield cast("Any", one).func
    function = getattr(one, "__func__", one)
    if not isinstance(function, FunctionType):  # an object that can be called, or none
        function = vars(type(one)).get("__call__")
    if not isinstance(function, FunctionType):
        return
    names = {*_names_in(function.__code__), "__call__", "__wrapped__"}
    known = function.__globals__
    if "interrupt" in names and "interrupt" not in known:  # imported here, or of a module
        yield interrupt
    values = [known[name] for name in names if name in known]
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # it is still empty
            values.append(cell.cell_contents)
    for value in (*values, getattr(one, "__self__", one)):
        inside = [inspect.getattr_static(value, name, None) for name in names]
        if not isinstance(value, ModuleType):
            inside = [MethodType(f, value) if isinstance(f, FunctionType) else f for f in inside]
        yield from filter(_can_be_read, (value, *inside))


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names_in(inner)


def _can_be_read(value: object) -> bool:
    """Whether a value is worth reading: code of libraries is not followed."""
    if isinstance(value, FunctionType | MethodType | staticmethod | classmethod):
        code = getattr(inspect.unwrap(cast("Any", value)), "__code__", None)
        return value is interrupt or (code is not None and not is_library(code.co_filename))
    return isinstance(value, CompiledStateGraph | BaseTool | functools.partial)


@once_per_graph
def holds_agents_alone(graph: Graph) -> bool:
    """Whether every node is one of our agents without tools: then nothing runs at a deeper level."""
    nodes = [node.runnable for node in graph.builder.nodes.values()]
    return all(isinstance(node, Agent) and node.is_alone for node in nodes)
