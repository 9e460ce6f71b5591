"""U-Net and UNet++: their sizes, their shapes, and pruning that deletes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice
from hilum.core.registry import architectures
from hilum.nn.blocks import ChannelDropout, draw_dropout_from
from hilum.nn.heads import build_network, num_parameters

PAPER = {"norm": "none", "features": (32, 64, 128, 256, 512)}
SMALL = {"features": (4, 8, 8, 16, 16)}


def network(kind, spatial_dims=2, in_channels=1, num_classes=1, **params):
    make = architectures.bind(Choice(kind=kind, **params))
    torch.manual_seed(0)
    return make(spatial_dims=spatial_dims, in_channels=in_channels, num_classes=num_classes).eval()


@pytest.mark.parametrize(("depth", "expected"), [(1, 100_961), (2, 511_105), (3, 2_204_961), (4, 9_041_601)])
def test_unetpp_with_one_head_has_the_paper_s_number_of_parameters(depth, expected):
    assert num_parameters(network("unetpp", depth=depth, deep_supervision=False, **PAPER)) == expected


def test_unetpp_with_four_heads_has_the_paper_s_number_of_parameters():
    assert num_parameters(network("unetpp", depth=4, **PAPER)) == 9_041_700
    assert num_parameters(network("unetpp", depth=4, in_channels=3, **PAPER)) == 9_041_700 + 576


def test_unet_and_wide_unet_have_the_paper_s_number_of_parameters():
    assert num_parameters(network("unet", depth=4, **PAPER)) == 7_759_521
    wide = {"norm": "none", "features": (35, 70, 140, 280, 560)}
    assert num_parameters(network("unet", depth=4, **wide)) == 9_282_246


PARAMS = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["unet", "unetpp"]),
        "spatial_dims": st.sampled_from([2, 3]),
        "depth": st.integers(1, 3),
        "norm": st.sampled_from(["none", "instance", "group"]),
        "up": st.sampled_from(["transposed", "linear"]),
        "activation": st.sampled_from(["relu", "leaky_relu", "elu"]),
        "input_stride": st.sampled_from([1, 2]),
    }
)


@settings(max_examples=15, deadline=None)
@given(PARAMS, st.tuples(st.integers(1, 19), st.integers(1, 19), st.integers(1, 19)))
def test_any_size_of_image_gives_logits_of_that_size(params, size):
    spatial_dims = params["spatial_dims"]
    net = network(in_channels=2, num_classes=3, **params, **SMALL)
    images = torch.rand(2, 2, *size[:spatial_dims])
    logits = net(images)
    assert logits.shape == (2, 3, *size[:spatial_dims])
    assert torch.isfinite(logits).all()
    assert torch.equal(net.forward_heads(images)[-1], logits)


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("size", [16, 21])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_pruned_network_answers_as_its_head_did_to_the_last_bit(spatial_dims, size, depth):
    net = network("unetpp", spatial_dims, num_classes=3, depth=3, **SMALL)
    images = torch.rand(2, 1, *[size] * spatial_dims)
    pruned = net.prune(depth)
    assert torch.equal(pruned(images), net.forward_heads(images)[depth - 1])


def test_pruning_deletes_nodes_rather_than_hiding_them():
    net = network("unetpp", depth=4, **PAPER)
    sizes = [num_parameters(net.prune(depth)) for depth in (1, 2, 3, 4)]
    # One head more for every depth above the first: 33 parameters each.
    assert sizes == [100_961, 511_105 + 33, 2_204_961 + 66, 9_041_700]
    names = {name for name, _ in net.prune(2).named_parameters()}
    assert not any("blocks.0_3" in name or "encoder.blocks.3" in name for name in names)


def test_pruning_leaves_the_original_as_it_was():
    net = network("unetpp", depth=2, **SMALL)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    pruned = net.prune(1)
    with torch.no_grad():
        for parameter in pruned.parameters():
            parameter.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_a_depth_without_a_head_cannot_be_pruned_to():
    with pytest.raises(RecipeError, match="cannot be pruned to depth 5: it has heads 1, 2, 3"):
        network("unetpp", depth=3, **SMALL).prune(5)
    with pytest.raises(RecipeError, match="it has heads 3"):
        network("unetpp", depth=3, deep_supervision=False, **SMALL).prune(1)


@pytest.mark.parametrize("kind", ["unet", "unetpp"])
@pytest.mark.parametrize("question", ["classify", "segment"])
def test_an_item_s_answer_does_not_depend_on_its_neighbours(kind, question):
    net = build_network(question, Choice(kind=kind, **SMALL), spatial_dims=2, in_channels=1, num_classes=3).eval()
    images = torch.rand(3, 1, 16, 16)
    before = net(images)[:1]
    images[1:] = 100.0
    assert torch.equal(net(images)[:1], before)


@pytest.mark.parametrize("kind", ["unet", "unetpp"])
def test_weights_go_out_and_come_back(kind):
    def make(seed):
        choice = Choice(kind=kind, **SMALL)
        return build_network("segment", choice, spatial_dims=3, in_channels=1, num_classes=2, seed=seed)

    one, other = make(0), make(1)
    images = torch.rand(1, 1, 8, 8, 8)
    assert not torch.equal(one(images), other(images))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(images), other(images))


def test_the_same_seed_builds_the_same_weights_and_touches_no_global():
    state = torch.random.get_rng_state()
    choice = Choice(kind="unet", **SMALL)
    one, other = (
        build_network("classify", choice, spatial_dims=2, in_channels=1, num_classes=4, seed=3) for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("kind", ["unet", "unetpp"])
def test_a_classifier_keeps_only_the_way_down(kind):
    net = build_network("classify", Choice(kind=kind, **SMALL), spatial_dims=2, in_channels=1, num_classes=5)
    assert all(name.startswith(("body.encoder.", "linear.")) for name, _ in net.named_parameters())
    images = torch.rand(4, 1, 20, 13)
    logits, embeddings = net.answer(images)
    assert logits.shape == (4, 5)
    assert embeddings.shape == (4, 16)
    assert torch.equal(embeddings, net.embed(images))
    assert torch.equal(logits, net(images))


def test_no_network_holds_batch_norm():
    for kind in ("unet", "unetpp"):
        for norm in ("none", "instance", "group"):
            layers = [type(m).__name__ for m in network(kind, norm=norm, **SMALL).modules()]
            assert not any("Batch" in name for name in layers)


def test_too_few_features_for_the_depth_are_refused():
    with pytest.raises(RecipeError, match="depth 4 needs 5 positive numbers of features"):
        network("unet", depth=4, features=(8, 16))


def test_a_wrong_parameter_is_named_with_a_guess():
    with pytest.raises(RecipeError, match="Did you mean 'depth'"):
        network("unet", dept=4)


def test_dropout_without_a_generator_is_refused_in_training_and_absent_in_evaluation():
    layer = ChannelDropout(0.5)
    images = torch.ones(4, 8, 3, 3)
    assert torch.equal(layer.eval()(images), images)
    with pytest.raises(AssertionError, match="generator"):
        layer.train()(images)


def test_dropout_drops_whole_channels_and_keeps_the_mean():
    layer = ChannelDropout(0.25)
    draw_dropout_from(layer, torch.Generator().manual_seed(0))
    dropped = layer.train()(torch.ones(64, 64, 2, 2))
    assert torch.allclose(dropped.unique(), torch.tensor([0.0, 1 / 0.75]))
    assert torch.equal(dropped, dropped[:, :, :1, :1].expand_as(dropped))
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.05)


def test_in_evaluation_all_items_share_one_mask():
    layer = ChannelDropout(0.5).eval()
    draw_dropout_from(layer, torch.Generator().manual_seed(0))
    dropped = layer(torch.ones(5, 16, 2))
    assert torch.equal(dropped, dropped[:1].expand_as(dropped))
    assert (dropped == 0).any()


def test_group_norm_never_takes_a_channel_alone():
    for features in ((2, 4), (4, 8), (6, 30), (16, 32), (64, 128)):
        norms = [m for m in network("unet", depth=1, features=features).modules() if isinstance(m, nn.GroupNorm)]
        assert all(m.num_channels // m.num_groups >= 2 for m in norms)
        assert all(m.num_groups <= 8 for m in norms)
