"""What a comparison of pretrainings says: means, labels needed, and when the best cannot be told from the next."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from hilum.loop import pretrained_plot
from hilum.loop.curves import Curve
from hilum.loop.pretrained_plot import curves_png
from hilum.loop.pretrained_table import as_markdown, target_table, verdict

LABELS = (10, 25, 50, 100)
TITLES = {"random": "scratch (MSRA)", "scratch-xavier": "scratch (Xavier)", "genesis": "genesis", "jigsaw": "jigsaw"}
SCRATCH = ("random", "scratch-xavier")
HEIGHTS = {
    "random": (0.3, 0.4, 0.5, 0.6),
    "scratch-xavier": (0.28, 0.39, 0.5, 0.59),
    "genesis": (0.5, 0.6, 0.65, 0.7),
    "jigsaw": (0.3, 0.41, 0.52, 0.61),
}


def curves(heights=HEIGHTS, *, num_seeds=5, spread=0.01):
    rng = np.random.default_rng(3)
    return [
        Curve(name, seed, LABELS, tuple(float(v) for v in np.array(values) + rng.normal(0, spread, 4)))
        for name, values in heights.items()
        for seed in range(num_seeds)
    ]


def table(**options):
    return target_table("liver", "dice_mean", curves(**options), titles=TITLES, scratch=SCRATCH)


def test_scratch_comes_first_and_every_method_keeps_its_order():
    assert [row.name for row in table().methods] == list(TITLES.values())
    assert [row.is_scratch for row in table().methods] == [True, True, False, False]


def test_a_pretraining_that_saves_labels_is_told_with_how_many():
    found = table()
    genesis = found.methods[2]
    assert genesis.needed == pytest.approx(0.25, abs=0.05)
    assert genesis.p_value is not None
    assert genesis.p_value < 0.001
    assert found.best_two == ("genesis", "jigsaw")
    told = " ".join(verdict(found))
    assert "genesis is as good as scratch (MSRA) with all labels after 2" in told
    assert "differ (p = 0.000)" in told


def test_a_pretraining_that_helps_nobody_is_told_just_as_plainly():
    worse = {**HEIGHTS, "genesis": (0.2, 0.3, 0.4, 0.5), "jigsaw": (0.2, 0.3, 0.4, 0.5)}
    told = " ".join(verdict(table(heights=worse)))
    assert "No pretraining is as good as scratch (MSRA) with all labels." in told
    assert "−0.1" in told


def test_the_same_curve_twice_cannot_be_told_apart():
    same = dict.fromkeys(HEIGHTS, HEIGHTS["random"])
    found = table(heights=same)
    assert found.best_p is not None
    assert found.best_p > 0.05
    assert "cannot be told apart" in " ".join(verdict(found))


def test_one_seed_has_no_p_value_and_no_interval():
    found = table(num_seeds=1)
    assert found.best_p is None
    assert all(row.p_value is None for row in found.methods)
    assert all(apart.low is None for row in found.methods for apart in row.against_scratch)
    assert as_markdown(found).count("|") > 20


@given(st.integers(2, 6), st.floats(0.0, 0.2))
def test_seeds_are_paired_whatever_their_order(num_seeds, spread):
    given_curves = curves(num_seeds=num_seeds, spread=spread)
    one = target_table("liver", "dice_mean", given_curves, titles=TITLES, scratch=SCRATCH)
    other = target_table("liver", "dice_mean", given_curves[::-1], titles=TITLES, scratch=SCRATCH)
    assert [row.against_scratch for row in one.methods] == [row.against_scratch for row in other.methods]


def test_the_difference_is_told_for_the_fewest_labels_and_for_all_of_them():
    found = table(spread=0.0)
    genesis = found.methods[2]
    assert [round(apart.mean, 3) for apart in genesis.against_scratch] == [0.2, 0.2, 0.15, 0.1]
    row = next(line for line in as_markdown(found).splitlines() if line.startswith("| genesis"))
    assert row.split("|")[-4].strip().startswith("+0.200")
    assert row.split("|")[-3].strip().startswith("+0.100")
    assert "With 10 labels genesis reaches 0.500, scratch (MSRA) 0.300: +0.200" in " ".join(verdict(found))


def test_the_page_has_a_row_for_every_method_and_a_column_for_every_share():
    lines = as_markdown(table()).splitlines()
    assert lines[0].startswith("| start | 10\N{NO-BREAK SPACE}% of labels | 25")
    assert len(lines) == 2 + len(TITLES)
    assert len({line.count("|") for line in lines}) == 1


def drawn(found):
    axes = Figure().subplots()
    pretrained_plot._target(axes, found)
    return axes


def test_the_plot_is_a_picture():
    assert curves_png([table()]).startswith(b"\x89PNG")


def test_a_start_that_learns_nothing_does_not_press_the_others_into_one_line():
    axes = drawn(table(heights={**HEIGHTS, "scratch-xavier": (-3.0, -3.0, -2.9, -2.9)}, spread=0.0))
    low, high = axes.get_ylim()
    assert 0 < low < 0.3
    assert high > 0.7
    assert "scratch (Xavier) (at most -2.90)" in axes.get_xlabel()


def test_starts_that_learn_are_all_seen():
    axes = drawn(table(spread=0.0))
    low, high = axes.get_ylim()
    assert low < 0.28
    assert high > 0.7
    assert axes.get_xlabel() == "labels"
