"""`aideon schema` prints what a task file can say."""

from __future__ import annotations

import pytest

from aideon_agents.tasks import json_schema


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_the_schema_is_one_json_document_on_stdout(aideon, flags):
    done = aideon("schema", *flags)
    assert (done.code, done.err) == (0, "")
    assert done.document == json_schema()
