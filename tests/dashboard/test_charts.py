"""Charts: what is drawn, and the same figures as a table."""

from decimal import Decimal

from aideon_agents.dashboard.charts import HEIGHT, SERIES, WIDTH, stacked

DAYS = ("2026-11-29", "2026-11-30")


def test_the_highest_column_fills_the_chart_and_parts_lie_on_one_another():
    values = {
        (DAYS[0], "a"): Decimal(3),
        (DAYS[0], "b"): Decimal(1),
        (DAYS[1], "a"): Decimal(1),
    }
    chart = stacked(DAYS, values)
    first, second, third = chart.bars
    assert (first.y + first.height, second.y) == (HEIGHT, 0)
    assert first.y == second.y + second.height
    assert third.height == first.height / 3
    assert third.x > WIDTH / 2
    assert chart.totals == {DAYS[0]: 4, DAYS[1]: 1}


def test_small_series_are_added_up_and_nothing_is_lost():
    values = {(DAYS[0], f"workflow {one}"): Decimal(one) for one in range(1, 12)}
    chart = stacked(DAYS, values)
    assert len(chart.series) == SERIES
    assert chart.series[0] == "workflow 11"
    assert chart.series[-1] == "other"
    assert chart.most == sum(values.values())


def test_without_spending_there_is_no_chart():
    assert stacked(DAYS, {}).bars == []
