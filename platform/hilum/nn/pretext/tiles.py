"""Crops cut into a grid of tiles, and a network that looks at every tile alike.

Shape letters: N = items, T = tiles, C = channels, D = features, Z, Y, X = space, S = space (Y, X or Z, Y, X).
"""

from itertools import product

import numpy as np
import torch
from torch import Tensor, nn

from hilum.core.errors import RecipeError
from hilum.core.geometry import Zyx
from hilum.core.recipes import Choice
from hilum.core.registry import architectures
from hilum.nn.pretext.networks import Riddler
from hilum.nn.pretext.pretext import Floats

_HIDDEN = 256
_LEAST_SIDE = 4


class TileRiddler(Riddler):
    """One encoder for every tile (siamese); the head reads the features of all of them side by side."""

    def __init__(self, body: nn.Module, head: nn.Module, *, num_tiles: int) -> None:
        super().__init__(body, head)
        self._num_tiles = num_tiles

    def forward_heads(self, images_NCS: Tensor) -> list[Tensor]:
        """``images_NCS``: the tiles one after the other along the channels."""
        num, _, *space = images_NCS.shape
        features_ND = self.embed(images_NCS.reshape(num * self._num_tiles, -1, *space))
        return [self.head(features_ND.reshape(num, -1))]


def tile_riddler(
    architecture: Choice, *, spatial_dims: int, in_channels: int, seed: int, num_tiles: int, num_outputs: int
) -> TileRiddler:
    """The architecture's encoder and a head of one hidden layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        make = architectures.bind(architecture)
        body = make(spatial_dims=spatial_dims, in_channels=in_channels, num_classes=in_channels)
        head = nn.Sequential(
            nn.Linear(num_tiles * int(body.encoder.num_features), _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, num_outputs)
        )
        return TileRiddler(body, head, num_tiles=num_tiles)


def tiles_of(crop_CZYX: Floats, num_a_side: int, rng: np.random.Generator, *, gap: float) -> list[Floats]:
    """``num_a_side`` tiles along every axis (one along Z of a 2D crop), in the order of the grid, Z slowest.

    A tile is shorter than its cell by the share ``gap``, and lies anywhere in it: neighbours need not touch, and
    lines that go on from one to the next tell nothing.
    """
    _, z, y, x = crop_CZYX.shape
    num_zyx = (1 if z == 1 else num_a_side, num_a_side, num_a_side)
    cell_zyx = tuple(length // num for length, num in zip((z, y, x), num_zyx, strict=True))
    tile_zyx = [_tile(cell, gap, flat=z == 1 and axis == 0) for axis, cell in enumerate(cell_zyx)]
    if min(size for size, length in zip(tile_zyx, (z, y, x), strict=True) if length > 1 or z > 1) < _LEAST_SIDE:
        raise RecipeError(_too_small((z, y, x), num_zyx, gap))
    tiles = []
    for place in product(*map(range, num_zyx)):
        starts = [
            at * cell + int(rng.integers(cell - size + 1))
            for at, cell, size in zip(place, cell_zyx, tile_zyx, strict=True)
        ]
        windows = (slice(start, start + size) for start, size in zip(starts, tile_zyx, strict=True))
        tiles.append(crop_CZYX[(slice(None), *windows)])
    return tiles


def num_tiles_of(spatial_dims: int, num_a_side: int) -> int:
    return int(num_a_side**spatial_dims)


def along_channels(tiles: list[Floats]) -> Floats:
    """(T · C, Z, Y, X): what a `TileRiddler` is shown."""
    return np.concatenate(tiles)


def _tile(cell: int, gap: float, *, flat: bool) -> int:
    return 1 if flat else cell - max(1, round(gap * cell))


def _too_small(shape_zyx: Zyx, num_zyx: Zyx, gap: float) -> str:
    wanted = next(cell for cell in range(1, 100) if _tile(cell, gap, flat=False) >= _LEAST_SIDE)
    return (
        f"A crop of {list(shape_zyx)} voxels (Z, Y, X) is too small for {' × '.join(map(str, num_zyx))} tiles of at "
        f"least {_LEAST_SIDE} voxels a side with gaps of {gap:g}. Let patch_shape_zyx be at least "
        f"{[1 if num == 1 else num * wanted for num in num_zyx]}."
    )
