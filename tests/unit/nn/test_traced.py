"""Padding as an exporter follows it puts the same voxels in the same places as padding does elsewhere."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from hilum.nn.blocks import crop_to, pad_to_multiple
from hilum.nn.traced import crop_traced, pad_traced

SIZES = st.lists(st.integers(1, 40), min_size=2, max_size=3)


@given(SIZES, st.sampled_from([1, 2, 4, 8, 16, 32]))
def test_any_size_is_padded_and_cropped_alike(sizes, multiple):
    images = torch.arange(2 * torch.Size(sizes).numel(), dtype=torch.float32).reshape(2, 1, *sizes)
    padded = pad_traced(images, [multiple] * len(sizes))
    assert torch.equal(padded, pad_to_multiple(images, multiple))
    assert torch.equal(crop_traced(padded, sizes), crop_to(padded, sizes))
    assert torch.equal(crop_traced(padded, sizes), images)
