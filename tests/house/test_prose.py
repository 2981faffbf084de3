"""Plain English in what users and developers read: documents, docstrings, comments, messages."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

import aideon_agents
import aideon_agents.testing

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "aideon_agents"
WRITTEN = [file for ending in ("py", "js", "html") for file in PACKAGE.rglob(f"*.{ending}")]
SOURCES = sorted([*WRITTEN, *ROOT.glob("workflows/*.*"), *ROOT.glob("examples/*.py")])
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "AGENTS.md", *(ROOT / "docs").rglob("*.md")])

WORDS = {
    "nobody": "no user, no process, none",
    "somebody": "a user, another process",
    "anybody": "any user, any process",
    "whoever": "the caller, a user who",
    "told": "given, sent, reported",
    "heard": "received",
    "goes on": "continues, resumes",
    "go on with": "continue, resume",
    "lets go": "releases",
    "let go of": "release",
    "stands": "is, applies",
    "dearer": "more expensive",
    "dearest": "most expensive",
    "purse": "run budget",
}
"""What this project does not say, and what it says instead."""

NAMES = {
    "book": "ledger",
    "purse": "run_budget",
    "saver": "checkpointer",
    "told": "sent, reported, given",
    "heard": "received",
    "said": "text, reported",
    "courier": "alert_sender",
    "crew": "runner",
    "sparing": "gc tuning",
}
"""Parts of names that this project does not use, and what it uses instead."""

PATTERN = re.compile(rf"(?<!`)\b(?:{'|'.join(WORDS)})\b", re.IGNORECASE)
STATEMENT = re.compile(r"\s*(?:SELECT|INSERT|UPDATE|CREATE|DELETE)\b")
SECTION = re.compile(r"^\s*(?:Args|Returns|Raises|Yields):\s*$", re.MULTILINE)
PUBLIC = {*aideon_agents.__all__, *aideon_agents.testing.__all__}


def texts(path: Path) -> list[tuple[int, str]]:
    """The comments and the strings of a file that hold words, with their lines."""
    source = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return list(enumerate(source.splitlines(), 1))
    found = [
        (token.start[0], token.string)
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    ]
    found += [
        (node.lineno, node.value)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value
        if not STATEMENT.match(node.value)  # a table is called `told` for good
    ]
    return found


@pytest.mark.parametrize(
    "path", [*SOURCES, *DOCUMENTS], ids=lambda path: str(path.relative_to(ROOT))
)
def test_a_text_uses_plain_words(path: Path):
    found = [
        f"line {line}: {match[0]!r}: say {WORDS[match[0].lower()]}"
        for line, text in texts(path)
        for match in PATTERN.finditer(text)
    ]
    assert found == []


def defined(tree: ast.AST) -> set[str]:
    """The names that a module defines: functions, classes, parameters, variables, fields."""
    names = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def test_names_use_the_terms_of_the_field():
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for name in defined(ast.parse(path.read_text(encoding="utf-8"))) | {path.stem}:
            parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
            for bad in NAMES.keys() & {part.lower() for part in parts}:
                found[f"{path.relative_to(ROOT)}: {name}"] = NAMES[bad]
    assert found == {}


def documented(node: ast.AST, outer: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], str]]:
    """Every docstring of functions and classes below a node, with their qualified names."""
    found = []
    for child in ast.iter_child_nodes(node):
        name = outer
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = (*outer, child.name)
            found.append((name, ast.get_docstring(child) or ""))
        found += documented(child, name)
    return found


def test_only_public_names_have_sections_of_arguments_and_results():
    found = [
        f"{path.relative_to(ROOT)}: {'.'.join(name)}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for name, text in documented(ast.parse(path.read_text(encoding="utf-8")))
        if SECTION.search(text) and name[0] not in PUBLIC and path.parent.name != "connect"
    ]
    assert found == []
