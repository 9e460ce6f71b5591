"""The table at the end of a simulation in the terminal."""

import pytest
from rich.console import Console

from hilum.loop.comparison import compare
from hilum.loop.curves import Curve
from hilum.loop.report.tables import rows
from hilum.loop.report.terminal import summary_table


def printed(table, width=110):
    console = Console(width=width, record=True, file=None, force_terminal=False)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def test_the_table_says_who_won_and_where_the_report_is(make_comparison):
    comparison = make_comparison()
    text = " ".join(printed(summary_table(comparison, title="Brain", report="demo/report.html")).split())
    assert "“margin” won: to be as good as random" in text
    assert "Report: demo/report.html" in text
    assert "Balanced accuracy" in text


def test_random_stands_last_and_saves_nothing_against_itself(make_comparison):
    row = rows(make_comparison())[-1]
    assert row.strategy == "random"
    assert {saving.text for saving in row.savings} == {"–"}
    assert row.difference.text == "–"


def test_a_strategy_that_never_got_there_is_not_given_a_number(make_comparison):
    found = {row.strategy: row for row in rows(make_comparison(heights=(0.9, 0.4, 0.8)))}
    assert found["entropy"].needed[0].text == "not reached"
    assert found["entropy"].savings[0].text.startswith("at least")


def test_square_brackets_in_a_name_are_not_taken_for_colours():
    curves = [Curve(name, s, (1, 2), (0.1, 0.2 + s / 10)) for name in ("[red]x[/red]", "random") for s in (0, 1)]
    assert "[red]x[/red]" in printed(summary_table(compare(curves, metric="m"), title="[b]t[/b]"))


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_table_fits_the_terminal(make_comparison, width):
    text = printed(summary_table(make_comparison(), title="Brain", report="demo/report.html"), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "random" in text


def test_one_seed_has_no_interval_to_show(make_comparison):
    row = rows(make_comparison(num_seeds=1))[0]
    assert row.final.detail == "one seed"
    assert row.savings[0].detail == ""
