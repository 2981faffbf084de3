"""Objects from before a batch are not scanned for garbage, and all settings are restored."""

from __future__ import annotations

import gc

import pytest

from aideon_agents import sequential
from aideon_agents.batch.engine import gc_tuned

TWO = [{"id": "a", "task": "A."}, {"id": "b", "task": "B."}]


@pytest.fixture(autouse=True)
def as_found():
    before = gc.get_threshold()
    yield
    gc.enable()
    gc.set_threshold(*before)
    gc.unfreeze()


async def test_items_run_while_earlier_objects_are_frozen(rehearse, written):
    seen = []

    async def look(state):
        seen.append((gc.get_freeze_count() > 1000, gc.get_threshold()[0]))
        return state["task"]

    before = gc.get_threshold()
    result = await rehearse(written(TWO), graph=sequential(look))
    assert result.completed == 2
    assert seen == [(True, 50_000)] * 2
    assert (gc.get_freeze_count(), gc.get_threshold()) == (0, before)


def test_a_threshold_that_is_higher_already_stays():
    gc.set_threshold(50_000, 5, 5)
    with gc_tuned():
        assert gc.get_threshold() == (50_000, 5, 5)
    assert gc.get_threshold() == (50_000, 5, 5)


@pytest.mark.parametrize("decide", [gc.disable, gc.freeze, lambda: gc.set_threshold(0)])
def test_settings_of_the_process_are_left_alone(decide):
    decide()
    before, frozen = (gc.isenabled(), gc.get_threshold()), gc.get_freeze_count()

    def is_as_before():
        # A frozen object may end at any time, and then it is counted no more.
        now = gc.get_freeze_count()
        return (gc.isenabled(), gc.get_threshold()) == before and frozen // 2 <= now <= frozen

    with gc_tuned():
        assert is_as_before()
    assert is_as_before()


def test_what_a_block_raises_leaves_nothing_frozen():
    with pytest.raises(RuntimeError), gc_tuned():
        raise RuntimeError
    assert gc.get_freeze_count() == 0
