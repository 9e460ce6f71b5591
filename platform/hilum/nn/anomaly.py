"""Anomaly maps: how far a scan is from what a network that has learnt to restore scans makes of it.

Shape letters: C = channels, N = windows, Z, Y, X = space. Voxels lie between 0 and 1, and so do differences.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from hilum.core.errors import RecipeError
from hilum.core.geometry import Patch, Zyx
from hilum.nn.heads import Network
from hilum.nn.infer import sliding_window
from hilum.nn.pretext.pretext import Pretext
from hilum.nn.teacher import device_at_hand

Floats = npt.NDArray[np.float32]


def seen_and_restored(
    region: Patch,
    window_shape_zyx: Zyx,
    *,
    zoom_zyx: tuple[float, float, float],
    pretext: Pretext,
    network: Network,
    spatial_dims: int,
    read: Callable[[Patch], Floats],
    overlap: float = 0.5,
) -> tuple[Floats, Floats]:
    """``region`` as the network sees it, undamaged, and what it makes of it (C, Z, Y, X), window by window.

    ``zoom_zyx`` says how many voxels the network sees for one of the region's: it learnt voxels of one size.
    RecipeError if its pretext restores nothing.
    """
    device = device_at_hand()
    network = network.to(device).eval()

    def look(images_NCZYX: Floats) -> Floats:
        images = torch.from_numpy(images_NCZYX).to(device)
        shown = _resized(images, [max(1, round(n * zoom)) for n, zoom in zip(images.shape[2:], zoom_zyx, strict=True)])
        with torch.inference_mode():
            answer = pretext.restored(network, shown[:, :, 0] if spatial_dims == 2 else shown)
        if answer is None:
            raise RecipeError(
                "This checkpoint's pretext restores nothing, so it cannot say what a scan should look like. Take one "
                "that was pretrained with a restoring pretext, such as genesis, denoising or in_painting."
            )
        said = answer.float()[:, :, None] if spatial_dims == 2 else answer.float()
        both: Floats = _resized(torch.cat([shown, said], dim=1), images.shape[2:]).cpu().numpy()
        return both

    both_CZYX = sliding_window(region, window_shape_zyx, read=read, predict=look, overlap=overlap)
    seen, restored = np.split(both_CZYX, 2)
    return seen, restored


def _resized(images_NCZYX: Tensor, space: Sequence[int]) -> Tensor:
    if tuple(images_NCZYX.shape[2:]) == tuple(space):
        return images_NCZYX
    return functional.interpolate(images_NCZYX, size=tuple(space), mode="trilinear", align_corners=False)
