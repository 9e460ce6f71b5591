"""Tiles lie in their cells, in order, with a gap, and one encoder reads them all."""

import numpy as np
import pytest
import torch
from tests.unit.nn.pretext.schooling import BATCH_NORM

from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice
from hilum.nn.pretext.tiles import tile_riddler, tiles_of

GROUP_NORM = Choice(kind="unet", depth=1, features=(4, 8))


def places(shape_zyx):
    """A crop whose three channels are each voxel's z, y and x."""
    return np.stack(np.meshgrid(*map(np.arange, shape_zyx), indexing="ij")).astype(np.float32)


@pytest.mark.parametrize(("shape", "num"), [((1, 24, 30), 3), ((24, 30, 27), 3), ((16, 16, 20), 2), ((1, 16, 16), 2)])
@pytest.mark.parametrize("gap", [0.0, 0.15, 0.4])
def test_each_tile_is_a_piece_of_its_own_cell(shape, num, gap):
    num_zyx = (1 if shape[0] == 1 else num, num, num)
    for seed in range(10):
        tiles = tiles_of(places(shape), num, np.random.default_rng(seed), gap=gap)
        assert len(tiles) == np.prod(num_zyx)
        for number, tile in enumerate(tiles):
            at = np.unravel_index(number, num_zyx)
            for axis, length in enumerate(shape):
                cell = length // num_zyx[axis]
                assert at[axis] * cell <= tile[axis].min()
                assert tile[axis].max() < (at[axis] + 1) * cell
            assert np.array_equal(tile - tile[:, :1, :1, :1], places(tile.shape[1:])), "neighbours stay neighbours"


def test_tiles_never_lie_at_the_same_place_relative_to_each_other():
    found = {
        tuple(tile[2].min() for tile in tiles_of(places((1, 30, 30)), 3, np.random.default_rng(s), gap=0.3))
        for s in range(20)
    }
    assert len(found) > 10


def test_without_a_wanted_gap_one_voxel_is_still_left_out():
    assert tiles_of(places((1, 24, 24)), 3, np.random.default_rng(0), gap=0.0)[0].shape[1:] == (1, 7, 7)


@pytest.mark.parametrize("shape", [(1, 9, 24), (2, 24, 24), (9, 24, 24)])
def test_a_crop_that_is_too_small_says_how_large_it_has_to_be(shape):
    with pytest.raises(RecipeError, match="Let patch_shape_zyx be at least") as refused:
        tiles_of(np.zeros((1, *shape), np.float32), 3, np.random.default_rng(0), gap=0.15)
    assert str(list(shape)) in str(refused.value)
    wanted = eval(str(refused.value).rsplit("at least ", maxsplit=1)[1].rstrip("."))
    assert tiles_of(np.zeros((1, *wanted), np.float32), 3, np.random.default_rng(0), gap=0.15)


@pytest.mark.parametrize(("spatial_dims", "num_tiles"), [(2, 9), (3, 8)])
def test_every_tile_is_read_by_the_same_encoder(spatial_dims, num_tiles):
    network = tile_riddler(
        GROUP_NORM, spatial_dims=spatial_dims, in_channels=2, seed=0, num_tiles=num_tiles, num_outputs=7
    ).eval()
    tiles = torch.randn(3, num_tiles, 2, *[8] * spatial_dims)
    with torch.no_grad():
        one_by_one = torch.cat([network.embed(tiles[:, tile]) for tile in range(num_tiles)], dim=1)
        answer = network(tiles.flatten(1, 2))
        assert torch.allclose(answer, network.head(one_by_one), atol=1e-5)
    assert answer.shape == (3, 7)


def test_first_weights_come_from_the_seed_alone():
    torch.manual_seed(3)
    make = lambda seed: tile_riddler(BATCH_NORM, spatial_dims=2, in_channels=1, seed=seed, num_tiles=4, num_outputs=2)  # noqa: E731
    one, same, other = make(0), make(0), make(1)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.head[0].weight, other.head[0].weight)
    assert torch.initial_seed() == 3
