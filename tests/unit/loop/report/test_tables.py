"""Rows of text: every cell says what is known and no more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.loop.comparison import compare
from hilum.loop.curves import Curve, Interval, t_interval
from hilum.loop.report.tables import Cell, duration_text, interval_cell, level_titles, rows, time_rows

LABELS = (20, 40, 60)


def of(strategy, *values):
    return [Curve(strategy, seed, LABELS, row) for seed, row in enumerate(values)]


def table(active, random, **options):
    found = rows(compare([*of("active", *active), *of("random", *random)], metric="balanced_accuracy", **options))
    return {row.strategy: row for row in found}


SLOW = ((0.2, 0.4, 0.6), (0.2, 0.4, 0.6))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_an_interval_of_a_score_stays_where_scores_can_be(values):
    low, high = (float(end) for end in interval_cell(t_interval(values)).detail.split(" to "))
    assert 0 <= low <= high <= 1


def test_one_seed_says_so_instead_of_an_interval():
    assert interval_cell(Interval(0.5, None, None, 1)) == Cell("0.500", "one seed")


def test_labels_are_read_between_measurements():
    found = table(((0.4, 0.8, 0.9), (0.4, 0.8, 0.9)), SLOW)
    assert found["active"].needed[0] == Cell("30")
    assert found["active"].savings[0].text.replace("\xa0", " ") == "50 %"
    assert found["random"].needed[0] == Cell("60")


def test_a_level_that_was_there_at_the_first_measurement_may_have_needed_fewer():
    found = table(((0.7, 0.8, 0.9), (0.7, 0.8, 0.9)), SLOW)
    assert found["active"].needed[0].text == "≤ 20"
    assert found["active"].savings[0].text.replace("\xa0", " ") == "at most 33 %"


def test_a_level_that_was_not_reached_has_no_number():
    found = table(((0.1, 0.2, 0.3), (0.1, 0.2, 0.3)), SLOW)
    assert found["active"].needed[0] == Cell("not reached", "0 of 2 seeds got there")
    assert found["active"].savings[0].text.replace("\xa0", " ") == "at least 100 %"


def test_seeds_that_got_there_are_counted_when_not_all_did():
    found = table(((0.4, 0.8, 0.9), (0.1, 0.2, 0.5)), SLOW)
    assert found["active"].needed[0].detail == "1 of 2 seeds got there"


def test_a_difference_comes_with_its_interval_and_its_count_of_seeds():
    found = table(((0.3, 0.5, 0.7), (0.4, 0.6, 0.8)), SLOW)
    assert found["active"].difference.text == "+0.150"
    assert found["active"].difference.detail.endswith("ahead in 2 of 2")
    assert found["random"].difference == Cell("–")


def test_a_difference_of_one_seed_has_only_its_sign():
    found = table(((0.3, 0.5, 0.7),), ((0.2, 0.4, 0.6),))
    assert found["active"].difference == Cell("+0.100", "ahead in 1 of 1")


def test_levels_are_titled_with_their_score():
    curves = [*of("active", *SLOW), *of("random", *SLOW)]
    titles = level_titles(compare(curves, metric="m", full_data=(0.8, 1.0), num_full_labels=99))
    assert [(title.replace("\xa0", " "), score) for title, score in titles] == [
        ("random's final", "0.600"),
        ("90 % of full data", "0.810"),
        ("95 % of full data", "0.855"),
        ("100 % of full data", "0.900"),
    ]


@given(
    st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=1, max_size=4),
    st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=1, max_size=4),
    st.lists(st.floats(0, 1), max_size=2),
)
def test_every_cell_of_any_table_is_words_or_a_number(active, random, full_data):
    for row in table(active, random, full_data=full_data, num_full_labels=5).values():
        for cell in (row.final, row.area, row.difference, *row.needed, *row.savings):
            assert cell.text
            assert not {"nan", "inf", "None"} & set(f"{cell.text} {cell.detail}".replace(";", " ").split())
        assert len(row.needed) == len(row.savings) == (4 if full_data else 1)


@pytest.mark.parametrize("num_seeds", [1, 2, 5])
def test_rows_are_as_many_as_strategies(num_seeds):
    assert len(table(SLOW[:1] * num_seeds, SLOW[:1] * num_seeds)) == 2


def test_people_s_time_is_that_of_whole_campaigns_and_until_random_s_final_score(make_comparison):
    found = {row.strategy: row for row in time_rows(make_comparison(timed=True))}
    assert list(found) == ["margin", "entropy", "random"]
    # 100 answers of 22 to 24 seconds each, in five seeds.
    assert found["margin"].total.text == "38.3 min"
    assert found["random"].total.text == "21.7 min"
    margin = make_comparison(timed=True).timed["margin"]
    assert margin.needed is not None
    assert 22 * 20 < margin.needed < 22 * 100
    assert found["margin"].needed.text == duration_text(margin.needed)


def test_where_somebody_s_time_is_not_known_nothing_is_said_of_it(make_comparison):
    assert time_rows(make_comparison()) == []


@pytest.mark.parametrize(("seconds", "text"), [(0.25, "0.2 s"), (61, "61 s"), (600, "10.0 min"), (9000, "2.5 h")])
def test_seconds_are_told_as_people_say_them(seconds, text):
    assert duration_text(seconds) == text
