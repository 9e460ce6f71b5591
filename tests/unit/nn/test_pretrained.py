"""Encoders of timm: the real ones where timm can be imported, and a clear sentence where it cannot."""

import sys

import numpy as np
import pytest
import torch

from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice
from hilum.core.registry import architectures
from hilum.nn.heads import build_network, resolved
from hilum.nn.norms import seen_statistics, take_statistics
from hilum.nn.predictor import predictor_from, weights_of

try:
    import timm

    WHY_NOT = ""
except (ImportError, RuntimeError) as error:  # torchvision of another build than torch fails with the second
    timm, WHY_NOT = None, f"timm cannot be imported: {error}"
needs_timm = pytest.mark.skipif(timm is None, reason=WHY_NOT)

SMALL = {"encoder": "resnet10t", "depth": 2}


def build(question="segment", spatial_dims=2, in_channels=1, **params):
    choice = Choice(kind="timm_unetpp", **{**SMALL, **params})
    return build_network(question, choice, spatial_dims=spatial_dims, in_channels=in_channels, num_classes=3, seed=1)


def test_without_timm_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(RecipeError, match=r"needs timm, which cannot be imported here .*pip install 'hilum\[timm\]'"):
        build()


def test_timm_is_not_asked_for_until_it_is_chosen(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    assert "timm_unetpp" in architectures
    assert resolved(Choice(kind="timm_unetpp")).params["encoder"] == "resnet18"
    build_network("segment", Choice(kind="unetpp"), spatial_dims=2, in_channels=1, num_classes=2)


def test_volumes_are_refused():
    with pytest.raises(RecipeError, match="timm_unetpp is for 2D patches"):
        build(spatial_dims=3)


@needs_timm
@pytest.mark.parametrize("in_channels", [1, 3])
def test_any_size_of_image_gives_logits_of_that_size_at_every_head(in_channels):
    net = build(in_channels=in_channels).eval()
    heads = net.forward_heads(torch.rand(2, in_channels, 37, 22))
    assert [head.shape for head in heads] == [(2, 3, 37, 22)] * 2


@needs_timm
@pytest.mark.parametrize("depth", [1, 2])
def test_a_pruned_network_answers_as_its_head_did_to_the_last_bit(depth):
    net = build().eval()
    images = torch.rand(1, 1, 21, 30)
    pruned = net.body.prune(depth)
    assert torch.equal(pruned(images), net.forward_heads(images)[depth - 1])


@needs_timm
def test_a_classifier_keeps_the_encoder_alone():
    net = build("classify").eval()
    logits, embeddings = net.answer(torch.rand(2, 1, 32, 32))
    assert logits.shape == (2, 3)
    assert embeddings.shape == (2, net.body.encoder.num_features)
    assert all(name.startswith(("body.encoder.", "linear.")) for name, _ in net.named_parameters())


@needs_timm
def test_a_seed_draws_the_same_encoder():
    one, other = weights_of(build()), weights_of(build())
    assert all(np.array_equal(one[name], other[name]) for name in one)


@needs_timm
def test_the_encoder_s_own_batch_norms_move_once_a_step():
    net = build().train()
    before = weights_of(net)
    with seen_statistics(net) as seen:
        net.forward_heads(torch.rand(2, 1, 32, 32))
    assert all(np.array_equal(array, before[name]) for name, array in weights_of(net).items())
    take_statistics(net, torch.cat(seen))
    moved = [name for name, array in weights_of(net).items() if not np.array_equal(array, before[name])]
    assert any("encoder" in name for name in moved)


@needs_timm
def test_a_checkpoint_is_loaded_without_fetching_what_it_overwrites(monkeypatch):
    net = build().eval()
    asked = []
    real = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: asked.append(k["pretrained"]) or real(*a, **k))
    architecture = resolved(Choice(kind="timm_unetpp", **SMALL, pretrained=True)).model_dump(mode="json")
    card = {"question": "segment", "architecture": architecture, "spatial_dims": 2, "in_channels": 1, "num_classes": 3}
    images = np.random.default_rng(0).random((1, 1, 1, 20, 20)).astype(np.float32)
    probs = predictor_from(weights_of(net), card).predict(images)
    assert asked == [False]
    expected = torch.softmax(net(torch.from_numpy(images[:, :, 0])), dim=1).detach().numpy()
    assert np.allclose(probs[0, :, :, 0], expected, atol=1e-6)


@needs_timm
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"encoder": "no_such_net"}, "timm has no model 'no_such_net'"),
        ({"encoder": "vit_tiny_patch16_224"}, "its levels are 16, 16, 16 times smaller"),
        ({"encoder": "convnext_atto", "depth": 4}, "cannot be the encoder of a UNet.. of depth 4"),
    ],
)
def test_an_encoder_that_does_not_fit_is_refused_with_what_to_choose(params, message):
    with pytest.raises(RecipeError, match=message):
        build(**params)
