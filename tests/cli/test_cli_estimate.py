"""`aideon run --rehearse` says what the workflow would cost, as a range."""

from __future__ import annotations

import json
import re
from decimal import Decimal

TASK = ("--task", "Write a brief on heat pumps. They move heat.")


def test_a_rehearsal_that_was_asked_for_gives_a_range(aideon):
    shown = aideon("run", "brief", *TASK, "--rehearse")
    found = re.search(
        r"^estimate: \$([\d.]+) as rehearsed, at most \$([\d.]+) \(", shown.err, re.MULTILINE
    )
    assert found, shown.err
    least, most = map(Decimal, found.groups())
    assert 0 < least < most


def test_the_document_is_the_rehearsals_own(aideon):
    shown = aideon("run", "brief", *TASK, "--rehearse", "--json")
    document = json.loads(shown.out)
    (least,) = re.findall(r"^estimate: \$([\d.]+)", shown.err, re.MULTILINE)
    assert Decimal(document["cost"]["usd"]).quantize(Decimal("0.000001")) == Decimal(least)
    listed = json.loads(aideon("runs", "list", "--json").out)
    assert len(listed) == 1


def test_a_rehearsal_for_lack_of_a_key_gives_none(aideon):
    assert "estimate" not in aideon("run", "brief", *TASK).err


def test_a_price_that_is_unknown_is_no_bound(aideon):
    model = ("--model", "creative=together:nobody/knows-it")
    shown = aideon("run", "brief", *TASK, "--rehearse", *model)
    assert re.search(r"^estimate: >= \$[\d.]+ as rehearsed, at most \? \(", shown.err, re.MULTILINE)
