"""The deformations of Models Genesis for whole batches, on whatever device the crops are: for a GPU.

Their distribution is that of the functions of the same names for one crop on a CPU; the numbers drawn are others.
Shape letters: N = items, C = channels, V = voxels in their order, Z, Y, X = space (Z = 1 where images are 2D),
S = space (Y, X or Z, Y, X), B = boxes, W = windows, P = places of a window, K = nodes of a curve.
"""

import numpy as np
import torch
from torch import Tensor

from hilum.nn.pretext.bezier import NUM_NODES
from hilum.nn.pretext.cutouts import BORDER, GOES_ON, MOST_BOXES, MOST_MASKED, Sizes, inner_sizes, outer_sizes
from hilum.nn.pretext.flips import MOST_FLIPS
from hilum.nn.pretext.shuffling import Regime, most_zyx


def with_depth(crops_NCS: Tensor) -> Tensor:
    """A Z of one voxel where there is none."""
    return crops_NCS if crops_NCS.ndim == 5 else crops_NCS[:, :, None]


def random_flips(crops_NCZYX: Tensor, *, rng: torch.Generator, probability: float = 0.4) -> Tensor:
    """Up to three flips of each crop, each of an axis at random."""
    num, axes = len(crops_NCZYX), [axis for axis in (2, 3, 4) if crops_NCZYX.shape[axis] > 1]
    goes_on_NB = (_uniform((num, MOST_FLIPS), rng) < probability).cumprod(1).bool()
    which_NB = (_uniform((num, MOST_FLIPS), rng) * len(axes)).long()
    for place, axis in enumerate(axes):
        flipped_N = ((which_NB == place) & goes_on_NB).sum(1) % 2 == 1
        flipped_N1111 = flipped_N.view(-1, 1, 1, 1, 1).to(crops_NCZYX.device)
        crops_NCZYX = torch.where(flipped_N1111, crops_NCZYX.flip(axis), crops_NCZYX)
    return crops_NCZYX


def non_linear(crops_NCZYX: Tensor, *, rng: torch.Generator) -> Tensor:
    """The grey levels of each crop through a curve of its own."""
    num = len(crops_NCZYX)
    t_K = torch.linspace(0, 1, NUM_NODES, dtype=torch.float64, device=rng.device)
    bernstein_3K = torch.stack([3 * (1 - t_K) ** 2 * t_K, 3 * (1 - t_K) * t_K**2, t_K**3])
    controls_N22 = torch.rand((num, 2, 2), generator=rng, device=rng.device, dtype=torch.float64)
    points_N23 = torch.cat([controls_N22, torch.ones_like(controls_N22[:, :, :1])], dim=2)
    curve_N2K = (points_N23 @ bernstein_3K).float().cummax(dim=2).values
    decreasing_N1 = _uniform((num, 1), rng) < 0.5
    levels_NK, becoming_NK = curve_N2K[:, 0].contiguous(), curve_N2K[:, 1]
    becoming_NK = torch.where(decreasing_N1, becoming_NK.flip(1), becoming_NK)
    return _interpolated(crops_NCZYX, levels_NK.to(crops_NCZYX.device), becoming_NK.to(crops_NCZYX.device))


def local_pixel_shuffling(crops_NCZYX: Tensor, *, rng: torch.Generator, num_windows: int = 10_000) -> Tensor:
    """Each crop in turn: its ten thousand windows fill a GPU."""
    return torch.stack([_shuffled(crop_CZYX, rng, num_windows) for crop_CZYX in crops_NCZYX])


def inner_cutout(crops_NCZYX: Tensor, *, rng: torch.Generator, regime: Regime = "code") -> Tensor:
    """Blocks of noise, the same in every channel."""
    return with_noise(crops_NCZYX, inner_masks(crops_NCZYX, rng=rng, regime=regime), rng=rng)


def outer_cutout(crops_NCZYX: Tensor, *, rng: torch.Generator, regime: Regime = "code") -> Tensor:
    """Noise, the same in every channel, with windows through which the crop is seen."""
    return with_noise(crops_NCZYX, outer_masks(crops_NCZYX, rng=rng, regime=regime), rng=rng)


def with_noise(crops_NCZYX: Tensor, masked_N1ZYX: Tensor, *, rng: torch.Generator) -> Tensor:
    """Uniform noise where masked, one for all channels. Overlapping blocks are one block of noise."""
    noise_N1ZYX = _uniform(tuple(masked_N1ZYX.shape), rng).to(crops_NCZYX.device)
    return torch.where(masked_N1ZYX, noise_N1ZYX, crops_NCZYX)


def inner_masks(crops_NCZYX: Tensor, *, rng: torch.Generator, regime: Regime) -> Tensor:
    """What in-painting masks."""
    num, shape_zyx = len(crops_NCZYX), tuple(crops_NCZYX.shape[2:])
    boxes_NBZYX = _boxes(num, shape_zyx, inner_sizes(shape_zyx), border=BORDER, num_boxes=MOST_BOXES[regime], rng=rng)
    goes_on_NB = (_uniform(tuple(boxes_NBZYX.shape[:2]), rng) < GOES_ON).cumprod(1).bool()
    if regime == "paper":
        goes_on_NB &= _shares(boxes_NBZYX) < MOST_MASKED
    return _union(boxes_NBZYX, goes_on_NB).to(crops_NCZYX.device)


def outer_masks(crops_NCZYX: Tensor, *, rng: torch.Generator, regime: Regime) -> Tensor:
    """What out-painting masks: all but its windows."""
    num, shape_zyx = len(crops_NCZYX), tuple(crops_NCZYX.shape[2:])
    border, most = (BORDER if regime == "code" else 0), MOST_BOXES[regime]
    boxes_NBZYX = _boxes(num, shape_zyx, outer_sizes(shape_zyx, regime), border=border, num_boxes=most, rng=rng)
    first_NB = torch.ones((num, 1), dtype=torch.bool, device=rng.device)
    if regime == "code":
        more_NB = (_uniform((num, most - 1), rng) < GOES_ON).cumprod(1).bool()
        return ~_union(boxes_NBZYX, torch.cat([first_NB, more_NB], dim=1)).to(crops_NCZYX.device)
    enough_NB = _shares(boxes_NBZYX) > 1 - MOST_MASKED
    boxes_NBZYX[~enough_NB[:, -1]] = True
    wanted_NB = torch.cat([first_NB, ~enough_NB[:, :-1]], dim=1)
    return ~_union(boxes_NBZYX, wanted_NB).to(crops_NCZYX.device)


def _shuffled(crop_CZYX: Tensor, rng: torch.Generator, num_windows: int) -> Tensor:
    num_channels, *shape_zyx = crop_CZYX.shape
    shape, largest = (torch.tensor(three, device=rng.device) for three in (shape_zyx, most_zyx(shape_zyx)))
    size_W3 = 1 + (_uniform((num_windows, 3), rng) * largest).long()
    start_W3 = (_uniform((num_windows, 3), rng) * (shape - size_W3 + 1)).long()
    offset_P3 = torch.cartesian_prod(*(torch.arange(n, device=rng.device) for n in largest.tolist())).view(-1, 3)
    inside_WP = (offset_P3 < size_W3[:, None]).all(2)
    strides = torch.tensor([shape_zyx[1] * shape_zyx[2], shape_zyx[2], 1], device=rng.device)
    into_WP = (start_W3 * strides).sum(1, keepdim=True) + (offset_P3 * strides).sum(1)
    # The places inside, in their order, beside the same places in random order: the k-th takes from the k-th.
    window_WP = torch.arange(num_windows, device=rng.device)[:, None].expand_as(into_WP)
    rank_WP = torch.where(inside_WP, _uniform(tuple(into_WP.shape), rng), 2.0).argsort(1)
    taken, into = into_WP.gather(1, rank_WP)[_leading(inside_WP)], into_WP[inside_WP]
    window = window_WP[inside_WP]
    last_V = torch.full((crop_CZYX[0].numel(),), -1, device=rng.device)
    last_V.scatter_reduce_(0, into, window, "amax")
    stays = last_V[into] == window
    flat_CV = crop_CZYX.reshape(num_channels, -1)
    out_CV = flat_CV.clone()
    into, taken = into[stays].to(crop_CZYX.device), taken[stays].to(crop_CZYX.device)
    out_CV[:, into] = flat_CV[:, taken]
    return out_CV.view_as(crop_CZYX)


def _leading(inside_WP: Tensor) -> Tensor:
    """As many places of each row as are inside, the first ones."""
    places = torch.arange(inside_WP.shape[1], device=inside_WP.device)
    return places < inside_WP.sum(1, keepdim=True)


def _interpolated(crops_NCZYX: Tensor, levels_NK: Tensor, becoming_NK: Tensor) -> Tensor:
    value_NV = crops_NCZYX.reshape(len(crops_NCZYX), -1).clamp(0, 1)
    node_NV = (torch.searchsorted(levels_NK, value_NV, right=True) - 1).clamp(max=levels_NK.shape[1] - 2)
    low_NV, high_NV = becoming_NK.gather(1, node_NV), becoming_NK.gather(1, node_NV + 1)
    start_NV, end_NV = levels_NK.gather(1, node_NV), levels_NK.gather(1, node_NV + 1)
    # Beyond the last node that differs there is no line to follow: its end.
    share_NV = torch.where(end_NV > start_NV, (value_NV - start_NV) / (end_NV - start_NV), 1.0).clamp(0, 1)
    return torch.lerp(low_NV, high_NV, share_NV).view_as(crops_NCZYX)


def _boxes(
    num: int,
    shape_zyx: tuple[int, ...],
    sizes: tuple[Sizes, Sizes],
    *,
    border: int,
    num_boxes: int,
    rng: torch.Generator,
) -> Tensor:
    """True within each of ``num_boxes`` boxes of every item, (N, B, Z, Y, X)."""
    shape, least, most = (torch.from_numpy(np.array(three)).to(rng.device) for three in (shape_zyx, *sizes))
    size_NB3 = least + (_uniform((num, num_boxes, 3), rng) * (most - least + 1)).long()
    kept_NB3 = ((shape - size_NB3) // 2).clamp(max=border)
    start_NB3 = kept_NB3 + (_uniform((num, num_boxes, 3), rng) * (shape - size_NB3 - 2 * kept_NB3 + 1)).long()
    inside = []
    for axis, length in enumerate(shape_zyx):
        places = torch.arange(length, device=rng.device)
        start, end = start_NB3[..., axis, None], (start_NB3 + size_NB3)[..., axis, None]
        inside.append((places >= start) & (places < end))
    z_NBZ, y_NBY, x_NBX = inside
    return z_NBZ[..., :, None, None] & y_NBY[..., None, :, None] & x_NBX[..., None, None, :]


def _union(boxes_NBZYX: Tensor, wanted_NB: Tensor) -> Tensor:
    return (boxes_NBZYX & wanted_NB[..., None, None, None]).any(dim=1, keepdim=True)


def _shares(boxes_NBZYX: Tensor) -> Tensor:
    """The share of voxels that are in a box or one before it, (N, B)."""
    return boxes_NBZYX.flatten(2).cummax(dim=1).values.float().mean(2)


def _uniform(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=rng, device=rng.device)
