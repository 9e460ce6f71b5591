"""Norms written out in means answer as PyTorch's do, and as well on large images under onnxruntime."""

import numpy as np
import pytest
import torch
from torch import nn

from hilum.core.recipes import Choice
from hilum.nn.exact_norms import NormOfMeans, with_exact_norms
from hilum.nn.export import Probabilities, exported_program, onnx_bytes
from hilum.nn.heads import build_network
from hilum.nn.norms import norm_layer
from hilum.nn.onnx_model import OnnxPredictor


@pytest.mark.parametrize("norm", ["group", "instance"])
@pytest.mark.parametrize("shape", [(2, 12, 9, 7), (1, 12, 5, 6, 7)])
def test_it_computes_what_the_norm_does(norm, shape):
    torch.manual_seed(0)
    layer = norm_layer(len(shape) - 2, shape[1], norm)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    images = 3 + 5 * torch.randn(shape)
    torch.testing.assert_close(NormOfMeans(layer)(images), layer(images), rtol=1e-5, atol=1e-5)


def test_the_network_itself_is_left_as_it_was():
    network = nn.Sequential(nn.Conv2d(1, 4, 1), nn.GroupNorm(2, 4), nn.BatchNorm2d(4))
    copied = with_exact_norms(network)
    assert [type(layer) for layer in copied] == [nn.Conv2d, NormOfMeans, nn.BatchNorm2d]
    assert isinstance(network[1], nn.GroupNorm)


def test_what_is_derived_from_a_norm_and_does_more_stays():
    class NormAndActivation(nn.GroupNorm):
        def forward(self, features):
            return torch.relu(super().forward(features))

    assert isinstance(with_exact_norms(nn.Sequential(NormAndActivation(1, 4)))[0], NormAndActivation)


def furthest(network, images, wanted):
    card = {"spatial_dims": 2, "in_channels": 1, "num_classes": 2}
    given = OnnxPredictor(onnx_bytes(exported_program(network, card), {}), card).run(images)
    return np.abs(given - wanted).max()


@pytest.mark.parametrize("norm", ["group", "instance"])
def test_a_large_image_is_answered_much_more_exactly(norm):
    architecture = Choice(kind="unet", depth=2, features=[8, 16, 32], norm=norm)
    network = build_network("segment", architecture, spatial_dims=2, in_channels=1, num_classes=2).eval()
    # Far from zero and nearly alike, as a microscope's images are: where sums lose most.
    images = (0.9 + 0.02 * np.random.default_rng(0).standard_normal((1, 1, 520, 696))).astype(np.float32)
    with torch.inference_mode():
        wanted = Probabilities(network.double())(torch.from_numpy(images).double()).numpy()
    network.float()
    exactly = furthest(with_exact_norms(network), images, wanted)
    assert exactly < 5e-5
    assert exactly < furthest(network, images, wanted) / 3
