"""Lesions: found or missed, real or false, by size, and what nobody can say."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from hilum.nn.lesions import band_names, count_lesions, equal_diameter_mm

SMALL, LARGE = 0, 1


def counted(truth, answer, known=None, *, overlap=0.0, edges=(3.0,), connectivity=3, voxel=1.0):
    known = np.ones_like(truth) if known is None else known
    found = count_lesions(
        truth,
        answer,
        known,
        voxel_mm3=voxel,
        band_edges_mm=edges,
        min_overlap=overlap,
        connectivity=connectivity,
    )
    return {name: counts.tolist() for name, counts in vars(found).items()}


def scan(*boxes):
    """A mask of cubes, each (corner, side)."""
    mask = np.zeros((20, 20, 20), bool)
    for corner, side in boxes:
        mask[tuple(slice(c, c + side) for c in corner)] = True
    return mask


SPECK, BALL = ((2, 2, 2), 1), ((10, 10, 10), 5)


def test_a_missed_speck_and_a_found_ball_are_told_apart():
    found = counted(scan(SPECK, BALL), scan(((12, 12, 12), 5)))
    assert found == {"true": [1, 1], "found": [0, 1], "answered": [0, 1], "real": [0, 1]}


def test_a_lesion_where_there_is_none_is_answered_and_not_real():
    found = counted(scan(BALL), scan(BALL, SPECK))
    assert found["answered"] == [1, 1]
    assert found["real"] == [0, 1]


def test_nothing_true_and_nothing_answered_counts_nothing():
    assert set(map(tuple, counted(scan(), scan()).values())) == {(0, 0)}


def test_as_much_of_a_lesion_must_be_covered_as_is_asked():
    truth, answer = scan(((4, 4, 4), 4)), scan(((6, 4, 4), 4))  # half of it
    assert counted(truth, answer, overlap=0.5)["found"] == [0, 1]
    assert counted(truth, answer, overlap=0.51)["found"] == [0, 0]


def test_two_lesions_under_one_answer_are_both_found():
    found = counted(scan(((2, 2, 2), 2), ((2, 2, 6), 2)), scan(((1, 1, 1), 8)))
    assert sum(found["found"]) == 2
    assert sum(found["answered"]) == sum(found["real"]) == 1


@pytest.mark.parametrize(("connectivity", "num"), [(1, 2), (2, 2), (3, 1)])
def test_cubes_that_share_a_corner_are_one_lesion_if_corners_count(connectivity, num):
    truth = scan(((4, 4, 4), 2), ((6, 6, 6), 2))
    assert sum(counted(truth, truth, connectivity=connectivity)["true"]) == num


def test_an_answer_that_reaches_where_nobody_looked_is_not_held_against_it():
    known = np.ones((20, 20, 20), bool)
    known[:, :, 10:] = False
    over_the_edge, all_known = scan(((4, 4, 8), 4)), scan(((14, 4, 2), 4))
    assert sum(counted(scan(), over_the_edge, known)["answered"]) == 0
    assert sum(counted(scan(), all_known, known)["answered"]) == 1


def test_an_answer_that_hits_and_reaches_where_nobody_looked_is_real():
    known = np.ones((20, 20, 20), bool)
    known[:, :, 10:] = False
    found = counted(scan(((4, 4, 6), 4)), scan(((4, 4, 8), 4)), known, overlap=0.5)
    assert sum(found["found"]) == sum(found["real"]) == sum(found["answered"]) == 1


def test_size_is_measured_in_millimetres_and_not_in_voxels():
    speck = scan(SPECK)
    assert counted(speck, speck, voxel=1.0)["true"] == [1, 0]
    assert counted(speck, speck, voxel=30.0)["true"] == [0, 1]


def test_a_lesion_of_just_the_edge_belongs_to_the_band_above():
    ball_mm3 = math.pi / 6 * 3.0**3
    speck = scan(SPECK)
    assert counted(speck, speck, voxel=ball_mm3 * (1 + 1e-9))["true"] == [0, 1]


@pytest.mark.parametrize(("flat", "size"), [(False, math.pi / 6 * 7**3), (True, math.pi / 4 * 7**2)])
def test_a_ball_and_a_disc_have_their_own_diameter(flat, size):
    assert equal_diameter_mm(np.array([size]), flat=flat) == pytest.approx([7])


def test_bands_cover_every_size():
    assert band_names([6.0, 10.0]) == ["<6 mm", "6-10 mm", ">=10 mm"]
    assert band_names([2.5]) == ["<2.5 mm", ">=2.5 mm"]
    assert band_names([]) == []


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3, 1.0]))
def test_counts_are_those_of_looking_at_one_lesion_after_the_other(seed, overlap):
    random = np.random.default_rng(seed)
    truth, answer = (random.random((5, 6, 7)) < share for share in (0.12, 0.15))
    found = counted(truth, answer, overlap=overlap, edges=())

    def hits(mask, other):
        labels, num = ndimage.label(mask, np.ones((3, 3, 3)))
        shares = [other[labels == n].mean() for n in range(1, num + 1)]
        return num, sum(share > 0 and share >= overlap for share in shares)

    (num_true, num_found), (num_answered, num_real) = hits(truth, answer), hits(answer, truth)
    assert found == {"true": [num_true], "found": [num_found], "answered": [num_answered], "real": [num_real]}
