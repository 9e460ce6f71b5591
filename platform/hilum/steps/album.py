"""Pictures of a pretraining: crops as they were, as they were shown, as the network restores them.

Shape letters: N = items, C = channels, S = space (Y, X or Z, Y, X).
"""

import io
from collections.abc import Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from hilum.nn.heads import Network
from hilum.nn.pretext.pretext import Pretext
from hilum.nn.pretext.teaching import PuzzleTeacher
from hilum.steps.progress_file import PICTURES
from hilum.store.manifest import write_bytes

_MAX_CROPS = 4
_TITLES = ("before", "shown", "restored", "difference")
_SIDE_PX, _GAP_PX, _TITLE_PX = 160, 6, 18
_INK, _PAPER = 30, 255


class Album:
    """Draws a page every so many steps, and after the last."""

    def __init__(self, run_url: str, pretext: Pretext, teacher: PuzzleTeacher, *, every: int, last: int) -> None:
        self._url, self._pretext, self._teacher = run_url, pretext, teacher
        self._every, self._last = every, last

    def look(self, network: Network, num_steps: int) -> None:
        """Draw, if it is time and there is anything to see. The network is left as it was."""
        if num_steps % self._every and num_steps != self._last:
            return
        training = network.training
        network.eval()
        try:
            page = self._page(network)
        finally:
            network.train(training)
        if page is not None:
            write_bytes(f"{self._url}/{PICTURES}/step-{num_steps:08d}.png", page)

    def _page(self, network: Network) -> bytes | None:
        rows: list[list[npt.NDArray[np.float32]]] = []
        for shown, wanted, *_ in islice(self._teacher.all_held_out(), _MAX_CROPS):
            with torch.inference_mode():
                restored = self._pretext.restored(network, shown)
            if restored is None:
                return None
            for item in range(len(shown)):
                before, after = _slice_of(wanted[item]), _slice_of(restored[item])
                rows.append([before, _slice_of(shown[item]), after, np.abs(after - before)])
        return drawn(rows[:_MAX_CROPS], _TITLES) if rows else None


def _slice_of(image_CS: Tensor) -> npt.NDArray[np.float32]:
    """The first channel's slice in the middle."""
    image: npt.NDArray[np.float32] = image_CS[0].float().cpu().numpy()
    return image if image.ndim == 2 else image[image.shape[0] // 2]


def drawn(rows: list[list[npt.NDArray[np.float32]]], titles: Sequence[str]) -> bytes:
    """A PNG of images between 0 and 1, a column for each title."""
    step = _SIDE_PX + _GAP_PX
    page = Image.new("L", (len(titles) * step + _GAP_PX, len(rows) * step + _GAP_PX + _TITLE_PX), _PAPER)
    ink = ImageDraw.Draw(page)
    for column, title in enumerate(titles):
        ink.text((_GAP_PX + column * step, 4), title, fill=_INK)
        for number, row in enumerate(rows):
            grey = (np.clip(row[column], 0, 1) * 255).astype(np.uint8)
            tile = Image.fromarray(grey).resize((_SIDE_PX, _SIDE_PX), Image.Resampling.NEAREST)
            page.paste(tile, (_GAP_PX + column * step, _TITLE_PX + number * step))
    packed = io.BytesIO()
    page.save(packed, "PNG")
    return packed.getvalue()
