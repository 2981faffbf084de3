"""Builds the graph of a task file with the public patterns and agents.

The functions that a task file names come from Python files in its folder or below.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool

from aideon_agents.agents import creative, executor, planner, validator
from aideon_agents.agents.prompt_files import is_file
from aideon_agents.errors import TargetError, UserError
from aideon_agents.graphs import Graph, Node
from aideon_agents.models.pictures import own_pictures
from aideon_agents.patterns import conditional, iterative, orchestrated, parallel, sequential
from aideon_agents.patterns.functions import function_node
from aideon_agents.state import Complexity, Role
from aideon_agents.tasks import python_file, steps
from aideon_agents.tasks.document import Document, FieldPath, nearest
from aideon_agents.tasks.steps import (
    AgentStep,
    AnyStep,
    FunctionStep,
    OlderConditional,
    OlderIterative,
    OlderParallel,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path
    from types import ModuleType


ModelCheck: TypeAlias = "Callable[[Role, str], object]"
"""Takes a role and the model that a step names for it; raises UserError for an invalid model."""

_AGENTS = {"planner": planner, "executor": executor, "validator": validator, "creative": creative}

_BESIDE_OPTIONS = {"type", "agent", "name", "tools"}
"""The keys of an agent's step that are no options of its factory."""


@dataclasses.dataclass(frozen=True)
class Site:
    """The position of a step in its file, and the settings that apply there."""

    document: Document
    tools: ToolFiles
    field: FieldPath = ()
    complexity: Complexity | None = None
    """That of the nearest pattern around the step that sets one; None: none does."""
    cache: str | bool | None = None
    """As above."""
    check_model: ModelCheck | None = None
    """Checks each model that a step names; None: models are checked when the graph runs."""

    def at(self, *names: str | int) -> Site:
        return dataclasses.replace(self, field=(*self.field, *names))

    def within(self, step: AnyStep) -> Site:
        cache = getattr(step, "cache", None)
        return dataclasses.replace(
            self,
            complexity=step.complexity or self.complexity,
            cache=self.cache if cache is None else cache,
        )

    @contextlib.contextmanager
    def located(self) -> Generator[None]:
        """Add the position of this step to an error, unless a step inside has added its own."""
        try:
            yield
        except TargetError:
            raise
        except UserError as error:
            raise self.document.error(self.field, str(error)) from error


def root(step: AnyStep, site: Site, name: str) -> Graph:
    """Build a task file's graph."""
    if isinstance(step, AgentStep | FunctionStep):
        return sequential(_node(step, site), name=name)
    return _pattern(step, site, name)


def _node(step: AnyStep, site: Site) -> Node:
    if isinstance(step, AgentStep):
        return _agent(step, site)
    if isinstance(step, FunctionStep):
        return _function(step.function, site.at("function"), step.name)
    return _pattern(step, site, step.name or step.type)


def _nodes(several: Sequence[AnyStep], site: Site) -> list[Node]:
    return [_node(step, site.at(index)) for index, step in enumerate(several)]


def _pattern(step: AnyStep, around: Site, name: str) -> Graph:
    site = around.within(step)
    with site.located():
        return _BUILDERS[type(step)](step, site, name)


def _agent(step: AgentStep, site: Site) -> Node:
    _check_models(step, site)
    options = step.model_dump(exclude=_BESIDE_OPTIONS, exclude_none=True)
    options.setdefault("complexity", site.complexity)
    options.setdefault("cache", site.cache)
    if step.tools:
        options["tools"] = [
            _looked_up(site.tools.tool, address, site.at("tools", index))
            for index, address in enumerate(step.tools)
        ]
    if step.prompt and is_file(step.prompt):
        with site.at("prompt").located():
            site.tools.path(step.prompt)
    images = [step.images] if isinstance(step.images, str) else step.images or []
    if images in (["false"], ["no"]):  # YAML's booleans are read as text
        images, options["images"] = [], False
    for index, image in enumerate(images):
        own = site.at("images") if isinstance(step.images, str) else site.at("images", index)
        with own.located():
            if "{" not in image and "://" not in image and not image.startswith("data:"):
                site.tools.path(image)
            own_pictures(image, site.tools.folder)
    with site.located():
        return _AGENTS[step.agent](step.name, **options)


def _function(address: str, site: Site, name: str | None = None) -> Node:
    """A function; as a node where it has a name of its own."""
    function = _looked_up(site.tools.function, address, site)
    with site.located():  # a function that cannot be a node is refused here
        node = function_node(function, address, name)
    return node if name else function


def _check_models(step: AgentStep, site: Site) -> None:
    if site.check_model is None:
        return
    models = [step.model] if isinstance(step.model, str) else step.model or []
    for index, model in enumerate(models):
        own = site.at("model") if isinstance(step.model, str) else site.at("model", index)
        with own.located():
            site.check_model(step.agent, model)


def _looked_up(find: Callable[[str], Any], address: str, site: Site) -> Any:
    try:
        return find(address)
    except UserError as error:
        raise site.document.error(site.field, str(error)) from error


def _sequential(step: steps.SequentialStep, site: Site, name: str) -> Graph:
    return sequential(*_nodes(step.steps, site.at("steps")), name=name)


def _parallel(step: steps.ParallelStep, site: Site, name: str) -> Graph:
    branches = _nodes(step.branches, site.at("branches"))
    return parallel(*branches, name=name, **_given(step, "max_concurrency", "on_failure"))


def _conditional(step: steps.ConditionalStep, site: Site, name: str) -> Graph:
    condition = step.when or validator(question=step.question, cache=cast("Any", site.cache))
    branches = {
        route: _branch(route, branch, site.at("branches", route))
        for route, branch in step.branches.items()
    }
    return conditional(condition, branches, routes=step.routes, default=step.default, name=name)


def _branch(route: str, branch: AnyStep | list[AnyStep], site: Site) -> Node:
    """The node of a route. It has the route's name, so a step with its own name is put inside it."""
    if isinstance(branch, list):
        return sequential(*_nodes(branch, site), name=route)
    step = _node(branch, site)
    return sequential(step, name=route) if branch.name else step


def _iterative(step: steps.IterativeStep, site: Site, name: str) -> Graph:
    work = _node(step.step, site.at("step"))
    if step.check:
        check = _function(step.check, site.at("check"))
    else:
        check = validator(criteria=step.criteria, cache=cast("Any", site.cache))
    return iterative(work, check, name=name, **_given(step, "max_rounds", "pass_score"))


def _orchestrated(step: steps.OrchestratedStep, site: Site, name: str) -> Graph:
    planning = planner(
        description=step.description, complexity=site.complexity, cache=cast("Any", site.cache)
    )
    workers: dict[str, tuple[str, Node]] = {}
    by_name = step.workers or [AgentStep(agent="executor"), AgentStep(agent="creative")]
    listed = enumerate(by_name) if isinstance(by_name, list) else by_name.items()
    for key, one in listed:
        own = dataclasses.replace(site.at("workers", key), complexity=None)
        worker = key if isinstance(key, str) else one.name or _default_name(one)
        if worker in workers:
            raise own.document.error(own.field, f"two workers are called {worker!r}: name one")
        purpose = "" if isinstance(one, AgentStep) else one.description or ""
        workers[worker] = purpose, _node(one, own)
    return orchestrated(planning, workers=workers, name=name, **_given(step, "max_steps"))


def _default_name(step: AnyStep) -> str:
    if isinstance(step, FunctionStep):
        return step.function.rpartition(":")[2]
    return step.agent if isinstance(step, AgentStep) else step.type


def _older_parallel(step: OlderParallel, site: Site, name: str) -> Graph:
    agents = [
        AgentStep(agent=one.type, complexity=one.complexity, description=step.description)
        for one in step.agents
    ]
    return parallel(*_nodes(agents, site.at("agents")), name=name)


def _older_conditional(step: OlderConditional, site: Site, name: str) -> Graph:
    branches = {
        "true": _branch("true", step.trueBranch, site.at("trueBranch")),
        "false": _branch("false", step.falseBranch, site.at("falseBranch")),
    }
    asked = validator(question=f"Is this true? {step.condition}")
    return conditional(asked, branches, name=name)


def _older_iterative(step: OlderIterative, site: Site, name: str) -> Graph:
    work = AgentStep(agent=step.agent, description=step.description, model=step.model)
    check = validator(criteria=step.criteria)
    return iterative(_node(work, site), check, max_rounds=step.maxIterations, name=name)


def _given(step: AnyStep, *keys: str) -> dict[str, Any]:
    """The keys that a step sets; the pattern has defaults for the others."""
    return step.model_dump(include=set(keys), exclude_none=True)


_BUILDERS: dict[type[Any], Any] = {
    steps.SequentialStep: _sequential,
    steps.ParallelStep: _parallel,
    steps.ConditionalStep: _conditional,
    steps.IterativeStep: _iterative,
    steps.OrchestratedStep: _orchestrated,
    OlderParallel: _older_parallel,
    OlderConditional: _older_conditional,
    OlderIterative: _older_iterative,
}


class ToolFiles:
    """The files that a task file may use; each Python file is loaded once."""

    def __init__(self, folder: Path, *, allow_outside: bool = False) -> None:
        self.folder = folder
        self._allow_outside = allow_outside
        self._loaded: dict[Path, ModuleType] = {}

    def tool(self, address: str) -> Any:
        """The function or LangChain tool at `file.py:name`."""
        return self._found(address, _is_tool)

    def function(self, address: str) -> Any:
        """The function at `file.py:name`."""
        return self._found(address, lambda one: _is_tool(one) and not isinstance(one, Runnable))

    def path(self, file: str) -> Path:
        """A file that a task file names; UserError: it may not use it."""
        path = self.folder / file
        try:
            is_below = path.resolve().is_relative_to(self.folder.resolve())
        except (OSError, RuntimeError, ValueError) as error:  # a link to itself, or a null byte
            raise UserError(f"{path!s} cannot be read: {error}") from None
        if not is_below and not self._allow_outside:
            raise UserError(
                f"{path} is outside the folder of the task file: put it into that folder or below, "
                "or give --allow-outside"
            )
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise UserError(f"{path} cannot be read: it is not a regular file")
        return path

    def _found(self, address: str, is_right: Callable[[Any], bool]) -> Any:
        file, _, name = address.rpartition(":")
        path = self.path(file)
        module = self._module(path)
        found = vars(module).get(name)
        if is_right(found):
            return found
        tools = [key for key, value in vars(module).items() if is_right(value) and key[0] != "_"]
        what = "function" if found is None else f"function, but a {type(found).__name__},"
        raise TargetError(f"{path} has no {what} {name!r}: {nearest(name, tools)}")

    def _module(self, path: Path) -> ModuleType:
        if path not in self._loaded:
            try:
                content = path.read_bytes()
            except OSError as error:
                why = error.strerror or str(error)
                raise TargetError(f"{path} cannot be read: {why}") from None
            self._loaded[path] = python_file.execute(path, content)
        return self._loaded[path]


def _is_tool(value: Any) -> bool:
    return isinstance(value, BaseTool) or (callable(value) and not isinstance(value, type))
