"""Jigsaw: the crop's tiles are shuffled, and the network says in which of a hundred orders.

Shape letters: N = items, T = tiles, P = permutations, Z, Y, X = space. From https://arxiv.org/abs/1603.09246
(2D, 3 × 3 tiles); 3 × 3 × 3 tiles and 100 permutations are those of the comparison in https://arxiv.org/abs/2004.07882.
"""

import numpy as np
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from hilum.core.recipes import Choice
from hilum.core.registry import Params, pretexts
from hilum.nn.heads import Network
from hilum.nn.pretext.permutations import far_apart
from hilum.nn.pretext.pretext import Floats, Pretext, Puzzle
from hilum.nn.pretext.tiles import along_channels, num_tiles_of, tile_riddler, tiles_of

_NUM_A_SIDE = 3
_FLAT = 1e-3
"""A tile that varies less has nothing in it but noise, and is not blown up."""


class JigsawParams(Params):
    """``num_permutations`` orders are told apart; between tiles is a ``gap``, as a share of their cell."""

    num_permutations: int = Field(default=100, ge=2, le=1000)
    gap: float = Field(default=0.15, ge=0, lt=1)


@pretexts.register("jigsaw", params=JigsawParams)
class Jigsaw(Pretext):
    """Every tile has a mean of 0 and a standard deviation of 1 of its own, so that shading tells no order."""

    def __init__(self, *, num_permutations: int, gap: float) -> None:
        self._num_permutations, self._gap = num_permutations, gap

    def network(self, architecture: Choice, *, spatial_dims: int, in_channels: int, seed: int) -> Network:
        num_tiles = num_tiles_of(spatial_dims, _NUM_A_SIDE)
        return tile_riddler(
            architecture,
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            seed=seed,
            num_tiles=num_tiles,
            num_outputs=len(far_apart(num_tiles, self._num_permutations)),
        )

    def pose(self, crop_CZYX: Floats, rng: np.random.Generator) -> Puzzle:
        tiles = tiles_of(crop_CZYX, _NUM_A_SIDE, rng, gap=self._gap)
        orders_PT = far_apart(len(tiles), self._num_permutations)
        order = int(rng.integers(len(orders_PT)))
        shuffled = [_normalised(tiles[tile]) for tile in orders_PT[order]]
        return along_channels(shuffled), np.array(order, np.int64)

    def loss(self, network: Network, puzzles: tuple[Tensor, ...]) -> Tensor:
        shown, order_N = puzzles
        return cross_entropy(network(shown).float(), order_N)


def _normalised(tile_CZYX: Floats) -> Floats:
    centred = tile_CZYX - tile_CZYX.mean()
    scaled: Floats = centred / max(float(centred.std()), _FLAT)
    return scaled.astype(np.float32, copy=False)
