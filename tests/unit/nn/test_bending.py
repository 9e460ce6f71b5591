"""Bending, blurring, coarsening and turning: no further than said, labels with their images, nothing folded."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter

from hilum.core.asking import IGNORE
from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice
from hilum.nn.augment import NO_FOLD, ElasticParams, augmentations
from hilum.nn.warping import bent, blurring, coarsening, mixed, num_knots, turned_and_scaled


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def does(kind, **params):
    return augmentations.bind(Choice(kind=kind, probability=1.0, **params))


def phantom(space, num=3):
    """A bright ball off the middle, of any number of axes, and its label map."""
    at = torch.meshgrid(*[torch.arange(size, dtype=torch.float32) for size in space], indexing="ij")
    far = sum((where - 0.45 * size) ** 2 for where, size in zip(at, space, strict=True))
    ball = (far <= (0.3 * min(space)) ** 2).long().expand(num, *space).contiguous()
    return ball[:, None].float(), ball


SPACES = [(40, 28), (24, 20, 28)]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(
    ("kind", "nothing"),
    [("elastic", {"voxels": 0.0}), ("blur", {"std_voxels": 0.0}), ("low_resolution", {"least_share": 1.0})],
)
def test_a_strength_of_nothing_changes_nothing(kind, nothing, space):
    images = torch.rand(3, 2, *space, generator=generator())
    labels = torch.randint(0, 9, (3, *space), generator=generator(1))
    same, same_labels = does(kind, **nothing)(images, labels, rng=generator(2))
    assert torch.equal(same, images)
    assert torch.equal(same_labels, labels)


@pytest.mark.parametrize("kind", ["elastic", "blur", "low_resolution"])
@pytest.mark.parametrize("probability", [0.0, 0.4])
def test_about_as_many_items_are_changed_as_said_and_the_others_not_at_all(kind, probability):
    images = torch.rand(200, 1, 12, 12, generator=generator())
    changed, _ = augmentations.bind(Choice(kind=kind, probability=probability))(images, None, rng=generator(3))
    share = (changed != images).flatten(1).any(dim=1).float().mean()
    assert abs(float(share) - probability) <= (0.1 if probability else 0)


@pytest.mark.parametrize("space", SPACES)
def test_a_structure_and_its_label_are_bent_together(space):
    images, labels = phantom(space)
    moved, moved_labels = does("elastic", voxels=4.0, every=12.0)(images, labels, rng=generator(1))
    assert not torch.equal(moved_labels, labels)
    assert set(moved_labels[(moved[:, 0] - 1).abs() < 1e-6].tolist()) <= {1, IGNORE}
    assert not (moved_labels[moved[:, 0] == 0] == 1).any()
    answered = moved_labels != IGNORE
    assert ((moved[:, 0] > 0.5) == (moved_labels == 1))[answered].float().mean() > 0.99


@pytest.mark.parametrize("space", SPACES)
def test_what_is_bent_in_from_outside_was_answered_by_nobody(space):
    images, labels = phantom(space, num=20)
    _, moved = does("elastic", voxels=6.0, every=16.0)(images, labels, rng=generator(1))
    middle = moved[:, *[slice(size // 2 - 1, size // 2 + 1) for size in space]]
    assert (moved == IGNORE).any()
    assert not (middle == IGNORE).any()
    assert set(moved.unique().tolist()) == {0, 1, IGNORE}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.floats(4, 20), st.sampled_from(SPACES))
def test_nothing_moves_further_than_said_and_nothing_is_folded_over(seed, every, space):
    voxels = NO_FOLD * every
    like = torch.zeros(2, 1, *space)
    knots = [num_knots(size, every) for size in space]
    # The worst there is: every knot as far as it may, this way or that.
    moves = (2.0 * torch.randint(0, 2, (2, len(space), *knots), generator=generator(seed)) - 1) * voxels
    halves = torch.tensor(space[::-1], dtype=torch.float32) / 2
    came_from = bent(moves, every, like) * halves
    still = bent(torch.zeros_like(moves), every, like) * halves
    assert (came_from - still).abs().max() <= voxels * (1 + 1e-4)
    steps = torch.stack([came_from.diff(dim=axis + 1)[:, *[slice(0, s - 1) if a != axis else slice(None) for a, s in
             enumerate(space)]] for axis in reversed(range(len(space)))], dim=-1)  # fmt: skip
    assert torch.linalg.det(steps).min() > 0


def test_a_bend_that_would_fold_is_refused():
    assert ElasticParams(voxels=4.0, every=10.0).voxels == 4.0
    with pytest.raises(ValidationError, match=r"voxels is 5; at most 0.4 of every \(10\) folds nothing"):
        ElasticParams(voxels=5.0, every=10.0)


def test_bending_is_smooth():
    like = torch.zeros(1, 1, 64, 64)
    moves = 4 * (2 * torch.rand(1, 2, *[num_knots(64, 16.0)] * 2, generator=generator()) - 1)
    second = (bent(moves, 16.0, like) * 32).diff(n=2, dim=1).abs().max()
    # A cubic B-spline's curvature: four times the move over the square of the knots' distance.
    assert second <= 4 * 4 / 16**2 + 1e-3


@pytest.mark.parametrize("space", SPACES)
def test_a_blur_is_scipys_away_from_the_ends(space):
    images = torch.rand(2, 1, *space, generator=generator())
    std_N = torch.tensor([0.6, 1.3])
    ours = mixed(images, [blurring(std_N, size) for size in space])
    inner = tuple(slice(7, -7) for _ in space)
    for item, std in enumerate(std_N.tolist()):
        theirs = torch.from_numpy(gaussian_filter(images[item, 0].numpy(), std, truncate=8))
        torch.testing.assert_close(ours[item, 0][inner], theirs[inner], atol=2e-4, rtol=0)


@pytest.mark.parametrize("kind", ["blur", "low_resolution"])
@pytest.mark.parametrize("space", SPACES)
def test_less_detail_keeps_even_grey_and_stays_within_what_was_there(kind, space):
    even = torch.full((2, 1, *space), 0.7)
    torch.testing.assert_close(does(kind)(even, None, rng=generator())[0], even)
    images = torch.rand(4, 2, *space, generator=generator(1))
    less, _ = does(kind, **({"std_voxels": 3.0} if kind == "blur" else {"least_share": 0.3}))(
        images, None, rng=generator(5)
    )
    assert images.amin() <= less.min()
    assert less.max() <= images.amax()
    assert (less.flatten(1).std(dim=1) < images.flatten(1).std(dim=1)).all()


@given(st.integers(2, 40), st.floats(0.05, 1))
@settings(deadline=None)
def test_coarsening_keeps_the_place_of_what_it_coarsens(size, share):
    (weights_LL,) = coarsening(torch.tensor([share]), size)
    assert torch.allclose(weights_LL.sum(dim=1), torch.ones(size), atol=1e-5)
    assert weights_LL.min() >= 0
    assert torch.allclose(weights_LL, weights_LL.flip(0, 1), atol=1e-4), "the same from either end"


def test_half_the_resolution_cannot_tell_neighbours_apart():
    (weights_LL,) = coarsening(torch.tensor([0.5]), 16)
    stripes = torch.tensor([0.0, 1.0] * 8)
    assert torch.allclose(weights_LL @ stripes, torch.full((16,), 0.5))


def test_only_the_axis_that_is_named_loses_resolution():
    images = torch.rand(2, 1, 12, 12, 12, generator=generator())
    thick, _ = does("low_resolution", least_share=0.4, axes=("z",))(images, None, rng=generator())
    same_along_z = images[:, :, :1].expand_as(images)
    still, _ = does("low_resolution", least_share=0.4, axes=("z",))(same_along_z, None, rng=generator())
    assert not torch.allclose(thick, images)
    torch.testing.assert_close(still, same_along_z)
    with pytest.raises(RecipeError, match="'low_resolution' was given 'z'"):
        does("low_resolution", axes=("z",))(images[:, :, 0], None, rng=generator())


@pytest.mark.parametrize(("axis", "plane"), [("z", (-2, -1)), ("y", (-1, -3)), ("x", (-3, -2))])
def test_a_quarter_turn_about_each_axis_is_a_quarter_turn(axis, plane):
    images = torch.rand(1, 1, 9, 9, 9, generator=generator())
    grid = turned_and_scaled({axis: torch.tensor([math.pi / 2])}, torch.ones(1), images)
    turned = torch.nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    assert any(torch.allclose(turned, torch.rot90(images, n, plane), atol=1e-5) for n in (1, 3))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_a_turn_about_all_axes_at_once_keeps_lengths(seed):
    angles = {axis: (torch.rand(1, generator=generator(seed + n)) - 0.5) * 6 for n, axis in enumerate("xyz")}
    like = torch.zeros(1, 1, 16, 12, 20)
    came_from = turned_and_scaled(angles, torch.ones(1), like)[0] * torch.tensor([20.0, 12.0, 16.0]) / 2
    for axis in range(3):
        lengths = came_from.diff(dim=axis).norm(dim=-1)
        torch.testing.assert_close(lengths, torch.ones_like(lengths), atol=1e-4, rtol=0)


def test_a_ball_turned_about_three_axes_stays_a_ball_with_its_label():
    images, labels = phantom((25, 25, 25), num=6)
    transform = augmentations.bind(Choice(kind="affine", degrees=30.0, scale=0.0, axes=("x", "y", "z")))
    moved, moved_labels = transform(images, labels, rng=generator(2))
    counts = (moved_labels == 1).sum(dim=(1, 2, 3)) / labels.sum(dim=(1, 2, 3))
    assert counts.sub(1).abs().max() < 0.03
    answered = moved_labels != IGNORE
    assert ((moved[:, 0] > 0.5) == (moved_labels == 1))[answered].float().mean() > 0.99


def test_a_flat_image_turns_about_z_only():
    images, labels = phantom((20, 20))
    with pytest.raises(RecipeError, match="turn about z only; 'affine' was given axes x, z"):
        augmentations.bind(Choice(kind="affine", axes=("x", "z")))(images, labels, rng=generator())
