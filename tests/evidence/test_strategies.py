"""The page of strategies says what its curves say."""

import pytest
from tests.evidence.strategies import Found, page
from tests.evidence.strategies_plot import colours, strategies_png

from hilum.loop import recipe_files
from hilum.loop.curves import Curve
from hilum.loop.simulate import Simulation


def simulation(name="strategies-hippocampus", seeds=(0, 1, 2)):
    """By seed: 'entropy' a tenth ahead of random, 'foreground-random' half of that, 'bald' a tenth behind."""
    ahead = {"random": 0.0, "entropy": 0.1, "foreground-random": 0.05, "bald": -0.1}
    curves = tuple(
        Curve(strategy, seed, (20, 40, 60), (0.4 + seed / 100 + by, 0.5 + seed / 90 + by, 0.6 + seed / 100 + by))
        for strategy, by in ahead.items()
        for seed in seeds
    )
    found = Simulation("strategies", "dice_mean", "test", curves, (), 0, 0.0, {})
    return Found(name, recipe_files.simulate_recipe(name), found)


def test_the_page_ranks_strategies_with_random_among_them():
    text = page([simulation()], hardware="two cores", date="2026-11-29")
    table = [line for line in text.splitlines() if line.startswith("| ") and line.count("|") == 8][1:]
    assert [line.split("|")[1].strip(" *") for line in table] == ["entropy", "foreground-random", "random", "bald"]
    assert "+0.100" in table[0]
    assert "3 of 3" in table[0]
    assert "0 of 3" in table[3]
    assert "not reached" in table[3]


def test_the_page_says_who_is_ahead_of_foreground_aware_random():
    text = page([simulation()], hardware="two cores", date="2026-11-29")
    assert "Clearly ahead of it, each by its own interval: entropy." in text
    assert "| entropy | +0.050 (95\N{NO-BREAK SPACE}% interval +0.050 to +0.050) |" in text


def test_the_picture_shows_foreground_aware_random_and_the_best():
    comparison = simulation().simulation.comparison
    assert {"entropy", "foreground-random"} <= set(colours(comparison))
    assert strategies_png(comparison, "Which voxels").startswith(b"\x89PNG")


def test_the_page_names_what_was_not_run():
    text = page([simulation()], hardware="two cores", date="2026-11-29")
    assert "Not run to the end yet: `strategies-hippocampus-again`, `strategies-mednist`" in text


def test_the_page_names_samplers_that_were_not_asked():
    last = page([simulation()], hardware="two cores", date="2026-11-29").splitlines()[-1]
    assert "`batch_bald`" in last
    assert "`badge`" not in last


def test_the_page_says_where_the_shipped_recipe_was_chosen_and_gives_the_other_seeds_apart():
    found = simulation("strategies-mednist", seeds=range(7))
    text = page([found], hardware="two cores", date="2026-11-29")
    assert "was chosen on this very set, with seeds 0 to 4" in text
    table = [line.split("|") for line in text.splitlines() if line.startswith("| ") and line.count("|") == 9]
    anew = {cells[1].strip(" *"): cells[-2].strip() for cells in table}
    # The mean of seeds 5 and 6: 0.4, 0.5 and 0.6 of each curve, and what these seeds and the strategy add.
    of_random = 0.25 * (0.4 + 0.6 + 2 * 5.5 / 100) + 0.5 * (0.5 + 5.5 / 90)
    assert float(anew["random"]) == pytest.approx(of_random, abs=6e-4)
    assert float(anew["entropy"]) == pytest.approx(of_random + 0.1, abs=6e-4)
