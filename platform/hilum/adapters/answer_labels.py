"""From what a file holds to a label map of the question's classes: by number, or by name where it has names.

A segment that a program numbered 1 because it was drawn first is not class 1; its name says which it is.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.adapters.dicom_structures import MAX_NAME, Structure
from hilum.core.asking import IGNORE, LabelMap
from hilum.core.errors import DataError, unknown_name
from hilum.core.geometry import Zyx

UNANSWERED = "unanswered"
"""A segment of this name holds the voxels that a person leaves open."""

_UNDRAWN = -2
_NOTHING = "it answers no voxel at all"


def labels_by_number(values_ZYX: npt.NDArray[Any], num_classes: int) -> LabelMap:
    """Whole numbers as labels; DataError names one that is no class."""
    is_number = values_ZYX.dtype.kind in "iuf"
    if not is_number or not np.all(np.isfinite(values_ZYX)) or np.any(values_ZYX != np.rint(values_ZYX)):
        raise DataError("its voxels are not whole numbers; save a label map, not an image")
    # 65,535 is -1 as software with signed 16-bit voxels writes it.
    is_known = ((values_ZYX >= 0) & (values_ZYX < num_classes)) | (values_ZYX == -1) | (values_ZYX == IGNORE)
    if not is_known.all():
        raise DataError(
            f"it has the label {values_ZYX[~is_known].min():.10g}; allowed are 0 to {num_classes - 1}, "
            f"and {IGNORE} for voxels left unanswered"
        )
    whole = values_ZYX.astype(np.int64)
    whole[whole == -1] = IGNORE
    if np.all(whole == IGNORE):
        raise DataError(_NOTHING)
    return whole.astype(np.uint16)


def labels_by_name(structures: Sequence[Structure], shape_zyx: Zyx, class_names: Sequence[str]) -> LabelMap:
    """Named structures as labels, what nobody drew as background.

    A structure that holds no voxel may have any name. DataError for any other name that is no class, and where two
    classes claim one voxel: a voxel has one class, and only who drew it knows which.
    """
    drawn = np.full(int(np.prod(shape_zyx)), _UNDRAWN, np.int32)
    for structure in structures:
        if not structure.voxels.size:
            continue
        label = label_named(structure.name, class_names)
        before = drawn[structure.voxels]
        taken = (before != _UNDRAWN) & (before != label)
        if taken.any():
            other = _name_of(int(before[taken][0]), class_names)
            raise DataError(
                f"segments '{structure.name}' and '{other}' share {np.count_nonzero(taken):,} voxels; "
                "give each voxel to one of them"
            )
        drawn[structure.voxels] = label
    drawn[drawn == _UNDRAWN] = 0
    if np.all(drawn == IGNORE):
        raise DataError(_NOTHING)
    return drawn.reshape(shape_zyx).astype(np.uint16)


def label_named(name: str, class_names: Sequence[str]) -> int:
    """The class that a name means: its very name, or in any case and with spaces for underscores."""
    if name in class_names:
        return class_names.index(name)
    by_key = {_key(one): place for place, one in reversed(list(enumerate(class_names)))}
    if _key(name) in by_key:
        return by_key[_key(name)]
    if _key(name) == UNANSWERED:
        return IGNORE
    raise DataError(unknown_name("class", name[:40], class_names).removesuffix(".") + f"; or '{UNANSWERED}'")


def _key(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("\\", "/").split()).casefold()[:MAX_NAME].strip()


def _name_of(label: int, class_names: Sequence[str]) -> str:
    return UNANSWERED if label == IGNORE else class_names[label]
