"""What of one network's tensors another takes over: by name and shape, layers whole, heads never."""

import numpy as np
import pytest

from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice
from hilum.nn.first_weights import UNIFORM_LIMIT, draw_first_weights
from hilum.nn.heads import build_network
from hilum.nn.predictor import weights_of
from hilum.nn.pretext.networks import restorer
from hilum.nn.transfer import take_over

UNET = Choice(kind="unet", depth=2, features=(4, 8, 16))
UNETPP = Choice(kind="unetpp", depth=2, features=(4, 8, 16))


def pretrained(architecture=UNET, *, spatial_dims=2, in_channels=1):
    return weights_of(restorer(architecture, spatial_dims=spatial_dims, in_channels=in_channels, seed=7))


def network(question="segment", architecture=UNET, *, spatial_dims=2, in_channels=1, num_classes=3):
    return build_network(
        question, architecture, spatial_dims=spatial_dims, in_channels=in_channels, num_classes=num_classes
    )


def not_taken(net, tensors, names):
    now = weights_of(net)
    return [name for name in names if not np.array_equal(now[name], tensors[name])]


def test_a_segmenter_takes_the_whole_network_and_keeps_a_head_of_its_own():
    net, tensors = network(), pretrained()
    before = weights_of(net)
    transfer = take_over(net, tensors)
    assert transfer.fresh == ("body.head.weight", "body.head.bias")
    assert transfer.unused == ("body.head.bias", "body.head.weight")
    assert not_taken(net, tensors, transfer.loaded) == []
    assert not_taken(net, before, transfer.fresh) == []


def test_a_head_of_the_same_shape_answers_another_question_and_stays_behind():
    net, tensors = network(num_classes=2, in_channels=2), pretrained(in_channels=2)
    assert tensors["body.head.weight"].shape == weights_of(net)["body.head.weight"].shape
    assert "body.head.weight" in take_over(net, tensors).fresh


def test_a_classifier_takes_the_encoder_and_nothing_else():
    net, tensors = network("classify"), pretrained()
    transfer = take_over(net, tensors)
    assert set(transfer.fresh) == {"linear.weight", "linear.bias"}
    assert set(transfer.loaded) == {name for name in tensors if name.startswith("body.encoder.")}
    num = len(transfer.loaded)
    assert transfer.parts == {"body.encoder": f"{num} of {num}", "linear.weight": "0 of 1", "linear.bias": "0 of 1"}


def test_of_a_unet_a_unetpp_takes_the_encoder_alone():
    net, tensors = network(architecture=UNETPP), pretrained(UNET)
    transfer = take_over(net, tensors)
    assert {name.split(".")[1] for name in transfer.loaded} == {"encoder"}
    assert not_taken(net, tensors, transfer.loaded) == []


def test_of_a_unetpp_a_unetpp_takes_all_but_the_heads():
    transfer = take_over(network(architecture=UNETPP), pretrained(UNETPP))
    assert all(name.startswith("body.heads.") for name in transfer.fresh)
    assert {name.split(".")[1] for name in transfer.loaded} == {"encoder", "ups", "blocks"}


def test_with_other_channels_the_first_convolution_stays_fresh_whole_and_is_named():
    net = network(in_channels=2)
    before = weights_of(net)
    transfer = take_over(net, pretrained(in_channels=1))
    assert transfer.misshapen == ("body.encoder.blocks.0.0",)
    # Not even its bias, whose shape would fit.
    assert {"body.encoder.blocks.0.0.weight", "body.encoder.blocks.0.0.bias"} <= set(transfer.fresh)
    assert not_taken(net, before, ["body.encoder.blocks.0.0.weight", "body.encoder.blocks.0.0.bias"]) == []
    assert "body.encoder.blocks.0.4.weight" in transfer.loaded


def test_every_tensor_is_loaded_or_fresh_and_every_other_loaded_or_unused():
    net, tensors = network(architecture=UNETPP), pretrained(UNET)
    transfer = take_over(net, tensors)
    assert sorted([*transfer.loaded, *transfer.fresh]) == sorted(net.state_dict())
    assert sorted([*transfer.loaded, *transfer.unused]) == sorted(tensors)


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        (pretrained(spatial_dims=3), r"is 4 × 1 × 3 × 3 × 3, the network's is 4 × 1 × 3 × 3"),
        (pretrained(Choice(kind="unet", depth=2, features=(3, 5, 7))), "is 3 × 1 × 3 × 3"),
        ({"layer1.weight": np.zeros((2, 2), np.float32)}, "it holds layer1.weight, the network body.encoder"),
        ({}, "it holds nothing"),
    ],
    ids=["3D into 2D", "other features", "other names", "empty"],
)
def test_nothing_in_common_is_an_error_that_says_why_and_changes_nothing(tensors, reason):
    net = network()
    before = weights_of(net)
    with pytest.raises(RecipeError, match=reason):
        take_over(net, tensors)
    assert not_taken(net, before, before) == []


def test_norms_of_another_kind_are_not_mixed():
    batch = Choice(kind="unet", depth=2, features=(4, 8, 16), norm="batch")
    transfer = take_over(network(architecture=batch), pretrained(UNET))
    assert "body.encoder.blocks.0.1.weight" in transfer.fresh
    assert "body.encoder.blocks.0.0.weight" in transfer.loaded


@pytest.mark.parametrize("question", ["segment", "classify"])
def test_by_default_first_weights_are_those_the_architecture_draws(question):
    net = network(question)
    before = weights_of(net)
    draw_first_weights(net, "he", seed=3)
    assert not_taken(net, before, before) == []


def test_uniform_and_xavier_stay_within_their_limits_and_fill_them():
    limits = {"uniform": lambda shape: UNIFORM_LIMIT, "xavier": lambda s: np.sqrt(6 / (s[0] + s[1]) / np.prod(s[2:]))}
    for rule, limit in limits.items():
        net = network()
        draw_first_weights(net, rule, seed=0)
        kernels = {name: w for name, w in weights_of(net).items() if w.ndim == 4}
        assert kernels
        for weight in kernels.values():
            assert np.abs(weight).max() <= limit(weight.shape)
            if weight.size > 200:
                assert np.abs(weight).max() > 0.9 * limit(weight.shape)


def test_first_weights_come_from_the_seed_and_leave_norms_and_a_classifiers_head_alone():
    drawn = []
    for seed in (0, 0, 1):
        net = network("classify")
        before = weights_of(net)
        draw_first_weights(net, "xavier", seed=seed)
        drawn.append(weights_of(net))
        assert not_taken(net, before, ["linear.weight", "body.encoder.blocks.0.1.weight"]) == []
    same = [name for name in drawn[0] if np.array_equal(drawn[0][name], drawn[2][name])]
    assert all(np.array_equal(drawn[0][name], drawn[1][name]) for name in drawn[0])
    assert not any(drawn[0][name].ndim == 4 for name in same)
