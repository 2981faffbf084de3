"""The options of a run, and what it takes of LangChain's config."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, TypedDict, cast

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager

from aideon_agents.errors import InputError, is_kind, refuse_kinds
from aideon_agents.ledger.budgets.limits import Amount, Budget
from aideon_agents.ledger.budgets.units import Origin
from aideon_agents.ledger.store import Ledger
from aideon_agents.models.pictures import Images
from aideon_agents.settings import Settings
from aideon_agents.state import Model, OnRateLimit, Privacy, Strategy, Tier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.callbacks import Callbacks
    from langchain_core.runnables import RunnableConfig


class RunOptions(TypedDict, total=False):
    """The keyword arguments of a run besides its graph and its task."""

    inputs: Mapping[str, Any] | None
    """Other values that nodes need, by key."""
    images: Images | None
    """Pictures of the task, one or a list: paths, URLs, bytes, data URIs, or image blocks of
    LangChain. Every agent is sent them that has not `images=False`."""
    tier: Tier | None
    """free, premium or enterprise; None: the Settings'."""
    user: str | None
    """The user it runs for; None: the Settings'."""
    model: Mapping[str, Model | Sequence[Model]] | None
    """`{role: "provider:model"}`, a LangChain chat model, or a list of these for a chain; it replaces
    the choice."""
    budget: Budget | Amount | None
    """US dollars that it may cost, or a `Budget`. A call that does not fit is not made, and the run
    stops. None: only standing limits apply."""
    timeout: float | None
    """Seconds until it is stopped; None: never."""
    rehearse: bool
    """Answer every call by rule: nothing is paid, nothing leaves the process."""
    fallback: bool | Sequence[Strategy]
    """Whether models other than the primary may answer; True unless given. A list says who, in this
    order: `same_provider`, `other_provider`, and `cached`, the newest kept answer to the same prompt,
    however old."""
    cache: str | None
    """How old a kept answer to the same question may be, such as `90s`, `30m`, `12h`, `1d` or `1w`, in
    place of what the agents say; None: what they say, which by default is to keep none."""
    on_rate_limit: OnRateLimit | None
    """When a primary limits its rate: `wait` for it as long as the chain may take, or `fallback` after
    20 seconds, whatever its agent says; None: what the agent says, else `fallback`."""
    privacy: Privacy | None
    """Whether private prompts are kept from models that are not one's own: `on`, `off`, or `strict`,
    which counts words such as `confidential` as well; None: as the agents say, else on. The stricter of
    the run's and an agent's counts."""
    quality: bool | float | None
    """The score that a validator must give each answer where its agent does not say, True: 0.8; else the
    next larger model is asked as well, and the better answer is kept. None: none."""
    replace_retired: bool
    """Ask the successor of a model that its provider no longer offers, wherever it is named; False: such
    a name is an error."""
    thread: str | None
    """The conversation that it continues; None: it has none. What its nodes say is then kept in
    `checkpoints.db` beside the ledger, for later runs of the thread."""
    callbacks: Callbacks
    """LangChain callback handlers that hear of every chain, model and tool of the run; None: none."""
    config: RunnableConfig | None
    """LangChain's config: `tags`, `metadata`, `callbacks`, `recursion_limit` (LangGraph's own unless
    given, the same at every depth), `run_name`, `max_concurrency` and `configurable` values."""
    checkpoint: bool | None
    """Whether its state is kept beside the ledger after each step until it completes, so that it can
    resume after a stop, a crash or a question. None: where it has a thread, or a node may ask a
    person (an approval, a tool, code that is not of this package); with a budget alone, the state is
    kept when the run ends early."""
    record_content: bool
    """Keep every prompt and answer in the ledger; by default it keeps neither."""
    ledger: Ledger | str | Path | None
    """Where to write what it costs: a ledger, or a path; None: the Settings'."""
    settings: Settings | None
    """The environment; None: read now."""
    workflow: str | None
    """Its name in reports; None: the graph's name."""
    target: str | None
    """The address that the graph was loaded from, for its row."""
    target_hash: str | None
    """SHA-256 of the file there, for its row; None: the graph has no file."""
    allow_outside: bool
    """Whether the task file there may use files outside its folder, for its row."""
    origin: Origin | None
    """Who asked a service for it, and what its calls may use; None: no service runs it."""


class ResumeOptions(TypedDict, total=False):
    """The keyword arguments of a run that resumes."""

    answer: object
    """The answer to a waiting run: to one question the answer itself, to several `{id: answer}`.
    None is an answer."""
    budget: Budget | Amount | None
    """US dollars that it may cost in all: what it has spent counts. None: as before."""
    model: Mapping[str, Model | Sequence[Model]] | None
    """As in `RunOptions`; None: as before, where the models were given by name."""
    callbacks: Callbacks
    config: RunnableConfig | None
    """As in `RunOptions`; neither is kept from before."""
    ledger: Ledger | str | Path | None
    """Where it is written: a ledger, or a path; None: the Settings'."""
    settings: Settings | None
    """The environment; None: read now."""
    origin: Origin | None
    """As in `RunOptions`, as it is now."""


_TEXT = ((str, NoneType), "text")
_FLAG = ((bool,), "True or False")
_MAPPING = ((Mapping, NoneType), "values by key")
KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "tier": ((str, NoneType), "'free', 'premium' or 'enterprise'"),
    "user": _TEXT,
    "model": ((Mapping, NoneType), "models by role, such as {'executor': 'provider:model'}"),
    "timeout": ((int, float, NoneType), "seconds, more than 0"),
    "rehearse": _FLAG,
    "cache": ((str, NoneType), "an age such as '1d'"),
    "on_rate_limit": ((str, NoneType), "'wait' or 'fallback'"),
    "privacy": ((str, NoneType), "'off', 'on' or 'strict'"),
    "replace_retired": _FLAG,
    "thread": _TEXT,
    "checkpoint": ((bool, NoneType), "True, False or None"),
    "record_content": _FLAG,
    "ledger": ((Ledger, str, Path, NoneType), "a ledger or a path"),
    "settings": ((Settings, NoneType), "Settings"),
    "workflow": _TEXT,
    "target": _TEXT,
    "target_hash": _TEXT,
    "allow_outside": _FLAG,
    "origin": ((Origin, NoneType), "an Origin"),
}
"""What the values of a run's options must be. The other options are checked where they are read."""
_CONFIG_KINDS: Mapping[str, tuple[Any, str]] = {
    "configurable": _MAPPING,
    "max_concurrency": ((int, NoneType), "a whole number"),
    "metadata": _MAPPING,
    "run_name": _TEXT,
    "tags": ((list, tuple, NoneType), "a list of texts"),
}


_KEYS = sorted(("callbacks", "recursion_limit", *_CONFIG_KINDS))
_OURS = ("aideon_", "langgraph_", "__pregel_", "checkpoint")
"""How names begin that this package and LangGraph give to metadata and configurable values."""


def check_paths(keys: Sequence[str], inputs: Mapping[str, Any]) -> None:
    """Refuse an input that names a file or a folder which is not there for this process."""
    for key in keys:
        given: Any = inputs.get(key) or []
        for one in given if isinstance(given, list | tuple) else [given]:
            if not (isinstance(one, Mapping) or is_there(one)):  # rows are no path
                raise InputError(
                    f"the input {key} names no file or folder: {one}: give the path of one"
                )


def is_there(path: object) -> bool:
    """Whether a value is the path of a file or a folder."""
    return isinstance(path, str | os.PathLike) and os.path.exists(os.path.expanduser(path))  # noqa: PTH110, PTH111 - pathlib raises for a name that is too long, or of no user


def config_of(callbacks: Callbacks, given: Mapping[str, Any] | None) -> RunnableConfig | None:
    """What a caller gives of LangChain's config; an error names what a run cannot take.

    The config of a running node is taken too. What it says of that node is left out.
    """
    if callbacks is None and given is None:
        return None
    if not isinstance(cast("object", given or {}), Mapping):
        raise InputError(
            f"config is a {type(given).__name__}: give a RunnableConfig, which is a dict"
        )
    config = dict(given or {})
    refuse_kinds(config, _CONFIG_KINDS, "config: ", InputError)
    values = config.pop("configurable", None) or {}
    metadata = config.pop("metadata", None) or {}
    is_of_node = any(str(key).startswith("__pregel_") for key in values)
    if not is_of_node:
        _refuse_taken(config, {**values, **metadata})
    limit = config.get("recursion_limit", 1)
    if not is_kind(limit, int) or limit < 1:
        raise InputError(f"config: recursion_limit is {limit!r}: give a number of steps from 1")
    kept = {key: config[key] for key in _KEYS if config.get(key) is not None}
    for key, part in (("configurable", values), ("metadata", metadata)):
        kept[key] = {
            name: value
            for name, value in part.items()
            if not (is_of_node and (name == "thread_id" or str(name).startswith(_OURS)))
        }
    kept["callbacks"] = merged_callbacks(config.get("callbacks"), callbacks)
    return cast("RunnableConfig", kept)


def merged_callbacks(*callbacks: Callbacks) -> Callbacks:
    """Several values of LangChain's callbacks as one: lists of handlers, and managers of them."""
    managed: BaseCallbackManager | None = None
    handlers: list[BaseCallbackHandler] = []
    for given in cast("tuple[Any, ...]", callbacks):
        if isinstance(given, BaseCallbackManager):
            managed = managed.merge(given) if managed else given.copy()
            continue
        if not isinstance(given, list | tuple | None) or any(
            not isinstance(one, BaseCallbackHandler) for one in given or ()
        ):
            raise InputError("callbacks: give a list of LangChain callback handlers, or a manager")
        handlers += [one for one in given or () if one not in handlers]
    for one in handlers if managed else ():
        cast("BaseCallbackManager", managed).add_handler(one)
    return managed or handlers


def _refuse_taken(config: Mapping[str, Any], inside: Mapping[str, Any]) -> None:
    if unknown := [key for key in config if key not in _KEYS and config[key] is not None]:
        raise InputError(f"config: a run takes no {unknown[0]!r}: it takes {', '.join(_KEYS)}")
    if "thread_id" in inside:
        raise InputError("config: give the name of a conversation as thread=, not as thread_id")
    if taken := [name for name in inside if str(name).startswith(_OURS)]:
        raise InputError(f"config: {taken[0]!r} is a name that the run sets itself: leave it out")
