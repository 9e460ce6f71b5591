"""Several opinions: repeatable, in place, and the same whatever is scored beside an item."""

import pytest
import torch

from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice
from hilum.nn.heads import build_network
from hilum.nn.members import members

KINDS = [
    Choice(kind="single"),
    Choice(kind="mirrors", num_members=4),
    Choice(kind="dropout", num_members=3),
    Choice(kind="views", num_views=5),
]


def network(question, spatial_dims=2, dropout=0.3):
    architecture = Choice(kind="unet", depth=1, features=(4, 8), dropout=dropout)
    return build_network(question, architecture, spatial_dims=spatial_dims, in_channels=1, num_classes=3).eval()


def opinions(net, images, choice, seed=0):
    with torch.inference_mode():
        return torch.stack(members.bind(choice)(net, images, seed=seed))


def images(spatial_dims=2, num=4):
    return torch.rand(num, 1, *[8] * spatial_dims, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("choice", KINDS, ids=lambda c: c.kind)
@pytest.mark.parametrize("question", ["classify", "segment"])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_every_opinion_is_a_probability_and_the_same_twice(choice, question, spatial_dims):
    net, seen = network(question, spatial_dims), images(spatial_dims)
    probs = opinions(net, seen, choice)
    space = [8] * spatial_dims if question == "segment" else []
    num = {"single": 1, "mirrors": 4, "dropout": 3, "views": 5}[choice.kind]
    assert probs.shape == (num, 4, 3, *space)
    assert torch.allclose(probs.sum(dim=2), torch.ones(()), atol=1e-5)
    assert torch.equal(probs, opinions(net, seen, choice))


@pytest.mark.parametrize("choice", KINDS, ids=lambda c: c.kind)
@pytest.mark.parametrize("question", ["classify", "segment"])
def test_an_item_s_opinions_do_not_depend_on_what_is_scored_beside_it(choice, question):
    net, seen = network(question), images()
    together = opinions(net, seen, choice)
    alone = torch.cat([opinions(net, seen[i : i + 1], choice) for i in range(len(seen))], dim=1)
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("choice", KINDS[1:], ids=lambda c: c.kind)
def test_members_do_not_all_agree(choice):
    probs = opinions(network("classify"), images(), choice)
    assert not torch.allclose(probs[0], probs[-1], atol=1e-6)


@pytest.mark.parametrize("choice", [KINDS[2], KINDS[3]], ids=lambda c: c.kind)
def test_another_seed_asks_other_members(choice):
    net, seen = network("classify"), images()
    assert not torch.equal(opinions(net, seen, choice, seed=1), opinions(net, seen, choice, seed=2))


@pytest.mark.parametrize("choice", [KINDS[1], KINDS[3]], ids=lambda c: c.kind)
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_voxels_come_back_to_where_they_were(choice, spatial_dims):
    # A network that tells of each voxel only that voxel's own intensity.
    seen = (images(spatial_dims) > 0.5).float()

    def own_intensity(moved):
        return torch.cat([10 * moved, 10 * (1 - moved)], dim=1)

    probs = torch.stack(members.bind(choice)(own_intensity, seen, seed=3))
    assert torch.equal(probs, probs[:1].expand_as(probs))


def test_the_first_mirror_and_the_first_view_are_the_image_itself():
    net, seen = network("segment"), images()
    own = opinions(net, seen, KINDS[0])
    assert torch.equal(opinions(net, seen, KINDS[1])[:1], own)
    assert torch.equal(opinions(net, seen, KINDS[3])[:1], own)


def test_more_mirrors_than_an_image_has_are_refused():
    with pytest.raises(RecipeError, match="An image of 2 dimensions has 4 mirrors, not 8"):
        opinions(network("classify"), images(), Choice(kind="mirrors", num_members=8))
    assert len(opinions(network("classify", 3), images(3), Choice(kind="mirrors", num_members=8))) == 8


def test_dropout_members_of_a_network_without_dropout_are_refused():
    with pytest.raises(RecipeError, match="need a network trained with dropout"):
        opinions(network("classify", dropout=0.0), images(), KINDS[2])


def test_dropout_is_off_again_afterwards():
    net, seen = network("classify"), images()
    before = net(seen)
    opinions(net, seen, KINDS[2])
    assert torch.equal(net(seen), before)


def test_an_unknown_member_set_is_guessed():
    with pytest.raises(RecipeError, match="Did you mean 'mirrors'"):
        members.bind(Choice(kind="mirror"))


@pytest.mark.parametrize("kind", ["dropout", "views", "mirrors"])
def test_asking_more_members_does_not_change_what_the_first_ones_said(kind):
    name = "num_views" if kind == "views" else "num_members"
    net, seen = network("classify"), images()
    few, many = (opinions(net, seen, Choice(kind=kind, **{name: num})) for num in (2, 4))
    assert torch.equal(many[:2], few)


def test_every_mirror_is_the_network_s_answer_to_a_mirror_image():
    net, seen = network("segment"), images()
    probs = opinions(net, seen, KINDS[1])
    with torch.inference_mode():
        for member, axes in zip(probs, [(), (-1,), (-2,), (-1, -2)], strict=True):
            expected = torch.softmax(net(seen.flip(axes)), dim=1).flip(axes)
            assert torch.allclose(member, expected, atol=1e-6)


def test_a_mirrored_image_gets_the_same_opinions_in_another_order():
    net, seen = network("classify"), images()
    own, mirrored = opinions(net, seen, KINDS[1]), opinions(net, seen.flip(-1), KINDS[1])
    assert torch.allclose(own[[1, 0, 3, 2]], mirrored, atol=1e-6)


def test_dropout_is_off_again_even_after_a_failure():
    net = network("classify")
    with pytest.raises(RuntimeError):
        opinions(net, torch.rand(2, 5, 8, 8), KINDS[2])
    before = net(images())
    assert torch.equal(net(images()), before)


def deep(kind="unetpp", **params):
    architecture = Choice(kind=kind, depth=2, features=(4, 8, 8), **params)
    return build_network("segment", architecture, spatial_dims=2, in_channels=1, num_classes=3).eval()


@pytest.mark.parametrize("kind", ["unetpp", "unet_plus", "unet_e"])
def test_every_head_is_a_member_and_the_last_is_the_accurate_mode(kind):
    net, seen = deep(kind), images()
    probs = opinions(net, seen, Choice(kind="heads"))
    assert probs.shape == (2, 4, 3, 8, 8)
    assert torch.equal(probs[-1:], opinions(net, seen, KINDS[0]))
    assert not torch.allclose(probs[0], probs[1], atol=1e-6)
    assert torch.allclose(probs.sum(dim=2), torch.ones(()), atol=1e-5)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_head_says_what_the_network_pruned_to_it_says(depth):
    net, seen = deep(), images()
    with torch.inference_mode():
        alone = torch.softmax(net.body.prune(depth)(seen), dim=1)
    assert torch.equal(opinions(net, seen, Choice(kind="heads"))[depth - 1], alone)


@pytest.mark.parametrize(
    "net", [network("segment"), network("classify"), deep(deep_supervision=False)], ids=["unet", "classifier", "one"]
)
def test_heads_of_a_network_that_has_one_are_refused(net):
    with pytest.raises(RecipeError, match="Members 'heads' need a network with several heads; this one has one"):
        opinions(net, images(), Choice(kind="heads"))
