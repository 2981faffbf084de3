"""Statements name their parameters as SQLite does; on a server they become psycopg's."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aideon_agents import ledger
from aideon_agents.ledger import rows
from aideon_agents.ledger.postgres.database import translated
from aideon_agents.ledger.postgres.functions import OF_STEP

ROOM = Path(ledger.__file__).parent
WORDS = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM)\b")


def statements():
    """Every statement of the room: as it is written, and as modules put it together."""
    written = [
        node.value
        for path in ROOM.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    modules = pkgutil.walk_packages(ledger.__path__, f"{ledger.__name__}.")
    for module in modules:
        written += [
            value
            for name, value in vars(importlib.import_module(module.name)).items()
            if isinstance(value, str) and not name.startswith("__")
        ]
    return sorted({text for text in written if WORDS.search(text)})


def back(sql):
    """What a translated statement was made from."""
    return re.sub(r"%\((\w+)\)s", r":\1", sql).replace("%%", "%")


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT :a, :b_2", "SELECT %(a)s, %(b_2)s"),
        ("a=:a AND(:a)", "a=%(a)s AND(%(a)s)"),
        ("SELECT ':a', 'it''s :b', :c", "SELECT ':a', 'it''s :b', %(c)s"),
        ("SELECT :a::text, CAST(:b AS TEXT)", "SELECT %(a)s::text, CAST(%(b)s AS TEXT)"),
        ("a LIKE '%x%' AND 7 % 2 = :rest", "a LIKE '%%x%%' AND 7 %% 2 = %(rest)s"),
        ("SELECT x[1:2], '12:30', a:b", "SELECT x[1:2], '12:30', a:b"),
        ("", ""),
    ],
)
def test_a_parameter_is_a_name_after_a_colon_outside_literals_and_casts(sql, expected):
    assert translated(sql) == expected


def test_every_statement_of_the_ledger_keeps_its_text_and_its_parameters():
    found = statements()
    assert len(found) > 100
    for sql in found:
        outside = re.sub(r"'[^']*'", "''", sql)
        names = re.findall(r"(?<![:\w]):(\w+)", outside)
        assert re.findall(r"%\((\w+)\)s", translated(sql)) == names
        assert back(translated(sql)) == sql


@given(
    st.lists(
        st.sampled_from([":name", "::text", "'a :b'", "''", "'%'", "%", " = ", "x", "(", ":n2 "])
    ).map("".join)
)
def test_a_translated_statement_can_be_read_back(sql):
    once = translated(sql)
    assert back(once) == sql
    assert "%" not in once.replace("%%", "").replace("%(", "")


def test_the_functions_write_every_column_of_a_call_that_its_statements_write():
    take, settle = OF_STEP["m024_media"]
    begun = re.findall(r":(\w+)", rows.START_CALL)
    (written,) = re.findall(r"INSERT INTO calls \(([\w, \n]+)\)", take)
    assert sorted(re.findall(r"\w+", written)) == sorted(begun)
    ended = re.findall(r"(\w+) = :\1", rows.FINISH_CALL.partition(" WHERE ")[0])
    (changed,) = re.findall(r"UPDATE calls c SET(.*?)FROM", settle, re.DOTALL)
    others = ["simulated", "saved_nanousd"]  # a call with a hold is no answer from the cache
    assert sorted([*re.findall(r"(\w+) = e\.\1", changed), *others]) == sorted(ended)
    assert "c.simulated = e.simulated" in settle  # else the statements settle the call
