"""The nested U-Net family: its sizes, its shapes, its wiring, and first weights that stay as they were."""

import hashlib

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

KINDS = ["unet", "wide_unet", "genesis_unet", "unet_e", "unet_plus", "unetpp"]
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
    assert num_parameters(network("wide_unet", depth=4, norm="none")) == 9_282_246


@pytest.mark.parametrize(
    ("up", "num_learnt", "with_statistics"),
    [("transposed", 19_073_665, 19_078_337), ("linear", 16_320_257, 16_324_929)],
)
def test_the_genesis_unet_has_the_published_number_of_parameters(up, num_learnt, with_statistics):
    net = network("genesis_unet", spatial_dims=3, up=up)
    statistics = [buffer for name, buffer in net.named_buffers() if "running" in name]
    assert num_parameters(net) == num_learnt
    assert num_learnt + sum(buffer.numel() for buffer in statistics) == with_statistics


def test_the_genesis_unet_halves_features_first_and_keeps_channels_on_the_way_up():
    net = network("genesis_unet", depth=2, features=(8, 16, 32))
    encoder = [m for m in net.encoder.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels) for m in encoder] == [(1, 4), (4, 8), (8, 8), (8, 16), (16, 16), (16, 32)]
    assert [(up.in_channels, up.out_channels) for up in net.ups.values()] == [(16, 16), (32, 32)]
    assert [block[0].in_channels for block in net.blocks.values()] == [8 + 16, 16 + 32]


@pytest.mark.parametrize("kind", ["unet_plus", "unet_e"])
def test_nodes_that_read_one_neighbour_each_have_the_same_number_of_parameters(kind):
    assert num_parameters(network(kind, depth=4, **PAPER)) == 8_728_356


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
def test_a_norm_adds_two_numbers_a_channel(kind, norm):
    with_norm, without = (network(kind, depth=2, norm=n, features=(4, 8, 16)) for n in (norm, "none"))
    convolutions = [m for m in without.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    added = num_parameters(with_norm) - num_parameters(without)
    assert added == 2 * sum(m.out_channels for m in convolutions)


FIRST_WEIGHTS = {
    "unet": (
        "7f610b54b74a8811ff55b09fd6fb178f69559512562725bc178e661ebaf6bfa2",
        "-0.56395 -0.17727 0.03834 0.2398 -0.27575 -0.03065 0.27047 -0.16515 -0.00636 -0.77193 0.01081 0.19365 "
        "-0.30631",
    ),
    "unetpp": (
        "81aaa20072ca59304f965baabedfd075515c9c16d735029850d8df227abf12dc",
        "-0.56395 -0.17727 0.03834 0.2398 -0.27575 -0.03065 0.27047 -0.16515 0.35624 0.24869 -0.15099 -0.0919 -0.01752 "
        "-0.1597 -0.09939 0.28818 0.96251",
    ),
}


@pytest.mark.parametrize("kind", FIRST_WEIGHTS)
def test_a_seed_draws_the_weights_it_always_drew_under_the_names_they_always_had(kind):
    # Taken before the family became one implementation: checkpoints and results of then must stay.
    names, weights = FIRST_WEIGHTS[kind]
    choice = Choice(kind=kind, depth=2, features=(4, 8, 16))
    state = build_network("segment", choice, spatial_dims=2, in_channels=1, num_classes=2, seed=3).state_dict()
    listed = "\n".join(f"{name} {tuple(tensor.shape)}" for name, tensor in state.items())
    assert hashlib.sha256(listed.encode()).hexdigest() == names
    drawn = [float(tensor.flatten()[0]) for tensor in state.values() if tensor.ndim > 1]
    assert drawn == pytest.approx([float(weight) for weight in weights.split()], abs=1e-5)


READS = {
    "unet": {"0_3": {"0_0"}, "1_2": {"1_0"}, "2_1": {"2_0"}},
    "unet_e": {"0_1": {"0_0"}, "0_2": {"0_0"}, "0_3": {"0_0"}, "1_1": {"1_0"}, "1_2": {"1_0"}, "2_1": {"2_0"}},
    "unet_plus": {"0_1": {"0_0"}, "0_2": {"0_1"}, "0_3": {"0_2"}, "1_1": {"1_0"}, "1_2": {"1_1"}, "2_1": {"2_0"}},
    "unetpp": {
        "0_1": {"0_0"},
        "0_2": {"0_0", "0_1"},
        "0_3": {"0_0", "0_1", "0_2"},
        "1_1": {"1_0"},
        "1_2": {"1_0", "1_1"},
        "2_1": {"2_0"},
    },
}


@pytest.mark.parametrize("kind", READS)
def test_every_node_reads_what_the_paper_says(kind):
    net = network(kind, depth=3, **SMALL)
    found = {f"{i}_{j}": {f"{i}_{k}" for k in net.wiring.reads(j)} for i, j in net.wiring.nodes(3)}
    assert found == READS[kind]


def what_runs(net, answers):
    """The nodes that really run for these answers."""
    ran = []
    for name, block in net.blocks.items():
        block.register_forward_hook(lambda *_, name=name: ran.append(name))
    net._answer(torch.rand(1, 1, 16, 16), answers)
    return set(ran)


def test_an_ensemble_of_unets_runs_one_decoder_for_one_answer_and_all_for_all():
    net = network("unet_e", depth=3, **SMALL)
    assert what_runs(net, [3]) == {"0_3", "1_2", "2_1"}
    assert what_runs(net, [1, 3]) == {"0_1", "0_3", "1_2", "2_1"}
    assert what_runs(net, [1, 2, 3]) == set(net.blocks)


@pytest.mark.parametrize("kind", ["unet_plus", "unetpp"])
def test_a_nested_answer_needs_every_node_below_it_and_no_other(kind):
    assert what_runs(network(kind, depth=3, **SMALL), [2]) == {"0_1", "0_2", "1_1"}


def test_every_weight_of_the_family_learns():
    for kind in KINDS:
        net = network(kind, depth=3, **SMALL).train()
        sum(head.square().mean() for head in net.forward_heads(torch.rand(2, 1, 16, 16))).backward()
        idle = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        # A bias before a norm moves every value alike, and the norm takes that away again.
        assert not [name for name in idle if not name.endswith("bias")], kind


PARAMS = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(KINDS),
        "spatial_dims": st.sampled_from([2, 3]),
        "depth": st.integers(1, 3),
        "norm": st.sampled_from(["none", "batch", "instance", "group"]),
        "up": st.sampled_from(["transposed", "linear"]),
        "activation": st.sampled_from(["relu", "leaky_relu", "elu"]),
        "input_stride": st.sampled_from([1, 2]),
        "num_flat_levels": st.integers(0, 4),
    }
)


@settings(max_examples=25, deadline=None)
@given(PARAMS, st.tuples(st.integers(1, 19), st.integers(1, 19), st.integers(1, 19)))
def test_any_size_of_image_gives_logits_of_that_size(params, size):
    spatial_dims = params["spatial_dims"]
    if spatial_dims == 2:
        params = {**params, "num_flat_levels": 0}
    net = network(in_channels=2, num_classes=3, **params, **SMALL)
    images = torch.rand(2, 2, *size[:spatial_dims])
    logits = net(images)
    assert logits.shape == (2, 3, *size[:spatial_dims])
    assert torch.isfinite(logits).all()
    assert torch.equal(net.forward_heads(images)[-1], logits)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm", ["none", "batch", "instance", "group"])
@pytest.mark.parametrize("question", ["classify", "segment"])
def test_an_item_s_answer_does_not_depend_on_its_neighbours(kind, norm, question):
    net = build_network(
        question, Choice(kind=kind, norm=norm, **SMALL), spatial_dims=2, in_channels=1, num_classes=3
    ).eval()
    images = torch.rand(3, 1, 16, 16)
    before = net(images)[:1]
    images[1:] = 100.0
    assert torch.equal(net(images)[:1], before)


@pytest.mark.parametrize("kind", KINDS)
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


@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_keeps_only_the_way_down(kind):
    net = build_network("classify", Choice(kind=kind, **SMALL), spatial_dims=2, in_channels=1, num_classes=5)
    assert all(name.startswith(("body.encoder.", "linear.")) for name, _ in net.named_parameters())
    images = torch.rand(4, 1, 20, 13)
    logits, embeddings = net.answer(images)
    assert logits.shape == (4, 5)
    assert embeddings.shape == (4, 16)
    assert torch.equal(embeddings, net.embed(images))
    assert torch.equal(logits, net(images))


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
