"""From a click, a box or a scribble on a page to an outline: what interactive pre-annotation draws.

With a model the outline is the part of its probability map that holds what was pointed at: the pixels at or above a
level that is one half, or lower where the model was less sure of the pixel clicked, and only the connected parts
that a prompt touches. What the model does not see at all (below `FAINT`), and everything where there is no model, is
grown from the grey levels instead: ITK's confidence-connected region growing from clicks and scribbles, Otsu's
threshold inside a box. Negative prompts raise the level, or hold the growing back, until they are outside.

It looks at one page and follows grey levels or one model: it draws no shape it cannot see, needs a click inside the
thing itself, and where edges are missing it gives up rather than flood the page. Shape letters: A, B = the two axes of
the patch that a page shows, in the array's own order.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from hilum.adapters.label_studio.asked import Asked
from hilum.adapters.label_studio.brush_rle import Mask
from hilum.adapters.label_studio.regions import NothingSaid, Region, read_region
from hilum.adapters.label_studio.template import CONTROLS, IMAGE
from hilum.core.asking import IGNORE, LabelMap
from hilum.core.errors import DataError

FAINT = 0.05
"""The model is said not to see what it gives less than this."""

MOST_PROMPTS = 64
_HALF = 0.5
_MOST_GROWN = 0.5
_SPREADS = (2.5, 2.0, 1.5, 1.0)
"""Standard deviations around the seed's grey level that still belong to it, the widest that does not leak first."""

_ROUNDS = 3
_EVERY_NEIGHBOUR = np.ones((3, 3), dtype=bool)

Sort = Literal["click", "box", "scribble"]
Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Prompt:
    """One hint on a page. ``where`` are the voxels it covers."""

    sort: Sort
    class_id: int
    plane: int
    where: Mask
    is_positive: bool = True


def prompts_of(context: object, asked: Asked) -> tuple[Prompt, ...]:
    """The prompts that Label Studio's interface sends (``params.context``), those outside the patch left out.

    DataError when one cannot be read, or there are none or too many.
    """
    results = context.get("result") if isinstance(context, dict) else None
    if not isinstance(results, list) or not 1 <= len(results) <= MOST_PROMPTS:
        raise DataError(f"The context has no list of 1 to {MOST_PROMPTS} results.")
    found = []
    for place, result in enumerate(results):
        if not isinstance(result, dict):
            raise DataError(f"Result {place + 1} of the context is no object of JSON.")
        region = read_region(_completed(result, asked), place, asked)
        if not isinstance(region, NothingSaid) and region.plane is not None:
            found.append(_prompt(region, asked, is_positive=result.get("is_positive", True) is not False))
    return tuple(found)


def outlined(
    asked: Asked, prompts: Sequence[Prompt], grey_ZYX: npt.NDArray[Any], probabilities_CZYX: Floats | None
) -> LabelMap:
    """A label map of the patch: what is pointed at on the page of the newest positive prompt, `IGNORE` elsewhere.

    Prompts of its class count, and those of the background, which are negative.
    """
    label_map_ZYX = np.full(asked.pages.patch.shape_zyx, IGNORE, dtype=np.uint16)
    positive = [p for p in prompts if p.is_positive]
    if not positive:
        return label_map_ZYX
    newest = positive[-1]
    together = [p for p in prompts if p.plane == newest.plane and p.class_id in {0, newest.class_id}]
    axis = asked.pages.through[0]
    grey_AB = np.take(grey_ZYX, newest.plane, axis=axis).astype(np.float32)
    probability_AB = None
    if probabilities_CZYX is not None:
        probability_AB = np.take(probabilities_CZYX[newest.class_id], newest.plane, axis=axis)
    plane_AB = label_map_ZYX[(slice(None),) * axis + (newest.plane,)]
    plane_AB[outline(together, grey_AB, probability_AB)] = newest.class_id
    return label_map_ZYX


def outline(prompts: Sequence[Prompt], grey_AB: Floats, probability_AB: Floats | None) -> Mask:
    """The pixels that prompts of one class on one page point at; none where nothing positive was said."""
    boxes = _union([p for p in prompts if p.sort == "box" and p.is_positive], grey_AB.shape)
    seeds = _union([p for p in prompts if p.sort != "box" and p.is_positive], grey_AB.shape)
    against = _union([p for p in prompts if not p.is_positive], grey_AB.shape)
    if not (boxes.any() or seeds.any()):
        return np.zeros(grey_AB.shape, dtype=bool)
    allowed = (boxes if boxes.any() else np.ones(grey_AB.shape, dtype=bool)) & ~against
    seeds &= allowed
    seen = None if probability_AB is None else _seen(probability_AB, seeds, against, allowed)
    if seen is not None:
        return seen
    return _grown(grey_AB, seeds, against, allowed) if seeds.any() else _thresholded(grey_AB, allowed)


def _seen(probability_AB: Floats, seeds: Mask, against: Mask, allowed: Mask) -> Mask | None:
    """What the model sees there, or None where it sees nothing, or cannot tell yes from no."""
    if seeds.any():
        # A scribble may slip over an edge: nine tenths of it count.
        sure = float(np.quantile(probability_AB[seeds], 0.1))
    else:
        sure = float(probability_AB[allowed].max(initial=0.0))
        sure = sure if sure >= _HALF else sure / 2
    level = min(_HALF, sure)
    if against.any():
        level = max(level, float(np.nextafter(np.float32(probability_AB[against].max()), np.float32(2))))
    if level < FAINT or level > sure:
        return None
    inside = (probability_AB >= level) & allowed
    return _touched(inside, seeds) if seeds.any() else inside


def _grown(grey_AB: Floats, seeds: Mask, against: Mask, allowed: Mask) -> Mask:
    """Grown from the seeds as widely as neither leaks nor takes in what it must not; the seeds where all does."""
    sitk: Any = importlib.import_module("SimpleITK")
    image = sitk.GetImageFromArray(np.ascontiguousarray(grey_AB, dtype=np.float32))
    points = [(int(b), int(a)) for a, b in np.argwhere(seeds)[:: max(1, int(seeds.sum()) // 256)]]
    for spread in _SPREADS:
        grown = sitk.ConfidenceConnected(
            image, points, numberOfIterations=_ROUNDS, multiplier=spread, initialNeighborhoodRadius=1, replaceValue=1
        )
        mask = sitk.GetArrayFromImage(grown).astype(bool)
        leaks = mask.sum() > _MOST_GROWN * mask.size and not allowed.sum() < mask.size
        if not leaks and not (mask & against).any():
            return _touched((mask | seeds) & allowed, seeds)
    return seeds


def _thresholded(grey_AB: Floats, box: Mask) -> Mask:
    """The side of Otsu's threshold inside the box that its rim has least of (https://doi.org/10.1109/TSMC.1979.4310076)."""
    values = grey_AB[box]
    if values.size == 0 or values.max() <= values.min():
        return np.zeros_like(box)
    sitk: Any = importlib.import_module("SimpleITK")
    column = sitk.GetImageFromArray(np.ascontiguousarray(values[None], dtype=np.float32))
    below = np.zeros_like(box)
    below[box] = sitk.GetArrayFromImage(sitk.OtsuThreshold(column, 1, 0)).astype(bool)[0]
    rim = box & ~ndimage.binary_erosion(box)
    return box & (~below if below[rim].mean() >= _HALF else below)


def _touched(mask: Mask, seeds: Mask) -> Mask:
    """The connected parts (by edges and corners) that hold a seed."""
    labels, _ = ndimage.label(mask, structure=_EVERY_NEIGHBOUR)
    held = np.unique(labels[seeds & mask])
    touched: Mask = np.isin(labels, held[held > 0])
    return touched


def _union(prompts: Sequence[Prompt], shape: tuple[int, ...]) -> Mask:
    covered = np.zeros(shape, dtype=bool)
    for prompt in prompts:
        covered |= prompt.where
    return covered


def _completed(result: dict[str, Any], asked: Asked) -> dict[str, Any]:
    """A context's result as those of annotations are: some interfaces leave out which control it is of."""
    control = next((c.name for c in CONTROLS[asked.kind] if c.region == result.get("type")), None)
    return {"from_name": control, "to_name": IMAGE, **result}


def _prompt(region: Region, asked: Asked, *, is_positive: bool) -> Prompt:
    assert region.plane is not None
    axis = asked.pages.through[0]
    patch = asked.pages.patch
    shape = [n for k, n in enumerate(patch.shape_zyx) if k != axis]
    where = np.zeros(shape, dtype=bool)
    sort: Sort = "scribble"
    if region.point_zyx is not None:
        sort = "click"
        a, b = (v - s for k, (v, s) in enumerate(zip(region.point_zyx, patch.start_zyx, strict=True)) if k != axis)
        where[a, b] = True
    elif region.box is not None:
        sort = "box"
        rows, columns = (
            slice(start - offset, stop - offset)
            for k, (start, stop, offset) in enumerate(
                zip(region.box.start_zyx, region.box.stop_zyx, patch.start_zyx, strict=True)
            )
            if k != axis
        )
        where[rows, columns] = True
    elif region.voxels is not None:
        sort = "box" if region.control.region == "rectanglelabels" else "scribble"
        where |= region.voxels
    else:
        raise DataError(f"A {region.control.name} is no prompt; point, draw a box or scribble.")
    class_id = asked.class_names.index(region.label)
    return Prompt(sort, class_id, region.plane, where, is_positive and class_id > 0)
