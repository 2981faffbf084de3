"""An address leads to a graph, or to one line that says why not and where."""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

import pytest

from aideon_agents import tasks
from aideon_agents.errors import TargetError
from aideon_agents.tasks import load, ready_made

GRAPH = "from aideon_agents import creative, sequential\ngraph = sequential(creative('draft'))\n"


def nodes(address: str) -> list[str]:
    return list(load(address).graph.builder.nodes)


def why_not(address: str) -> str:
    with pytest.raises(TargetError) as caught:
        load(address)
    return str(caught.value)


@pytest.mark.parametrize("address", ["flow.py", "flow.py:graph", "./flow.py", "{folder}/flow.py"])
def test_a_graph_is_found_by_its_file(folder, write, address):
    write("flow.py", GRAPH)
    address = address.format(folder=folder)
    target = load(address)
    assert list(target.graph.builder.nodes) == ["draft"]
    assert (target.name, target.address) == ("flow", address)
    assert target.path.resolve() == folder / "flow.py"
    assert target.content_hash == hashlib.sha256(GRAPH.encode()).hexdigest()


def test_another_attribute_gives_the_workflow_its_name(write):
    write("flow.py", GRAPH.replace("graph =", "short ="))
    assert load("flow.py:short").name == "short"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("graph = creative('draft')", ["draft"]),
        ("def graph():\n    return sequential(creative('made'))", ["made"]),
        ("def graph():\n    return creative('made')", ["made"]),
        ("def graph(state):\n    return 'done'", ["graph"]),
        ("async def graph(state):\n    return 'done'", ["graph"]),
        ("def work(state):\n    return 'done'\n\ndef graph():\n    return work", ["work"]),
    ],
    ids=["agent", "function of a graph", "function of a node", "node", "async node", "nested"],
)
def test_a_node_or_a_function_becomes_a_graph(write, source, expected):
    write("flow.py", f"from aideon_agents import creative, sequential\n{source}\n")
    assert nodes("flow.py") == expected


def test_the_folder_of_a_file_is_importable_while_it_is_loaded(folder, write):
    write(
        "flows/steps_next_door.py", "from aideon_agents import creative\nNODE = creative('near')\n"
    )
    write("flows/at_once.py", "from steps_next_door import NODE as graph\n")
    write("flows/later.py", "def graph():\n    from steps_next_door import NODE\n    return NODE\n")
    before = list(sys.path)
    assert nodes("flows/at_once.py") == nodes("flows/later.py") == ["near"]
    assert sys.path == before
    del sys.modules["steps_next_door"]


def test_files_of_the_same_name_do_not_hide_one_another(write):
    write("a/flow.py", GRAPH)
    write("b/flow.py", GRAPH.replace("draft", "other"))
    assert (nodes("a/flow.py"), nodes("b/flow.py")) == (["draft"], ["other"])


def test_a_file_may_define_what_looks_its_module_up(write):
    write(
        "flow.py",
        "from __future__ import annotations\nimport dataclasses\n"
        "@dataclasses.dataclass\nclass Note:\n    text: str\n" + GRAPH,
    )
    assert nodes("flow.py") == ["draft"]


def test_a_byte_order_mark_does_no_harm(write):
    write("flow.py", GRAPH.encode("utf-8-sig"))
    assert nodes("flow.py") == ["draft"]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("x = 1\nraise ValueError('two\\nlines')\n", "flow.py:2: ValueError: two\nlines"),
        ("def f():\n    return {}['k']\n\nf()\n", "flow.py:2: KeyError: 'k'"),
        ("import nothing_of_this_name\n", "flow.py:1: ModuleNotFoundError: No module named"),
        ("x = 1\n\ndef (:\n", "flow.py:3: invalid syntax"),
        ("eval('1 +')\n", "flow.py:1: SyntaxError: invalid syntax"),
        ("x = 'a\0b'\n", "flow.py: "),
        ("import sys\nsys.exit('enough')\n", "flow.py exits while it is loaded (code enough)"),
        ("def graph():\n    raise OSError('no')\n", "flow.py:2: OSError: no"),
        ("def graph():\n    raise SystemExit(3)\n", "flow.py exits while it is loaded (code 3)"),
        ("from aideon_agents import sequential\ngraph = sequential()\n", "flow.py:2: UserError"),
    ],
    ids=[
        "raise", "in a function", "import", "syntax", "eval", "nul", "exit", "maker", "maker exits",
        "our error",
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_loaded_says_on_which_line(write, source, says):
    write("flow.py", source)
    assert why_not("flow.py").startswith(says)


def test_a_syntax_error_of_an_imported_file_names_that_file(folder, write):
    write("broken_next_door.py", "x = 1\n\ny = = 2\n")
    write("flow.py", "import broken_next_door\n")
    assert why_not("flow.py") == f"{folder / 'broken_next_door.py'}:3: invalid syntax"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("", "flow.py has no 'graph': it defines no graph"),
        ("from aideon_agents import creative\none = creative('a')\ntwo = creative('b')\n",
         "flow.py has no 'graph': it has one, two"),
        ("graph = 'text'\n", "flow.py: 'graph' is a str: it must be a compiled graph, a node, or"),
        ("def graph():\n    return None\n", "flow.py: 'graph' is a NoneType"),
        ("async def graph():\n    return None\n", "flow.py: 'graph' is an async function: use def"),
        ("class graph:\n    pass\n", "flow.py: 'graph' is a type"),
    ],
    ids=["nothing", "other names", "text", "maker of nothing", "async maker", "class"],
)  # fmt: skip
def test_a_file_without_a_workflow_says_what_it_has(write, source, says):
    write("flow.py", source)
    assert why_not("flow.py").startswith(says)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("./missing.py", "there is no file missing.py (from './missing.py')"),
        ("missing.py:graph", "there is no file missing.py (from 'missing.py:graph')"),
        ("missing.py:", "there is no file missing.py (from 'missing.py:')"),
        ("./flows", "flows is a folder: name a file in it, such as flows/NAME.py:graph"),
        ("./flows/", "flows is a folder"),
        ("./flows/picture.py", "flows/picture.py cannot be read as a workflow"),
        (
            "./flows/notes.txt",
            "flows/notes.txt is not a workflow: the name of a Python file ends in .py",
        ),
        ("./flows/notes.txt/x.py", "flows/notes.txt/x.py cannot be read as a workflow"),
    ],
)
def test_a_path_that_leads_nowhere_says_why(write, address, says):
    write("flows/picture.py", bytes(range(256)))
    write("flows/notes.txt", "hello")
    assert why_not(address).startswith(says)


def test_an_unknown_name_is_answered_with_near_ones():
    assert why_not("breif") == (
        "no workflow is called 'breif': did you mean brief? (or give a path: file.py:graph)"
    )
    assert re.match(r"no workflow is called 'zzz': there are .*\bbrief\b", why_not("zzz"))


def test_the_working_directory_hides_the_wheel(write):
    assert load("brief").path.parent.name in {"workflows", "_gallery"}
    write("workflows/brief.py", GRAPH)
    write("workflows/_draft.py", GRAPH)
    assert load("brief").path == Path("workflows/brief.py")
    assert nodes("brief") == ["draft"]
    assert "_draft" not in ready_made()


def test_installed_only_the_wheels_own_folder_is_looked_into(folder, write, monkeypatch):
    # Beside an installed package, `workflows` is the package of that name from PyPI.
    write("site/workflows/handler.py", GRAPH)
    write("site/aideon_agents/_gallery/article.py", GRAPH)
    monkeypatch.setattr(tasks.target, "_PACKAGE", folder / "site" / "aideon_agents")
    assert list(ready_made()) == ["article"]
    assert load("article").name == "article"
