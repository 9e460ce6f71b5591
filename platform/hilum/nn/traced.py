"""Padding and cropping as an exporter can follow them: by index, without a question about the size.

`torch.export` writes one program for every size. A padding that is skipped where nothing is
missing would hold for the traced size alone, so here every axis is gathered by index: the same
voxels as by `functional.pad(mode="replicate")` and by a slice.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def pad_traced(images_NCS: Tensor, multiples: Sequence[int]) -> Tensor:
    """`blocks.pad_to_multiple` with one multiple an axis."""
    for axis, multiple in enumerate(multiples, start=2):
        size = images_NCS.shape[axis]
        # Not -(-size // multiple): a division in ONNX rounds towards zero.
        padded = torch.sym_max(2, (size + multiple - 1) // multiple) * multiple  # type: ignore[no-untyped-call]
        last_again = torch.arange(padded, device=images_NCS.device).clamp(max=size - 1)
        images_NCS = images_NCS.index_select(axis, last_again)
    return images_NCS


def crop_traced(images_NCS: Tensor, space: Sequence[int]) -> Tensor:
    """`blocks.crop_to`."""
    for axis, size in enumerate(space, start=2):
        images_NCS = images_NCS.index_select(axis, torch.arange(size, device=images_NCS.device))
    return images_NCS
