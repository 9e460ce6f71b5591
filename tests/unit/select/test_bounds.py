import numpy as np
import pytest
from scipy import stats

from hilum.select.bounds import FarDraw, Farthest, catch_up


def greedy(points_ND, centres_CD, num):
    """Farthest first by all distances, the lower row of equals."""
    centres = list(centres_CD)
    picks = []
    for _ in range(num):
        nearest_N = ((points_ND[:, None] - np.array(centres)[None]) ** 2).sum(axis=2).min(axis=1)
        nearest_N[picks] = -1
        picks.append(int(nearest_N.argmax()))
        centres.append(points_ND[picks[-1]])
    return picks


@pytest.mark.parametrize("num_centres", [1, 7])
def test_the_farthest_of_many_blocks_with_equals_is_the_one_of_all_distances(num_centres):
    rng = np.random.default_rng(num_centres)
    points_ND = rng.integers(0, 5, (1100, 3)).astype(np.float32)  # whole numbers: distances are exact, many equal
    far = Farthest(points_ND, points_ND[:num_centres].copy(), num=60)
    assert [far.take() for _ in range(60)] == greedy(points_ND, points_ND[:num_centres], 60)


def test_few_rows_are_looked_at_again():
    points_ND = np.random.default_rng(0).standard_normal((20_000, 16)).astype(np.float32)
    far = Farthest(points_ND, np.zeros((1, 16), np.float32), num=50)
    for _ in range(50):
        far.take()
    assert far._met_N.sum() < 2 * len(points_ND)  # one meeting each, where every pick in turn would make 51


def test_rows_are_drawn_in_proportion_to_their_newest_distance():
    points_ND = np.array([[0.0], [1.0], [2.0], [3.0], [10.0]], np.float32)
    centres_CD = np.array([[0.0], [9.0]], np.float32)
    num_centres = 1

    def meet(start, stop, nearest_N, met_N):
        catch_up(points_ND, centres_CD, num_centres, start, stop, nearest_N, met_N)

    drawn = np.zeros(5, int)
    rng = np.random.default_rng(0)
    for _ in range(4000):
        num_centres = 1
        far = FarDraw(5, meet)
        far.refresh()
        num_centres = 2  # the draw still knows the distances to the first centre alone
        drawn[far.row(rng)] += 1
    expected = np.array([0.0, 1.0, 4.0, 9.0, 1.0])
    assert drawn[0] == 0
    assert stats.chisquare(drawn[1:], expected[1:] / expected.sum() * 4000).pvalue > 1e-3


def test_where_nothing_is_apart_rows_are_drawn_evenly_and_once():
    points_ND = np.zeros((300, 2), np.float32)

    def meet(start, stop, nearest_N, met_N):
        catch_up(points_ND, points_ND[:1], 1, start, stop, nearest_N, met_N)

    rng = np.random.default_rng(1)
    firsts = []
    for _ in range(40):
        far = FarDraw(300, meet)
        picks = []
        for _ in range(5):
            picks.append(far.row(rng))
            far.take(picks[-1])
        assert len(set(picks)) == 5
        firsts.append(picks[0])
    assert len(set(firsts)) > 30
