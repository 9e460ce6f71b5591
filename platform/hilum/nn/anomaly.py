"""Anomaly maps: how far a scan is from what a network that has learnt to restore scans makes of it.

Shape letters: C = channels, N = windows, Z, Y, X = space. Voxels lie between 0 and 1, and so do differences.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from hilum.core.errors import RecipeError
from hilum.core.geometry import Patch, Zyx
from hilum.nn.heads import Network
from hilum.nn.infer import sliding_window
from hilum.nn.pretext.pretext import Pretext
from hilum.nn.teacher import device_at_hand

Floats = npt.NDArray[np.float32]


def anomaly_map(image_CZYX: Floats, restored_CZYX: Floats) -> Floats:
    """|x − f(x)|, voxel by voxel."""
    difference: Floats = np.abs(image_CZYX - restored_CZYX)
    return difference


def restored(
    region: Patch,
    window_shape_zyx: Zyx,
    *,
    pretext: Pretext,
    network: Network,
    spatial_dims: int,
    read: Callable[[Patch], Floats],
    overlap: float = 0.5,
) -> Floats:
    """What the network makes of ``region`` (C, Z, Y, X), undamaged, window by window.

    RecipeError if its pretext restores nothing.
    """
    device = device_at_hand()
    network = network.to(device).eval()

    def restore(images_NCZYX: Floats) -> Floats:
        shown = torch.from_numpy(images_NCZYX).to(device)
        with torch.inference_mode():
            answer = pretext.restored(network, shown[:, :, 0] if spatial_dims == 2 else shown)
        if answer is None:
            raise RecipeError(
                "This checkpoint's pretext restores nothing, so it cannot say what a scan should look like. Take one "
                "that was pretrained with a restoring pretext, such as genesis, denoising or in_painting."
            )
        array: Floats = answer.float().cpu().numpy()
        return array[:, :, None] if spatial_dims == 2 else array

    return sliding_window(region, window_shape_zyx, read=read, predict=restore, overlap=overlap)
