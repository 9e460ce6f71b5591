"""What images look like before a model has looked."""

import numpy as np
import pytest

from hilum.select.pixels import EMBEDDING_SIZE, pixel_embedding


def images(num=4, shape=(1, 1, 20, 24), seed=0):
    return np.random.default_rng(seed).random((num, *shape), dtype=np.float32)


@pytest.mark.parametrize("shape", [(1, 1, 20, 24), (3, 1, 5, 7), (1, 9, 16, 16), (2, 40, 1, 64)])
def test_images_of_every_shape_get_as_many_numbers(shape):
    embedding = pixel_embedding(images(shape=shape), seed=0)
    assert embedding.shape == (4, EMBEDDING_SIZE)
    assert np.isfinite(embedding).all()


def test_an_image_gets_the_same_numbers_alone_and_among_others():
    together = pixel_embedding(images(), seed=3)
    alone = np.concatenate([pixel_embedding(images()[i : i + 1], seed=3) for i in range(4)])
    np.testing.assert_array_equal(alone, together)


def test_images_that_look_alike_are_near_each_other():
    rng = np.random.default_rng(0)
    bright_left, bright_right = np.zeros((2, 1, 1, 32, 32), np.float32)
    bright_left[..., :16] = 1
    bright_right[..., 16:] = 1
    batch = np.stack([bright_left, bright_left + 0.05 * rng.standard_normal(bright_left.shape), bright_right])
    one, noisy, other = pixel_embedding(batch.astype(np.float32), seed=0)
    assert np.linalg.norm(one - noisy) < 0.2 * np.linalg.norm(one - other)


def test_distances_survive_the_projection():
    batch = images(num=30, shape=(1, 4, 16, 16))
    flat = batch.reshape(30, -1)
    embedding = pixel_embedding(batch, seed=1)
    before = np.linalg.norm(flat[:, None] - flat[None], axis=2)[np.triu_indices(30, 1)]
    after = np.linalg.norm(embedding[:, None] - embedding[None], axis=2)[np.triu_indices(30, 1)]
    assert 0.6 < (after / before).min() < (after / before).max() < 1.5


def test_another_seed_is_another_projection():
    assert not np.allclose(pixel_embedding(images(), seed=0), pixel_embedding(images(), seed=1))


def test_a_size_changes_nothing_but_the_detail():
    small = np.ones((1, 1, 1, 16, 16), np.float32)
    large = np.ones((1, 1, 3, 50, 70), np.float32)
    np.testing.assert_allclose(pixel_embedding(small, seed=0), pixel_embedding(large, seed=0), rtol=1e-5)


def test_the_embedding_is_linear_in_the_intensities():
    one, other = images(seed=1), images(seed=2)
    mixed = pixel_embedding(0.25 * one + 0.5 * other, seed=0)
    expected = 0.25 * pixel_embedding(one, seed=0) + 0.5 * pixel_embedding(other, seed=0)
    np.testing.assert_allclose(mixed, expected, atol=1e-4)


def test_detail_finer_than_the_grid_is_averaged_away():
    """32 voxels on 16 places: two each. Swapping two of one place changes nothing."""
    seen = images(shape=(1, 4, 32, 32))
    swapped = seen.reshape(4, 1, 4, 16, 2, 16, 2)[:, :, :, :, ::-1, :, ::-1].reshape(seen.shape)
    np.testing.assert_allclose(pixel_embedding(swapped, seed=0), pixel_embedding(seen, seed=0), atol=1e-5)
    assert not np.allclose(pixel_embedding(seen[..., ::-1], seed=0), pixel_embedding(seen, seed=0), atol=1e-2)


def test_an_image_of_nothing_is_embedded_at_the_origin():
    assert not pixel_embedding(np.zeros((2, 1, 3, 9, 9), np.float32), seed=5).any()


def test_nobody_is_embedded_nowhere():
    assert pixel_embedding(np.empty((0, 1, 1, 8, 8), np.float32), seed=0).shape == (0, EMBEDDING_SIZE)
