"""The limits in AGENTS.md. A limit that hurts is a sign to split, not to raise it."""

from __future__ import annotations

import ast
import graphlib
import statistics
from pathlib import Path

import grimp

PACKAGE = Path(__file__).parents[2] / "aideon_agents"
MODULES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}

VAGUE = {"utils", "util", "helpers", "helper", "manager", "managers", "base", "common", "misc"}


def where(path: Path) -> str:
    return str(path.relative_to(PACKAGE.parent))


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_the_median_module_has_at_most_150_lines():
    sizes = [lines(path) for path in MODULES if path.name != "__init__.py"]
    assert statistics.median(sizes) <= 150


def test_no_module_has_more_than_400_lines():
    assert {where(path): lines(path) for path in MODULES if lines(path) > 400} == {}


def test_no_function_has_more_than_60_lines():
    long = {
        f"{where(path)}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= 60
    }
    assert long == {}


def test_no_module_imports_itself_by_a_detour():
    graph = grimp.build_graph("aideon_agents", exclude_type_checking_imports=True, cache_dir=None)
    imports = {
        module: graph.find_modules_directly_imported_by(module) - {module}
        for module in graph.modules
    }
    graphlib.TopologicalSorter(imports).prepare()  # names the cycle when there is one


def own_bases() -> dict[str, list[str]]:
    """The names of each class's bases, the error tree left out."""
    return {
        node.name: [ast.unparse(base).rpartition(".")[2] for base in node.bases]
        for path, tree in TREES.items()
        if path.name != "errors.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }


def test_inheritance_goes_two_steps_at_most():
    # A TypedDict inherits nothing: Python copies its keys and leaves a plain dict.
    bases = own_bases()

    def root(name: str) -> str:
        return root(bases[name][0]) if bases.get(name) else name

    def steps(name: str) -> int:
        return max((1 + steps(base) for base in bases[name] if base in bases), default=0)

    assert {
        name: steps(name) for name in bases if root(name) != "TypedDict" and steps(name) > 2
    } == {}


def test_no_file_has_a_name_that_says_nothing():
    named = [path for path in PACKAGE.rglob("*") if path.stem in VAGUE]
    assert [where(path) for path in named] == []
