"""Layers in bfloat16, where that gives the same bits every time.

On a CPU, torch 2.13's oneDNN computes the gradient of a bfloat16 3D convolution's weights
from memory that nobody has written when its input is two voxels thick (Z = 2): other bits
at every call, and sometimes infinity. The deepest level of a network is that thin. Such
convolutions stay in float32; they are the cheapest there are.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_THINNEST = 3


@contextmanager
def autocast(device: torch.device, *, low: bool) -> Iterator[None]:
    """Run a network's layers in bfloat16 if ``low``, otherwise as they are."""
    if not low:
        yield
        return
    with torch.autocast(device.type, torch.bfloat16), _ThinConvolutionsInFloat32():
        yield


class _ThinConvolutionsInFloat32(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        thin = func is torch.conv3d and args[0].device.type == "cpu" and args[0].shape[2] < _THINNEST
        if not thin:
            return func(*args, **(kwargs or {}))
        with torch.autocast("cpu", enabled=False):
            exact = [arg.float() if isinstance(arg, Tensor) else arg for arg in args]
            return func(*exact, **(kwargs or {}))
