"""Patches that share voxels."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.geometry import Patch, tile
from hilum.select.overlap import Boxes, thin_axis

_ZYX = st.tuples(*[st.integers(0, 6)] * 3)
_SIZE = st.tuples(*[st.integers(1, 4)] * 3)
_PATCH = st.builds(Patch, st.sampled_from(["a", "b", "c"]), _ZYX, _SIZE)


@given(st.lists(_PATCH, min_size=1, max_size=25), _PATCH)
def test_what_overlaps_is_what_two_boxes_say_of_each_other(patches, other):
    boxes = Boxes.of(patches)
    assert boxes.overlapping(other).tolist() == [row for row, p in enumerate(patches) if p.overlaps(other)]
    for row, patch in enumerate(patches):
        assert boxes.neighbours(row).tolist() == [r for r, p in enumerate(patches) if p.overlaps(patch)]


def test_tiles_side_by_side_touch_nobody_but_themselves():
    patches = [Patch("a", start, (2, 4, 4)) for start in tile((4, 8, 8), (2, 4, 4), (2, 4, 4))]
    boxes = Boxes.of(patches)
    assert all(boxes.neighbours(row).tolist() == [row] for row in range(len(patches)))


def test_a_patch_of_another_volume_overlaps_nobody():
    assert Boxes.of([Patch("a", (0, 0, 0), (9, 9, 9))]).overlapping(Patch("b", (0, 0, 0), (9, 9, 9))).tolist() == []


def test_no_patches_overlap_nothing():
    boxes = Boxes([], np.empty(0, np.int64), np.empty((0, 3), np.int64), np.empty((0, 3), np.int64))
    assert boxes.overlapping(Patch("a", (0, 0, 0), (1, 1, 1))).tolist() == []


def test_among_thousands_of_crowded_patches_and_a_large_one_the_answer_is_still_that_of_all_pairs():
    rng = np.random.default_rng(0)
    starts = rng.integers(0, (12, 90, 90), (4000, 3))
    shapes = np.where(rng.random((4000, 1)) < 0.001, (6, 60, 60), (1, 8, 8))
    codes = rng.integers(0, 3, 4000)
    boxes = Boxes(["a", "b", "c"], codes, starts, shapes)
    for row in range(0, 4000, 37):
        apart = (starts >= starts[row] + shapes[row]) | (starts[row] >= starts + shapes)
        assert boxes.neighbours(row).tolist() == np.flatnonzero((codes == codes[row]) & ~apart.any(axis=1)).tolist()


def _too_near(one, other, apart, depth):
    """What two boxes say of each other, the long way: slice by slice along the first one's thin axis."""
    if one.volume_id != other.volume_id:
        return False
    axis = thin_axis(one.shape_zyx)
    if axis is None or one.overlaps(other):
        return one.overlaps(other)
    across = [a for a in range(3) if a != axis]
    covers = all(one.start_zyx[a] < other.stop_zyx[a] and other.start_zyx[a] < one.stop_zyx[a] for a in across)
    slices, others = (range(p.start_zyx[axis], p.stop_zyx[axis]) for p in (one, other))
    item = one.start_zyx[0] // depth
    near = [b for a in slices for b in others if abs(a - b) < apart and (axis != 0 or b // depth == item)]
    return covers and bool(near)


_THIN = st.sampled_from([(1, 3, 4), (1, 2, 2), (3, 1, 3), (2, 3, 1), (2, 2, 2), (1, 1, 4), (2, 3, 4)])
_SLICE = st.builds(Patch, st.sampled_from(["a", "b"]), st.tuples(*[st.integers(0, 9)] * 3), _THIN)


@given(st.lists(_SLICE, min_size=1, max_size=25), _SLICE, st.integers(1, 6), st.sampled_from([4, 20]))
def test_slices_touch_what_lies_fewer_slices_away_than_wanted_in_their_item(patches, other, apart, depth):
    volume_ids = sorted({patch.volume_id for patch in patches})
    boxes = Boxes(
        volume_ids,
        np.array([volume_ids.index(p.volume_id) for p in patches]),
        np.array([p.start_zyx for p in patches]),
        np.array([p.shape_zyx for p in patches]),
        min_slices_apart=apart,
        item_depths_V=np.full(len(volume_ids), depth),
    )
    inside = [p.start_zyx[0] // depth == (p.stop_zyx[0] - 1) // depth for p in [*patches, other]]
    for row, patch in enumerate(patches):
        if inside[row]:  # no candidate straddles two items
            wanted = [r for r, p in enumerate(patches) if _too_near(patch, p, apart, depth)]
            assert boxes.neighbours(row).tolist() == wanted
    if inside[-1]:
        assert boxes.overlapping(other).tolist() == [
            r for r, p in enumerate(patches) if _too_near(other, p, apart, depth)
        ]
