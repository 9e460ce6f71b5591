"""Augmentation: repeatable, label maps move with their images, inputs stay as they were."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.core.asking import IGNORE
from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice
from hilum.nn.augment import augmentations, bind_augmentations

ALL = [Choice(kind=name) for name in augmentations]
MOVING = [Choice(kind="flip"), Choice(kind="rot90"), Choice(kind="shift", share=0.3)]
KINDS = sorted(augmentations)


def images_and_labels(spatial_dims, seed=0, num=6, size=8):
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 50, (num, *[size] * spatial_dims), generator=rng)
    return labels[:, None].float() / 50, labels


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([2, 3]))
def test_a_label_map_moves_as_its_image_does(seed, spatial_dims):
    images, labels = images_and_labels(spatial_dims)
    moved, moved_labels = bind_augmentations(MOVING)(images, labels, generator(seed))
    answered = moved_labels != IGNORE
    assert torch.equal(moved[:, 0][answered], moved_labels[answered].float() / 50)
    assert moved.shape == images.shape


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_the_same_generator_does_the_same_and_another_something_else(kind, spatial_dims):
    images, labels = images_and_labels(spatial_dims)
    transform = augmentations.bind(Choice(kind=kind))
    once, labels_once = transform(images, labels, rng=generator(5))
    again, labels_again = transform(images, labels, rng=generator(5))
    assert torch.equal(once, again)
    assert torch.equal(labels_once, labels_again)
    assert any(not torch.equal(once, transform(images, labels, rng=generator(seed))[0]) for seed in range(6, 12))


@pytest.mark.parametrize("kind", KINDS)
def test_the_input_stays_as_it_was(kind):
    images, labels = images_and_labels(2)
    before, before_labels = images.clone(), labels.clone()
    augmentations.bind(Choice(kind=kind))(images, labels, rng=generator(1))
    assert torch.equal(images, before)
    assert torch.equal(labels, before_labels)


@pytest.mark.parametrize("kind", KINDS)
def test_images_without_label_maps_are_treated_alike(kind):
    images, labels = images_and_labels(3)
    transform = augmentations.bind(Choice(kind=kind))
    alone, nothing = transform(images, None, rng=generator(2))
    assert nothing is None
    assert torch.equal(alone, transform(images, labels, rng=generator(2))[0])


def test_items_of_a_batch_are_treated_differently():
    images = torch.arange(64.0).reshape(1, 1, 8, 8).repeat(32, 1, 1, 1)
    for kind in KINDS:
        moved, _ = augmentations.bind(Choice(kind=kind))(images, None, rng=generator(0))
        assert any(not torch.equal(moved[0], other) for other in moved[1:])


def test_no_intensity_is_changed_by_moving():
    images, _ = images_and_labels(2)
    moved, _ = bind_augmentations(MOVING)(images, None, generator(3))
    assert set(moved.unique().tolist()) <= set(images.unique().tolist())


def test_a_flip_named_for_one_axis_leaves_the_others():
    images = torch.arange(24.0).reshape(1, 1, 4, 6)
    flipped, _ = augmentations.bind(Choice(kind="flip", probability=1.0, axes=("x",)))(images, None, rng=generator())
    assert torch.equal(flipped, images.flip(-1))


def test_a_flip_of_an_axis_that_is_not_there_is_refused():
    with pytest.raises(RecipeError, match="'flip' was given 'z'"):
        augmentations.bind(Choice(kind="flip", axes=("z",)))(torch.zeros(1, 1, 4, 4), None, rng=generator())


def test_an_oblong_image_is_turned_by_half_turns_only():
    images = torch.arange(15.0).reshape(1, 1, 3, 5).repeat(20, 1, 1, 1)
    turned, _ = augmentations.bind(Choice(kind="rot90"))(images, None, rng=generator())
    half = torch.rot90(images[0], 2, (-2, -1))
    assert all(torch.equal(item, images[0]) or torch.equal(item, half) for item in turned)


def test_a_shift_of_nothing_moves_nothing():
    images, labels = images_and_labels(2)
    moved, moved_labels = augmentations.bind(Choice(kind="shift", share=0.0))(images, labels, rng=generator())
    assert torch.equal(moved, images)
    assert torch.equal(moved_labels, labels)


def test_an_unknown_augmentation_is_guessed():
    with pytest.raises(RecipeError, match="No augmentation is called 'flipp'. Did you mean 'flip'"):
        bind_augmentations([Choice(kind="flipp")])


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_certain_flip_mirrors_every_axis_and_twice_is_nothing(spatial_dims):
    images, labels = images_and_labels(spatial_dims)
    certain = augmentations.bind(Choice(kind="flip", probability=1.0))
    once, labels_once = certain(images, labels, rng=generator())
    assert torch.equal(once, images.flip(list(range(2, images.ndim))))
    again, labels_again = certain(once, labels_once, rng=generator())
    assert torch.equal(again, images)
    assert torch.equal(labels_again, labels)


def test_a_turned_image_is_one_of_the_four_and_all_four_come():
    images, _ = images_and_labels(2, num=64)
    images = images[:1].expand_as(images)
    turned, _ = augmentations.bind(Choice(kind="rot90"))(images, None, rng=generator())
    four = [torch.rot90(images[0], turns, (-2, -1)) for turns in range(4)]
    found = [next(k for k, one in enumerate(four) if torch.equal(one, item)) for item in turned]
    assert set(found) == {0, 1, 2, 3}


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_shift_is_no_longer_than_its_share_and_leaves_the_border_unanswered(share):
    images, labels = images_and_labels(2, num=40, size=10)
    _, moved = augmentations.bind(Choice(kind="shift", share=share))(images, labels, rng=generator())
    unanswered = moved == IGNORE
    rows, columns = unanswered.all(dim=2).sum(dim=1), unanswered.all(dim=1).sum(dim=1)
    assert int(rows.max()) == int(columns.max()) == round(share * 10)
    counts = 10 * rows + 10 * columns - rows * columns
    assert torch.equal(unanswered.sum(dim=(1, 2)), counts), "only whole rows and columns come in from outside"


@pytest.mark.parametrize(
    "choice", [Choice(kind="intensity", contrast=0, brightness=0, gamma=0), Choice(kind="noise", std=0)]
)
def test_grey_levels_changed_by_nothing_stay(choice):
    images, labels = images_and_labels(2)
    seen, seen_labels = augmentations.bind(choice)(images, labels, rng=generator())
    assert torch.allclose(seen, images, atol=1e-6)
    assert seen_labels is labels


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31))
def test_of_two_voxels_the_brighter_stays_the_brighter(seed):
    images, _ = images_and_labels(2, seed=seed % 97, num=3)
    seen, _ = augmentations.bind(Choice(kind="intensity"))(images, None, rng=generator(seed))
    for before, after in zip(images.flatten(1), seen.flatten(1), strict=True):
        assert bool((after[before.argsort()].diff() >= -1e-6).all())


def test_grain_is_as_strong_as_said_and_brightens_nothing():
    images = torch.full((30, 1, 32, 32), 0.5)
    seen, _ = augmentations.bind(Choice(kind="noise", std=0.2))(images, None, rng=generator())
    spread = (seen - images).flatten(1).std(dim=1)
    assert float(spread.max()) <= 0.22
    assert float(spread.min()) < 0.05
    assert abs(float(seen.mean()) - 0.5) < 0.01


def test_no_augmentation_at_all_gives_back_what_it_was_given():
    images, labels = images_and_labels(2)
    same, same_labels = bind_augmentations([])(images, labels, generator())
    assert same is images
    assert same_labels is labels


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_turning_and_scaling_by_nothing_changes_nothing(spatial_dims):
    images, labels = images_and_labels(spatial_dims)
    still = augmentations.bind(Choice(kind="affine", degrees=0.0, scale=0.0))
    same, same_labels = still(images, labels, rng=generator())
    torch.testing.assert_close(same, images)
    assert torch.equal(same_labels, labels)


@pytest.mark.parametrize(("height", "width"), [(33, 33), (33, 47)])
def test_a_turned_disc_is_the_same_disc_and_a_scaled_one_is_larger_or_smaller(height, width):
    y, x = torch.meshgrid(torch.arange(height) - height // 2, torch.arange(width) - width // 2, indexing="ij")
    disc = (x**2 + y**2 <= 64).long().repeat(40, 1, 1)
    turned = augmentations.bind(Choice(kind="affine", degrees=90.0, scale=0.0))(
        disc[:, None].float(), disc, rng=generator()
    )
    assert ((turned[1] == 1) != (disc == 1)).float().mean() < 0.02
    _, scaled = augmentations.bind(Choice(kind="affine", degrees=0.0, scale=0.2))(
        disc[:, None].float(), disc, rng=generator()
    )
    growth = (scaled == 1).sum(dim=(1, 2)) / disc.sum(dim=(1, 2))
    assert 0.75**2 < float(growth.min()) < 0.9
    assert 1.1 < float(growth.max()) < 1.25**2


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_structure_and_its_label_are_turned_and_scaled_together(spatial_dims):
    smooth = torch.zeros(6, *[16] * spatial_dims, dtype=torch.int64)
    smooth[:, 3:9, 4:12] = 1
    moved, moved_labels = augmentations.bind(Choice(kind="affine", degrees=30.0, scale=0.2))(
        smooth[:, None].float(), smooth, rng=generator(4)
    )
    within, without = (moved[:, 0] - 1).abs() < 1e-6, moved[:, 0] == 0
    assert set(moved_labels[within].tolist()) <= {1, IGNORE}
    assert not (moved_labels[without] == 1).any()
    assert (within | without).float().mean() > 0.6


def test_what_turns_in_from_outside_was_answered_by_nobody():
    images, labels = images_and_labels(2, num=30, size=12)
    _, moved = augmentations.bind(Choice(kind="affine", degrees=45.0, scale=0.0))(images, labels, rng=generator(1))
    assert (moved == IGNORE).any(dim=0)[0, 0], "a turn leaves the corners empty"
    assert not (moved[:, 5:7, 5:7] == IGNORE).any(), "and the middle full"
