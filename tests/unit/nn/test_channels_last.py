"""Networks laid channels last answer as the others, to the last digits that float32 has."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hilum.nn.channels_last import GroupNormOfRows, channels_last, layout
from hilum.nn.predictor import Predictor, network_of_card


def card(kind, question, spatial_dims):
    sizes = {"spatial_dims": spatial_dims, "in_channels": 1, "num_classes": 3}
    return {"question": question, "architecture": {"kind": kind, "depth": 2, "features": [8, 16, 16]}, **sizes}


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 3),
    st.sampled_from([(8, 8), (8, 2), (8, 1), (6, 3)]),
    st.lists(st.integers(1, 9), min_size=2, max_size=3),
    st.sampled_from([0.0, 3.0, 100.0]),
)
def test_a_norm_is_as_near_to_double_precision_as_a_norm_can_be(num, sizes, space, shift):
    channels, groups = sizes
    assume(num * channels // groups * np.prod(space) > 1)  # PyTorch's norms refuse one value a group
    torch.manual_seed(0)
    features = torch.randn(num, channels, *space) + shift
    norm = torch.nn.GroupNorm(groups, channels)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    lying = features.contiguous(memory_format=layout(len(space)))
    exact = norm.double()(features.double())
    found = GroupNormOfRows(norm.float())(lying)
    # A constant group has no spread of its own: rounding of its mean is blown up by 1 / sqrt(eps).
    assert (found - exact).abs().max() <= 1e-4 * max(1.0, shift)


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("kind", ["unet", "unetpp"])
@pytest.mark.parametrize("question", ["segment", "classify"])
@pytest.mark.parametrize("num", [1, 2])
def test_probabilities_are_within_a_hundred_thousandth(kind, question, spatial_dims, num):
    wanted = card(kind, question, spatial_dims)
    images = np.random.default_rng(0).random((num, 1, 1 if spatial_dims == 2 else 24, 32, 40), np.float32) + 2
    plain = Predictor(network_of_card(wanted, seed=1), wanted)
    lying = Predictor(network_of_card(wanted, seed=1), wanted, lies_last=True)
    probs, embeddings = lying.predict_and_embed(images)
    np.testing.assert_allclose(probs, plain.predict(images), atol=1e-5)
    np.testing.assert_allclose(embeddings, plain.embed(images), rtol=1e-3, atol=1e-4)


def test_the_network_that_was_given_stays_as_it_is():
    wanted = card("unet", "segment", 2)
    network = network_of_card(wanted, seed=1).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    laid = channels_last(network, 2)
    assert {name for name, _ in laid.named_parameters()} == set(dict(network.named_parameters()))
    assert not any(isinstance(one, GroupNormOfRows) for one in network.modules())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_in_low_precision_it_answers_too():
    wanted = card("unet", "segment", 3)
    images = np.random.default_rng(0).random((1, 1, 8, 16, 16), np.float32)
    exact = Predictor(network_of_card(wanted, seed=1), wanted).predict(images)
    low = Predictor(network_of_card(wanted, seed=1), wanted, lies_last=True, precision="bfloat16").predict(images)
    np.testing.assert_allclose(low, exact, atol=0.05)


def test_a_convolution_whose_padding_is_no_number_stays_itself():
    class Other(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.same = torch.nn.Conv3d(1, 2, 3, padding="same")
            self.mirrored = torch.nn.Conv3d(1, 2, 3, padding=1, padding_mode="reflect")

    laid = channels_last(Other(), 3)
    assert type(laid.same) is type(laid.mirrored) is torch.nn.Conv3d
