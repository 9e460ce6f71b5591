"""From an architecture and a question to a network; architectures of others come in by the same door."""

import pytest
import torch
from torch import nn

from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice
from hilum.core.registry import Params, architectures
from hilum.nn.blocks import ChannelDropout
from hilum.nn.heads import Classifier, Segmenter, build_network, num_parameters, resolved

SMALL = Choice(kind="unetpp", depth=2, features=(4, 8, 8))


class OneLevel(nn.Module):
    """The least an architecture must be."""

    num_features = 5

    def __init__(self, in_channels, num_classes):
        super().__init__()
        self.down, self.out = nn.Conv2d(in_channels, 5, 1), nn.Conv2d(5, num_classes, 1)
        self.pad_multiple = 1

    @property
    def encoder(self):
        return _Down(self.down)

    def forward_heads(self, images):
        return [self.out(self.down(images))]


class _Down(nn.Module):
    num_features = 5

    def __init__(self, down):
        super().__init__()
        self.down = down

    def forward(self, images):
        return [self.down(images)]


class WidthParams(Params):
    width: int = 5


@architectures.register("one_level_of_a_test", params=WidthParams)
def one_level(*, spatial_dims, in_channels, num_classes, width):
    return OneLevel(in_channels, num_classes)


def build(question, architecture=SMALL, **sizes):
    sizes = {"spatial_dims": 2, "in_channels": 1, "num_classes": 3, **sizes}
    return build_network(question, architecture, **sizes)


def test_each_question_has_its_head():
    assert isinstance(build("classify"), Classifier)
    assert isinstance(build("segment"), Segmenter)
    images = torch.rand(2, 1, 12, 12)
    assert build("classify")(images).shape == (2, 3)
    assert build("segment")(images).shape == (2, 3, 12, 12)


@pytest.mark.parametrize("question", ["classify", "segment"])
def test_an_architecture_of_somebody_else_answers_both_questions(question):
    net = build(question, Choice(kind="one_level_of_a_test"))
    logits, embeddings = net.answer(torch.rand(2, 1, 6, 6))
    assert logits.shape[:2] == (2, 3)
    assert embeddings.shape == (2, 5)


def test_training_supervises_every_head_of_a_unetpp_and_the_last_one_answers():
    net = build("segment")
    images = torch.rand(1, 1, 8, 8)
    heads = net.forward_heads(images)
    assert len(heads) == 2
    assert torch.equal(heads[-1], net(images))
    assert len(build("segment", Choice(**SMALL.model_dump(), deep_supervision=False)).forward_heads(images)) == 1


def test_an_untrained_classifier_is_unsure_of_everything():
    probs = torch.softmax(build("classify")(torch.rand(8, 1, 16, 16)), dim=1)
    assert (probs - 1 / 3).abs().max() < 0.05


@pytest.mark.parametrize("question", ["classify", "segment"])
def test_images_that_look_alike_are_embedded_alike(question):
    torch.manual_seed(0)
    net = build(question).eval()
    image = torch.rand(1, 1, 16, 16)
    here, near, far = net.embed(torch.cat([image, image + 0.01 * torch.rand_like(image), 1 - image]))
    assert (here - near).norm() < (here - far).norm()


def test_only_head_dropout_drops_before_the_last_layer():
    assert build("classify").dropout.share == 0
    assert build("classify", Choice(**SMALL.model_dump(), dropout=0.3)).dropout.share == 0
    assert build("classify", Choice(**SMALL.model_dump(), head_dropout=0.3)).dropout.share == 0.3


def test_head_dropout_leaves_the_encoder_alone():
    net = build("classify", Choice(**SMALL.model_dump(), head_dropout=0.3))
    assert {layer.share for layer in net.body.modules() if isinstance(layer, ChannelDropout)} == {0.0}


def test_a_resolved_architecture_names_every_parameter_and_builds_the_same_network():
    whole = resolved(SMALL)
    assert set(whole.params) == set(architectures.params_of("unetpp").model_fields)
    assert whole.params["depth"] == 2
    assert resolved(whole) == whole
    assert num_parameters(build("segment", whole)) == num_parameters(build("segment"))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice(kind="unett"), "Did you mean 'unet'"),
        (Choice(kind="unet", dept=2), "Did you mean 'depth'"),
        (Choice(kind="unet", depth=9), "parameter 'depth'"),
        (Choice(kind="unet", norm="bach"), "parameter 'norm'"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_sentence(choice, message):
    for ask in (lambda: build("classify", choice), lambda: resolved(choice)):
        with pytest.raises(RecipeError, match=message):
            ask()


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_more_channels_and_dimensions_are_taken(spatial_dims):
    net = build("segment", spatial_dims=spatial_dims, in_channels=4, num_classes=7)
    space = [8] * spatial_dims
    assert net(torch.rand(1, 4, *space)).shape == (1, 7, *space)


@pytest.mark.parametrize("kind", ["unet", "unetpp"])
def test_a_segmenter_s_answer_and_embedding_come_of_one_pass_and_are_those_of_two(kind):
    network = build_network(
        "segment", Choice(kind=kind, depth=2, features=[4, 6, 8]), spatial_dims=2, in_channels=1, num_classes=3
    ).eval()
    images = torch.rand(3, 1, 15, 22, generator=torch.Generator().manual_seed(0))
    passes = []
    hook = network.body.encoder.register_forward_hook(lambda *_: passes.append(1))
    with torch.inference_mode():
        logits, embedding = network.answer(images)
        assert len(passes) == 1
        hook.remove()
        assert torch.equal(logits, network(images))
        assert torch.equal(embedding, network.embed(images))
