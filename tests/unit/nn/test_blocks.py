"""Blocks: padding that can be undone, encoders that halve, first weights of the right size."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hilum.core.errors import RecipeError
from hilum.nn.blocks import (
    ConvBlock,
    Encoder,
    NetworkParams,
    class_head,
    crop_to,
    draw_dropout_from,
    enlarge,
    pad_to_multiple,
    up_sampling,
)

SPACES = st.lists(st.integers(1, 20), min_size=2, max_size=3)


@given(SPACES, st.sampled_from([2, 4, 8]))
def test_padding_can_be_undone_and_divides(space, multiple):
    images = torch.rand(1, 2, *space)
    padded = pad_to_multiple(images, multiple)
    assert torch.equal(crop_to(padded, space), images)
    for have, want in zip(padded.shape[2:], space, strict=True):
        assert have % multiple == 0
        assert max(want, 2 * multiple) <= have < max(want, 2 * multiple) + multiple


def test_an_image_that_divides_is_not_copied():
    images = torch.rand(1, 1, 16, 32)
    assert pad_to_multiple(images, 8) is images


@given(st.tuples(st.integers(1, 9), st.integers(1, 20), st.integers(1, 20)))
def test_every_axis_is_padded_to_its_own_multiple(space):
    padded = pad_to_multiple(torch.rand(1, 1, *space), (1, 4, 8))
    assert padded.shape[2] == max(2, space[0])
    assert padded.shape[3] % 4 == 0
    assert padded.shape[4] % 8 == 0


def test_padding_repeats_the_border_and_invents_nothing():
    padded = pad_to_multiple(torch.tensor([[[[1.0, 2.0, 3.0]]]]), 2)
    assert padded.tolist() == [[[[1, 2, 3, 3]] * 4]]


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([2, 3]), st.integers(1, 4), st.sampled_from([1, 2]))
def test_every_level_of_an_encoder_has_half_the_one_above_and_its_own_features(spatial_dims, depth, input_stride):
    params = NetworkParams(depth=depth, features=(2, 3, 4, 5, 6), input_stride=input_stride)
    encoder = Encoder(spatial_dims, 1, params)
    size = input_stride * 2**depth
    levels = encoder(torch.rand(1, 1, *[size] * spatial_dims))
    assert [level.shape[1] for level in levels] == [2, 3, 4, 5, 6][: depth + 1]
    assert [level.shape[2] for level in levels] == [2 ** (depth - i) for i in range(depth + 1)]
    assert encoder.num_features == levels[-1].shape[1]


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("up", ["transposed", "linear"])
def test_up_sampling_doubles_space_and_changes_channels(spatial_dims, up):
    layer = up_sampling(spatial_dims, 6, 4, up)
    assert layer(torch.rand(2, 6, *[3] * spatial_dims)).shape == (2, 4, *[6] * spatial_dims)


def test_enlarging_by_one_is_nothing():
    images = torch.rand(1, 1, 4, 4)
    assert enlarge(images, (1, 1)) is images
    assert enlarge(images, (2, 2)).shape == (1, 1, 8, 8)
    assert enlarge(torch.ones(1, 1, 2, 2, 2), (1, 2, 2)).eq(1).all()
    assert enlarge(torch.ones(1, 1, 2, 2, 2), (1, 2, 2)).shape == (1, 1, 2, 4, 4)


def test_first_biases_are_nothing_and_first_weights_keep_the_signal_s_size():
    torch.manual_seed(0)
    block = ConvBlock(2, 64, 64, NetworkParams(norm="none", activation="relu"))
    convolutions = [layer for layer in block if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == 2
    assert all(torch.all(layer.bias == 0) for layer in convolutions)
    signal = torch.randn(4, 64, 16, 16)
    assert 0.5 < (block(signal).pow(2).mean() / signal.pow(2).mean()).item() < 2


def test_a_class_head_looks_at_one_voxel():
    head = class_head(3, 4, 2)
    features = torch.rand(1, 4, 3, 3, 3)
    before = head(features)
    features[..., 0, 0, 0] += 1
    changed = (head(features) != before).any(dim=1)
    assert changed.sum() == 1


def test_the_number_of_layers_that_drop_is_told():
    assert draw_dropout_from(ConvBlock(2, 1, 2, NetworkParams(dropout=0.5)), torch.Generator()) == 2
    assert draw_dropout_from(ConvBlock(2, 1, 2, NetworkParams()), torch.Generator()) == 0


def test_a_training_step_repeats_with_its_generator():
    block = ConvBlock(2, 1, 8, NetworkParams(dropout=0.5)).train()
    images = torch.rand(3, 1, 8, 8)

    def answer(seed):
        draw_dropout_from(block, torch.Generator().manual_seed(seed))
        return block(images)

    assert torch.equal(answer(1), answer(1))
    assert not torch.equal(answer(1), answer(2))


def test_items_of_a_training_batch_have_masks_of_their_own():
    block = ConvBlock(2, 1, 16, NetworkParams(dropout=0.5)).train()
    draw_dropout_from(block, torch.Generator().manual_seed(0))
    answers = block(torch.ones(2, 1, 8, 8))
    assert not torch.equal(answers[0], answers[1])


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 4), st.integers(0, 5), st.sampled_from([1, 2]))
def test_flat_levels_keep_every_slice_and_the_others_halve_them(depth, num_flat_levels, input_stride):
    params = NetworkParams(
        depth=depth, features=(2, 3, 4, 5, 6), num_flat_levels=num_flat_levels, input_stride=input_stride
    )
    encoder = Encoder(3, 1, params)
    z, y, _ = encoder.pad_multiple
    assert y == input_stride * 2**depth
    assert z == (1 if num_flat_levels else input_stride) * 2 ** max(0, depth - num_flat_levels)
    levels = encoder(torch.rand(1, 1, 2 * z, y, y))
    assert [level.shape[3] for level in levels] == [2 ** (depth - i) for i in range(depth + 1)]
    deepest = levels[-1].shape[2]
    assert deepest == 2
    slices = [level.shape[2] for level in levels]
    assert [b * 2 if i >= num_flat_levels else b for i, b in enumerate(slices[1:])] == slices[:-1]


def test_a_flat_block_looks_at_one_slice():
    block = ConvBlock(3, 1, 2, NetworkParams(norm="none"), flat=True)
    images = torch.rand(1, 1, 4, 8, 8)
    before = block(images)
    images[:, :, 0] += 1
    changed = (block(images) != before).flatten(3).any(dim=3).any(dim=1)[0]
    assert changed.tolist() == [True, False, False, False]


def test_flat_levels_in_2d_are_refused_with_what_to_do():
    with pytest.raises(RecipeError, match=r"num_flat_levels 1 is for patches of several slices.*Leave it out"):
        Encoder(2, 1, NetworkParams(num_flat_levels=1))


@pytest.mark.parametrize("up", ["transposed", "linear"])
def test_flat_up_sampling_keeps_the_slices(up):
    assert up_sampling(3, 6, 4, up, flat=True)(torch.rand(2, 6, 3, 3, 3)).shape == (2, 4, 3, 6, 6)


def test_a_network_is_pruned_from_one_as_deep_or_deeper():
    assert NetworkParams(depth=2, pruned_from=3).padded_depth == 3
    with pytest.raises(ValueError, match="pruned_from 1 must not be below depth 2"):
        NetworkParams(depth=2, pruned_from=1)
