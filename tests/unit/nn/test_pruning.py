"""Pruning deletes nodes, and what is left answers as its head did, to the last bit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice
from hilum.core.registry import architectures
from hilum.nn.heads import build_network, num_parameters, resolved
from hilum.nn.norms import seen_statistics, take_statistics

NESTED = ["unet_e", "unet_plus", "unetpp"]
PAPER = {"norm": "none", "features": (32, 64, 128, 256, 512)}
SMALL = {"features": (4, 8, 8, 16, 16)}


def network(kind, spatial_dims=2, **params):
    make = architectures.bind(Choice(kind=kind, **params))
    torch.manual_seed(0)
    return make(spatial_dims=spatial_dims, in_channels=1, num_classes=3).eval()


@pytest.mark.parametrize("kind", NESTED)
@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("size", [16, 21])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_pruned_network_answers_as_its_head_did_to_the_last_bit(kind, spatial_dims, size, depth):
    net = network(kind, spatial_dims, depth=3, **SMALL)
    images = torch.rand(2, 1, *[size] * spatial_dims)
    assert torch.equal(net.prune(depth)(images), net.forward_heads(images)[depth - 1])


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(NESTED),
    st.integers(1, 3),
    st.integers(0, 5),
    st.sampled_from([1, 2]),
    st.tuples(st.integers(1, 7), st.integers(1, 13), st.integers(1, 13)),
)
def test_flat_levels_are_pruned_as_exactly(kind, depth, num_flat_levels, input_stride, space):
    net = network(kind, 3, depth=3, num_flat_levels=num_flat_levels, input_stride=input_stride, **SMALL)
    images = torch.rand(1, 1, *space)
    assert torch.equal(net.prune(depth)(images), net.forward_heads(images)[depth - 1])


@pytest.mark.parametrize("kind", NESTED)
def test_what_batch_norms_have_seen_is_kept(kind):
    net = network(kind, depth=3, norm="batch", **SMALL).train()
    with seen_statistics(net) as seen:
        net.forward_heads(3 + torch.rand(4, 1, 16, 16))
    take_statistics(net, torch.cat(seen))
    net.eval()
    images = torch.rand(2, 1, 19, 13)
    heads = net.forward_heads(images)
    for depth in (1, 2, 3):
        pruned = net.prune(depth)
        assert not pruned.training
        assert torch.equal(pruned(images), heads[depth - 1])


@pytest.mark.parametrize("kind", NESTED)
def test_a_pruned_network_is_pruned_again_as_exactly(kind):
    net = network(kind, depth=3, **SMALL)
    images = torch.rand(1, 1, 9, 11)
    assert torch.equal(net.prune(2).prune(1)(images), net.forward_heads(images)[0])


@pytest.mark.parametrize("kind", NESTED)
def test_a_pruned_network_s_parameters_build_it_again(kind):
    """A card holds no more than these: a checkpoint of it must answer as it did."""
    net = network(kind, depth=3, **SMALL)
    pruned = net.prune(1)
    whole = resolved(Choice(kind=kind, **pruned.params.model_dump()))
    again = build_network("segment", whole, spatial_dims=2, in_channels=1, num_classes=3, seed=9).eval()
    again.body.load_state_dict(pruned.state_dict())
    images = torch.rand(2, 1, 13, 6)
    assert torch.equal(again(images), net.forward_heads(images)[0])


def test_pruning_deletes_nodes_rather_than_hiding_them():
    make = architectures.bind(Choice(kind="unetpp", depth=4, **PAPER))
    net = make(spatial_dims=2, in_channels=1, num_classes=1)
    sizes = [num_parameters(net.prune(depth)) for depth in (1, 2, 3, 4)]
    # One head more for every depth above the first: 33 parameters each.
    assert sizes == [100_961, 511_105 + 33, 2_204_961 + 66, 9_041_700]
    names = {name for name, _ in net.prune(2).named_parameters()}
    assert not any("blocks.0_3" in name or "encoder.blocks.3" in name for name in names)


@pytest.mark.parametrize("kind", NESTED)
def test_pruning_leaves_the_original_as_it_was(kind):
    net = network(kind, depth=2, **SMALL)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    pruned = net.prune(1)
    with torch.no_grad():
        for parameter in pruned.parameters():
            parameter.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_a_depth_without_a_head_cannot_be_pruned_to():
    with pytest.raises(RecipeError, match="UNet\\+\\+ cannot be pruned to depth 5: it has heads 1, 2, 3"):
        network("unetpp", depth=3, **SMALL).prune(5)
    with pytest.raises(RecipeError, match="it has heads 3"):
        network("unetpp", depth=3, deep_supervision=False, **SMALL).prune(1)


@pytest.mark.parametrize("kind", ["unet", "wide_unet"])
def test_a_network_with_one_decoder_says_what_to_train_instead(kind):
    with pytest.raises(RecipeError, match=r"U-Net cannot be pruned: it has one decoder.*Train a unetpp"):
        network(kind, depth=2, **SMALL).prune(1)
