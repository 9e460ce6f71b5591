"""Rubik's cube: the crop's cubes are shuffled and some are turned; the network says how.

Shape letters: N = items, T = cubes, K = half turns, Z, Y, X = space. From https://arxiv.org/abs/1910.02241: 2 × 2 × 2
cubes with gaps between them, one of a hundred orders (cross-entropy), and for each cube whether it was turned by 180°
upright and sideways (binary cross-entropy), the two losses weighing the same. Ours are 2 × 2 tiles and one half turn
in 2D, gaps as a share of a cube, and grey levels left between 0 and 1.
"""

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from hilum.core.recipes import Choice
from hilum.core.registry import Params, pretexts
from hilum.nn.heads import Network
from hilum.nn.pretext.permutations import far_apart
from hilum.nn.pretext.pretext import Floats, Pretext, Puzzle
from hilum.nn.pretext.tiles import along_channels, num_tiles_of, tile_riddler, tiles_of

_NUM_A_SIDE = 2
_HALF_TURNS = ((2, 3), (1, 3))
"""The axes of (C, Z, Y, X) that a half turn reverses: about Z, about Y. A 2D tile has the first only."""


class RubikParams(Params):
    """``num_permutations`` orders at most (2D has 24); between cubes is a ``gap``, as a share of their side."""

    num_permutations: int = Field(default=100, ge=2, le=1000)
    gap: float = Field(default=0.15, ge=0, lt=1)


@pretexts.register("rubik", params=RubikParams)
class Rubik(Pretext):
    """Order and orientation of cubes, read by one encoder."""

    def __init__(self, *, num_permutations: int, gap: float) -> None:
        self._num_permutations, self._gap = num_permutations, gap

    def network(self, architecture: Choice, *, spatial_dims: int, in_channels: int, seed: int) -> Network:
        num_cubes = num_tiles_of(spatial_dims, _NUM_A_SIDE)
        num_orders = len(far_apart(num_cubes, self._num_permutations))
        return tile_riddler(
            architecture,
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            seed=seed,
            num_tiles=num_cubes,
            num_outputs=num_orders + num_cubes * _num_turns(spatial_dims),
        )

    def pose(self, crop_CZYX: Floats, rng: np.random.Generator) -> Puzzle:
        cubes = tiles_of(crop_CZYX, _NUM_A_SIDE, rng, gap=self._gap)
        num_turns = _num_turns(2 if crop_CZYX.shape[1] == 1 else 3)
        orders_PT = far_apart(len(cubes), self._num_permutations)
        order = int(rng.integers(len(orders_PT)))
        turned_TK = rng.integers(2, size=(len(cubes), num_turns)).astype(np.bool_)
        placed = [turned(cubes[cube], turns) for cube, turns in zip(orders_PT[order], turned_TK, strict=True)]
        return along_channels(placed), np.array(order, np.int64), turned_TK.reshape(-1).astype(np.float32)

    def loss(self, network: Network, puzzles: tuple[Tensor, ...]) -> Tensor:
        shown, order_N, turned_NT = puzzles
        logits = network(shown).float()
        num_orders = logits.shape[1] - turned_NT.shape[1]
        ordered = cross_entropy(logits[:, :num_orders], order_N)
        oriented = binary_cross_entropy_with_logits(logits[:, num_orders:], turned_NT)
        return torch.stack([ordered, oriented]).mean()


def turned(cube_CZYX: Floats, turns_K: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Floats:
    """The cube after the half turns that are True."""
    for axes, does in zip(_HALF_TURNS, turns_K, strict=False):
        if does:
            cube_CZYX = np.flip(cube_CZYX, axes)
    return cube_CZYX


def _num_turns(spatial_dims: int) -> int:
    return len(_HALF_TURNS) if spatial_dims == 3 else 1
