"""Structures that somebody drew, put on the grid of the image they were drawn on.

Shape letters: Z, Y, X = space, P = points. DICOM's world is LPS, a Grid's is
RAS: x and y change sign.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hilum.core.errors import DataError
from hilum.core.geometry import Grid, Zyx

if TYPE_CHECKING:
    from pydicom import Dataset

BACKGROUND = "background"
CERTAIN = 255
"""The claim of who drew a line: inside or outside, nothing between."""
OVERLAP = "overlapping_labels"
PLACE_UNKNOWN = "position_unknown"
MAX_NAME = 64
_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
_IDENTIFYING = ("PatientName", "PatientID", "PatientBirthName", "PatientMotherBirthName", "OtherPatientNames")
_SHORTEST_WORD = 3


@dataclass(frozen=True)
class Structure:
    """One drawn structure: the voxels it claims, as positions in the flattened (Z, Y, X) image.

    ``claims`` says how strongly: 1 to `CERTAIN`.
    """

    name: str = field(repr=False)
    voxels: npt.NDArray[np.int64] = field(repr=False)
    claims: npt.NDArray[np.uint8] = field(repr=False)


@dataclass(frozen=True)
class DrawnLabels:
    """A label map, what its values mean (value 0 is the background), and warnings that travel with it."""

    label_map_zyx: npt.NDArray[np.uint16] = field(repr=False)
    class_names: tuple[str, ...]
    flags: tuple[str, ...] = ()


def draw(structures: Sequence[Structure], shape_zyx: Zyx, class_names: Sequence[str] = ()) -> DrawnLabels:
    """One label map of all structures; those that ``class_names`` does not name are left out.

    A voxel goes to the structure that claims it most; among equals to the smallest, so that
    a lesion stays visible inside its organ and an organ inside the body's outline.
    Structures of one name are one class.
    """
    names = tuple(class_names) or (BACKGROUND, *sorted({s.name for s in structures} - {BACKGROUND}))
    wanted = [s for s in structures if s.name in names[1:]]
    if not wanted:
        raise DataError(f"None of the {len(structures)} structures is called like one of the {len(names)} classes.")
    label_map = np.zeros(int(np.prod(shape_zyx)), dtype=np.uint16)
    strongest = np.zeros(label_map.size, dtype=np.uint8)
    overlapping = False
    for structure in sorted(wanted, key=lambda one: (one.voxels.size, one.name)):
        value, voxels, claims = names.index(structure.name), structure.voxels, structure.claims
        before = strongest[voxels]
        overlapping |= bool(((before > 0) & (label_map[voxels] != value)).any())
        wins = claims > before
        label_map[voxels[wins]] = value
        strongest[voxels[wins]] = claims[wins]
    return DrawnLabels(label_map.reshape(shape_zyx), names, (OVERLAP,) if overlapping else ())


def structure_name(text: object, identity: frozenset[str]) -> str:
    """A name as its author wrote it, in one line. Refused when it repeats the patient's name or number."""
    name = " ".join("".join(c if c.isprintable() else " " for c in str(text or "")).split())[:MAX_NAME].strip()
    if not name:
        raise DataError("A structure has no name; without one nobody knows what was drawn.")
    if identity & _words(name):
        raise DataError("A structure's name repeats the patient's name or number; rename it by what it shows.")
    return name


def identity_words(dataset: "Dataset") -> frozenset[str]:
    """The words by which this file's patient could be recognised in a free text of the same file."""
    return _words(" ".join(str(dataset.get(keyword) or "") for keyword in _IDENTIFYING))


def _words(text: str) -> frozenset[str]:
    found = re.findall(r"[^\W_]+", text.casefold())
    # A short number counts lesions; a long one is a patient's.
    return frozenset(w for w in found if len(w) >= _SHORTEST_WORD and not (w.isdecimal() and len(w) <= _SHORTEST_WORD))


def index_of_lps(grid: Grid, points_P3: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Fractional voxel indices (Z, Y, X) of points in DICOM's millimetres (x, y, z)."""
    offset = points_P3 * _LPS_TO_RAS - np.asarray(grid.origin_mm_xyz)
    # Rounded, so that a line drawn through voxel centres stays on them.
    indices: npt.NDArray[np.float64] = np.round(offset @ _index_per_mm(grid).T, 6)
    return indices


def index_steps_of_lps(grid: Grid, vector_mm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """How far a step of so many millimetres goes, in voxels along (Z, Y, X)."""
    steps: npt.NDArray[np.float64] = _index_per_mm(grid) @ (vector_mm * _LPS_TO_RAS)
    return steps


def _index_per_mm(grid: Grid) -> npt.NDArray[np.float64]:
    inverse: npt.NDArray[np.float64] = np.linalg.inv(np.asarray(grid.direction) * np.asarray(grid.spacing_mm_zyx))
    return inverse
