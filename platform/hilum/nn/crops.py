"""Where a patch is cut from a larger answer.

Shape letters: Z, Y, X = space. ``places`` are flat indices of voxels, by class.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from hilum.core.asking import IGNORE, LabelMap
from hilum.core.geometry import Zyx

Indices = npt.NDArray[np.int64]

_PLACES_PER_CLASS = 10_000


def places_by_class(label_map_ZYX: LabelMap) -> dict[int, Indices]:
    """Voxels of every answered class, in the map's order; of a large class evenly spread ones."""
    flat = label_map_ZYX.ravel()
    found: dict[int, Indices] = {}
    for class_id in np.unique(flat):
        if class_id != IGNORE:
            places = np.flatnonzero(flat == class_id)
            found[int(class_id)] = places[:: -(-len(places) // _PLACES_PER_CLASS)]
    return found


def anywhere(given: Sequence[int], wanted: Zyx, rng: np.random.Generator) -> Zyx:
    """Where a crop of the shape ``wanted`` starts, all places alike."""
    z, y, x = (int(rng.integers(max(0, have - want) + 1)) for have, want in zip(given, wanted, strict=True))
    return z, y, x


def on_answers(
    label_map_ZYX: LabelMap,
    places: Mapping[int, Indices],
    wanted: Zyx,
    rng: np.random.Generator,
    *,
    foreground_share: float,
) -> Zyx:
    """A ``foreground_share`` of crops is centred on a voxel of a foreground class, every class as often.

    The others start anywhere; one that would hold nothing answered is centred on a voxel that is.
    """
    start = anywhere(label_map_ZYX.shape, wanted, rng)
    foreground = [class_id for class_id in sorted(places) if class_id != 0]
    if foreground and rng.random() < foreground_share:
        return _centred(_one_of(places[int(rng.choice(foreground))], rng), label_map_ZYX.shape, wanted)
    if places and not (label_map_ZYX[inside(start, wanted)] != IGNORE).any():
        answered = np.concatenate([places[class_id] for class_id in sorted(places)])
        return _centred(_one_of(answered, rng), label_map_ZYX.shape, wanted)
    return start


def inside(start: Zyx, wanted: Zyx) -> tuple[slice, ...]:
    return tuple(slice(first, first + size) for first, size in zip(start, wanted, strict=True))


def _one_of(places: Indices, rng: np.random.Generator) -> int:
    return int(places[rng.integers(len(places))])


def _centred(place: int, given: Sequence[int], wanted: Zyx) -> Zyx:
    """The crop around a voxel, moved inwards where it would reach beyond the border."""
    voxel = np.unravel_index(place, tuple(given))
    z, y, x = (
        int(np.clip(at - want // 2, 0, max(0, have - want)))
        for at, have, want in zip(voxel, given, wanted, strict=True)
    )
    return z, y, x
