"""Tools are found beside the task file that names them."""

from __future__ import annotations

import hashlib

import pytest

from aideon_agents.errors import TargetError
from aideon_agents.tasks import load

TOOLS = '''\
from langchain_core.tools import tool

LIMIT = 3


def search(query: str) -> str:
    """Search for something."""
    return query


@tool
def count(text: str) -> int:
    """Count the letters."""
    return len(text)
'''


SEEN = "with open('seen', 'a') as file:\n    file.write('x')\n"


def flow(*addresses: str) -> str:
    return f"type: sequential\nsteps:\n- agent: executor\n  tools: [{', '.join(addresses)}]\n"


def test_a_step_gets_the_functions_and_tools_that_it_names(write):
    write("flows/tools.py", TOOLS)
    write("flows/flow.yaml", flow("tools.py:search", "tools.py:count"))
    spec = load("flows/flow.yaml").graph.builder.nodes["executor"].runnable.spec
    assert [tool.name for tool in spec.toolbox.tools] == ["search", "count"]


def test_a_file_of_tools_is_loaded_once(write, folder):
    write("tools.py", TOOLS + SEEN)
    write("flow.yaml", flow("tools.py:search", "tools.py:count"))
    load("flow.yaml")
    assert (folder / "seen").read_text() == "x"


def test_the_content_of_a_target_is_also_that_of_its_tools(write):
    write("tools.py", TOOLS)
    write("flow.yaml", flow("tools.py:search"))
    both = flow("tools.py:search").encode() + TOOLS.encode()
    assert load("flow.yaml").content_hash == hashlib.sha256(both).hexdigest()


def test_a_tool_named_twice_is_reported_with_its_step(write):
    write("tools.py", TOOLS)
    write("flow.yaml", flow("tools.py:search", "tools.py:search"))
    with pytest.raises(TargetError, match=r"flow.yaml:3: steps.0: .*search"):
        load("flow.yaml")


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("tools.py:serch", "tools.py has no function 'serch': did you mean search?"),
        (
            "tools.py:LIMIT",
            "tools.py has no function, but a int, 'LIMIT': there are count, search, tool",
        ),
        ("missing.py:f", "missing.py cannot be read: No such file or directory"),
        ("broken.py:f", "broken.py:2: ValueError: no"),
        ("exits.py:f", "exits.py exits while it is loaded (code 3)"),
        ("binary.py:f", "binary.py:"),
        ("tools.txt:f", "'tools.txt:f' is not a tool: write file.py:function"),
        ("tools.py", "'tools.py' is not a tool: write file.py:function"),
    ],
)
def test_a_tool_that_is_invalid_is_reported_with_its_line(write, address, says):
    write("tools.py", TOOLS)
    write("broken.py", "x = 1\nraise ValueError('no')\n")
    write("exits.py", "raise SystemExit(3)\n")
    write("binary.py", bytes(range(256)))
    write("flow.yaml", flow(address))
    with pytest.raises(TargetError) as caught:
        load("flow.yaml")
    assert str(caught.value).startswith(f"flow.yaml:4: steps.0.tools.0: {says}")
