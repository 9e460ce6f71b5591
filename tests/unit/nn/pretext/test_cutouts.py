import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.nn.pretext.cutouts import (
    inner_boxes,
    inner_cutout,
    inner_sizes,
    outer_boxes,
    outer_cutout,
    outer_sizes,
)

CUBE = (32, 64, 64)
shapes = st.tuples(*(st.integers(1, 40),) * 3)


def _masked(cutout, regime, *, num, shape=CUBE):
    crop = np.full((1, *shape), 2, np.float32)
    return np.array([(cutout(crop, rng=np.random.default_rng(seed), regime=regime) < 2).mean() for seed in range(num)])


def test_in_painting_masks_what_the_code_was_measured_to_mask():
    masked = _masked(inner_cutout, "code", num=1500)
    assert masked.mean() == pytest.approx(0.055, abs=0.003)
    assert masked.max() < 0.13
    # The first block, too, is left out one time in twenty.
    assert (masked == 0).mean() == pytest.approx(0.05, abs=0.02)


def test_out_painting_masks_what_the_code_was_measured_to_mask():
    masked = _masked(outer_cutout, "code", num=1500)
    assert masked.mean() == pytest.approx(0.68, abs=0.01)
    assert masked.min() > 0.25
    assert masked.min() == pytest.approx(1 - 0.453, abs=0.06)
    assert masked.max() == pytest.approx(1 - 0.087, abs=0.03)


@pytest.mark.parametrize("cutout", [inner_cutout, outer_cutout])
@pytest.mark.parametrize("shape", [CUBE, (1, 64, 64), (16, 16, 16)])
def test_as_the_paper_says_less_than_a_quarter_is_masked(cutout, shape):
    masked = _masked(cutout, "paper", num=300, shape=shape)
    assert masked.max() < 0.25
    assert masked.mean() > 0.05


@settings(max_examples=80, deadline=None)
@given(shapes, st.sampled_from(["code", "paper"]), st.sampled_from([inner_boxes, outer_boxes]), st.integers(0, 99))
def test_boxes_have_room_and_are_not_empty(shape_zyx, regime, boxes_of, seed):
    boxes = boxes_of(shape_zyx, rng=np.random.default_rng(seed), regime=regime)
    for box in boxes:
        for side, size in zip(box, shape_zyx, strict=True):
            assert 0 <= side.start < side.stop <= size
    assert len(boxes) <= (5 if regime == "code" else 10)
    assert boxes or boxes_of is inner_boxes


def test_boxes_keep_off_the_border_where_there_is_room():
    for seed in range(50):
        rng = np.random.default_rng(seed)
        for box in [*inner_boxes(CUBE, rng=rng, regime="code"), *outer_boxes(CUBE, rng=rng, regime="code")]:
            assert all(side.start >= 3 and side.stop <= size - 3 for side, size in zip(box, CUBE, strict=True))


def test_sizes_are_the_published_ones_by_axis():
    least, most = inner_sizes(CUBE)
    assert (least.tolist(), most.tolist()) == ([5, 10, 10], [10, 21, 21])
    least, most = outer_sizes(CUBE, "code")
    assert (least.tolist(), most.tolist()) == ([32 - 18, 64 - 36, 64 - 36], [32 - 13, 64 - 27, 64 - 27])


@pytest.mark.parametrize("sizes", [inner_sizes, lambda shape: outer_sizes(shape, "code")])
def test_every_size_is_met_with(sizes):
    least, most = sizes(CUBE)
    boxes_of = inner_boxes if sizes is inner_sizes else outer_boxes
    rng = np.random.default_rng(0)
    seen = [
        side.stop - side.start for _ in range(400) for side in [b[0] for b in boxes_of(CUBE, rng=rng, regime="code")]
    ]
    assert sorted(set(seen)) == list(range(least[0], most[0] + 1))


def test_what_is_masked_is_noise_and_the_rest_is_the_crop():
    crop = np.full((1, *CUBE), 2, np.float32)
    for cutout in (inner_cutout, outer_cutout):
        painted = cutout(crop, rng=np.random.default_rng(4))
        noise = painted[painted != 2]
        assert ((noise >= 0) & (noise < 1)).all()
        assert noise.mean() == pytest.approx(0.5, abs=0.02)
        assert noise.std() == pytest.approx(12**-0.5, abs=0.01)


def test_regimes_that_are_not_there_are_refused_by_the_recipe():
    from hilum.core.errors import RecipeError
    from hilum.core.recipes import Choice
    from hilum.core.registry import pretexts

    with pytest.raises(RecipeError, match="pretext 'genesis', parameter 'regime'"):
        pretexts.bind(Choice(kind="genesis", regime="thesis"))
