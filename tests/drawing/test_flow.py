"""What turns back and what leads on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aideon_agents.drawing.flow import Flow, Order
from aideon_agents.graphs.topology import Edge


def flow(*ways):
    """A flow; `a?b` is a way that may be taken."""
    level = {}
    for way in ways:
        source, target = way[0], way[-1]
        level.setdefault(source, {})
        level.setdefault(target, {})
        level[source][target] = [Edge(source, target, None, conditional="?" in way)]
    return Flow(level)


def back(made):
    return {source + target for source, targets in made.back.items() for target in targets}


def test_the_edge_that_closes_a_circle_turns_back():
    assert back(flow("ab", "bc", "c?b", "c?d")) == {"cb"}


def test_what_is_always_taken_leads_on_even_where_it_is_found_later():
    # From d one may go back to c: not the other way round, although d is found first.
    assert back(flow("ab", "ac", "bd", "d?c", "cd")) == {"dc"}


def test_what_may_be_taken_waits_for_what_always_is():
    # h is found before the way to it through e and g is.
    assert back(flow("ah", "ab", "h?e", "be", "eg", "gh")) == {"he"}


def test_a_tool_leads_back_to_its_agent():
    assert back(flow("sa", "a?t", "ta", "a?e")) == {"ta"}


def test_a_way_to_itself_turns_back():
    assert back(flow("ab", "b?b", "b?c")) == {"bb"}


def test_branches_that_meet_again_turn_nothing_back():
    assert back(flow("a?b", "ac", "bc", "cd")) == set()


def test_items_come_after_what_leads_to_them():
    made = flow("ad", "ab", "bc", "cd")
    assert made.order == ["a", "b", "c", "d"]
    assert made.found == ["a", "d", "b", "c"]


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=40))
def test_an_order_takes_every_edge_but_those_that_close_a_circle(pairs):
    order, taken = Order(), set()
    for item in range(9):
        order.add(str(item))
    for source, target in dict.fromkeys(pairs):
        closes = target in reached(source, taken, backwards=True)
        assert order.join(str(source), str(target)) is not closes
        if not closes:
            taken.add((source, target))
        places = {int(item): place for place, item in enumerate(order.items)}
        assert all(places[one] < places[other] for one, other in taken)


def reached(start, edges, *, backwards):
    found, ahead = {start}, [start]
    while ahead:
        here = ahead.pop()
        for one, other in edges:
            before, after = (other, one) if backwards else (one, other)
            if before == here and after not in found:
                found.add(after)
                ahead.append(after)
    return found
