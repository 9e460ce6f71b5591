"""Where voxels come from when images are turned, bent, blurred or coarsened, a whole batch at once.

Shape letters: N = items, C = channels, S = space (Y, X or Z, Y, X), k = number of axes,
K = knots, L = length of an axis. Everything is a function of numbers that somebody else drew.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from hilum.core.asking import IGNORE


def resampled(images_NCS: Tensor, labels_NS: Tensor | None, grid_NSk: Tensor) -> tuple[Tensor, Tensor | None]:
    """What lies at the places of a grid: images linearly, labels by the nearest voxel, IGNORE outside."""
    images_NCS = grid_sample(images_NCS, grid_NSk, padding_mode="border", align_corners=False)
    if labels_NS is None:
        return images_NCS, None
    # As how far they are from IGNORE, since what is outside is sampled as 0. Labels are below 2¹⁶: exact in float32.
    from_ignore = grid_sample((labels_NS[:, None] - IGNORE).float(), grid_NSk, mode="nearest", align_corners=False)
    return images_NCS, from_ignore[:, 0].to(labels_NS.dtype) + IGNORE


def turned_and_scaled(angles_aN: dict[str, Tensor], scale_N: Tensor, like_NCS: Tensor) -> Tensor:
    """Where each output voxel comes from, (N, S, k) in −1…1, x first. Voxels stay square where axes differ."""
    num = like_NCS.ndim - 2
    rotation_Nkk = torch.eye(num).expand(len(scale_N), num, num)
    for axis, angle_N in angles_aN.items():
        rotation_Nkk = rotation_Nkk @ _about(axis, angle_N, num)
    matrix_Nkk = rotation_Nkk / scale_N[:, None, None]
    sizes = torch.tensor(like_NCS.shape[:1:-1], dtype=torch.float32)
    # Not for the diagonal: x · 3 / 3 need not be x.
    stretched_Nkk = matrix_Nkk * sizes[None, :] / sizes[:, None]
    matrix_Nkk = torch.where(torch.eye(num, dtype=torch.bool), matrix_Nkk, stretched_Nkk)
    theta = torch.cat([matrix_Nkk, torch.zeros(len(scale_N), num, 1)], dim=2).to(like_NCS.device)
    return affine_grid(theta, list(like_NCS.shape), align_corners=False)


def bent(moves_NkK: Tensor, every: float, like_NCS: Tensor) -> Tensor:
    """Where each output voxel comes from when knots ``every`` so many voxels move, in voxels, x first.

    Between knots the moves are a cubic B-spline: smooth, and never longer than those of the knots.
    """
    num = like_NCS.ndim - 2
    for axis, size in enumerate(like_NCS.shape[2:]):
        moves_NkK = _matmul(_spline(size, every), moves_NkK, axis + 2)
    halves = torch.tensor(like_NCS.shape[:1:-1], dtype=torch.float32) / 2
    still_NSk = affine_grid(
        torch.eye(num, num + 1).expand(len(like_NCS), num, num + 1), list(like_NCS.shape), align_corners=False
    )
    return (still_NSk + moves_NkK.movedim(1, -1) / halves).to(like_NCS.device)


def num_knots(size: int, every: float) -> int:
    """Knots of an axis: one beyond each end, and one more for the last piece."""
    return int(-(-size // every)) + 3


def mixed(images_NCS: Tensor, matrices: Sequence[Tensor | None]) -> Tensor:
    """Each item's voxels mixed along every axis by a matrix (N, L, L) of its own, rows of weights; or not."""
    for axis, matrix_NLL in enumerate(matrices):
        if matrix_NLL is not None:
            images_NCS = _matmul(matrix_NLL.to(images_NCS), images_NCS, axis + 2)
    return images_NCS


def blurring(std_N: Tensor, size: int) -> Tensor:
    """Weights of a Gaussian, (N, L, L); at an end what is missing is left out. No blur where ``std_N`` is 0."""
    # A tenth of a voxel is no blur in float32, and nothing is divided by nothing.
    either_way = torch.exp(-0.5 * (torch.arange(1.0 - size, size) / std_N.clamp(min=0.05)[:, None]) ** 2)
    # Every row is the same bell, one voxel further: windows of it, and no exponential for each of L² weights.
    weights_NLL = either_way.unfold(1, size, 1).flip(1)
    return weights_NLL / weights_NLL.sum(dim=2, keepdim=True)


def coarsening(share_N: Tensor, size: int) -> Tensor:
    """Weights that leave ``share`` of an axis' resolution, (N, L, L): means over thicker voxels, joined linearly."""
    return torch.stack([_coarse_and_back(size, max(1, round(float(share) * size))) for share in share_N])


@lru_cache(maxsize=64)
def _coarse_and_back(size: int, num: int) -> Tensor:
    if num >= size:
        return torch.eye(size)
    thick = size / num
    starts_l = torch.arange(num, dtype=torch.float32)[:, None] * thick
    fine_L = torch.arange(size, dtype=torch.float32)
    overlap_lL = (torch.minimum(starts_l + thick, fine_L + 1) - torch.maximum(starts_l, fine_L)).clamp(min=0)
    middles_L = ((fine_L + 0.5) / thick - 0.5).clamp(0, num - 1)
    linear_Ll = (1 - (middles_L[:, None] - torch.arange(num)).abs()).clamp(min=0)
    return linear_Ll @ (overlap_lL / overlap_lL.sum(dim=1, keepdim=True))


def _about(axis: str, angle_N: Tensor, num: int) -> Tensor:
    """A rotation about one axis, (N, k, k), x first."""
    first, second = {"z": (0, 1), "y": (2, 0), "x": (1, 2)}[axis]
    matrix_Nkk = torch.eye(num).repeat(len(angle_N), 1, 1)
    matrix_Nkk[:, first, first] = matrix_Nkk[:, second, second] = angle_N.cos()
    matrix_Nkk[:, second, first] = angle_N.sin()
    matrix_Nkk[:, first, second] = -angle_N.sin()
    return matrix_Nkk


def _spline(size: int, every: float) -> Tensor:
    """Uniform cubic B-spline weights of the knots for every voxel, (L, K); each row sums to one."""
    at_L = (torch.arange(size, dtype=torch.float32) + 0.5) / every
    apart_LK = (at_L[:, None] + 1 - torch.arange(num_knots(size, every))).abs()
    near = 2 / 3 - apart_LK**2 + apart_LK**3 / 2
    far = (2 - apart_LK).clamp(min=0) ** 3 / 6
    return torch.where(apart_LK < 1, near, far)


def _matmul(matrix: Tensor, values: Tensor, axis: int) -> Tensor:
    """``matrix`` (M, L) or (N, M, L) applied along one axis of ``values`` (N, …, L, …)."""
    before, after = values.shape[1:axis], values.shape[axis + 1 :]
    flat = values.reshape(len(values), -1, values.shape[axis], after.numel())
    rows = matrix if matrix.ndim == 2 else matrix[:, None]
    # Along the last axis one product of the whole is faster than many of one column.
    done = (flat[..., 0] @ matrix.mT)[..., None] if after.numel() == 1 else rows @ flat
    return done.reshape(len(values), *before, matrix.shape[-2], *after)
