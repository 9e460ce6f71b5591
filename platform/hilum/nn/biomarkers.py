"""What a mask measures: volume, RECIST diameters, surface, grey levels, parts and place, label by label.

Lengths run between the middles of the outermost voxels' faces, where a surface between inside and
outside lies (as PyRadiomics' meshes have it): a row of n voxels is n spacings long. Diameters are
of one connected part each, the longest of them all: RECIST measures lesions, not what lies between
two. Surface area and perimeter are counted by Crofton's formula in thirteen (four) directions (Lehmann and
Legland 2012, https://hdl.handle.net/10380/3342), for a staircase of voxel faces is half as long again.

Shape letters: Z, Y, X = space, P = points.
"""

import importlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from hilum.core.asking import IGNORE
from hilum.core.errors import DataError
from hilum.core.geometry import Grid, Zyx
from hilum.nn.lesions import label_components

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
LabelMap = npt.NDArray[np.unsignedinteger]

_CORNERS_TOO = 3
_AXIAL = 2
"""The patient's axis, of x, y and z, that axial planes lie across."""


@dataclass(frozen=True)
class Biomarkers:
    """One label's measures. What an image (one voxel thin) or a scan cannot have is None.

    The longest axial diameter and the longest one across it are RECIST 1.1's long and short axis
    (Eisenhauer 2009, https://doi.org/10.1016/j.ejca.2008.10.026), in the array's planes that lie nearest
    to axial (an image: in its own); ``axial_index`` says in which. ``box_*`` are in voxels, the centre in
    RAS+ millimetres.
    """

    label: int
    num_voxels: int
    num_parts: int
    volume_ml: float | None
    surface_mm2: float | None
    area_mm2: float | None
    perimeter_mm: float | None
    longest_axial_mm: float
    short_axis_mm: float
    axial_index: int
    longest_3d_mm: float | None
    mean: float | None
    sd: float | None
    centre_mm_xyz: tuple[float, float, float]
    box_start_zyx: Zyx
    box_shape_zyx: Zyx


def biomarkers(
    label_map_ZYX: LabelMap, grid: Grid, image_ZYX: npt.NDArray[Any] | None = None
) -> tuple[Biomarkers, ...]:
    """Measure every label but 0 and 65,535 (background and unanswered); empty for an empty mask."""
    for what, array in (("grid", np.empty(grid.shape_zyx, np.bool_)), ("image", image_ZYX)):
        if array is not None and array.shape != label_map_ZYX.shape:
            raise DataError(
                f"The mask is {label_map_ZYX.shape}, its {what} {array.shape} (Z, Y, X): they must be equal."
            )
    if np.iinfo(label_map_ZYX.dtype).max > IGNORE and label_map_ZYX.max(initial=0) > IGNORE:
        raise DataError(f"Labels must be 0 to 65,534; the mask holds {int(label_map_ZYX.max())}.")
    return tuple(_each_label(label_map_ZYX, grid, image_ZYX))


def _each_label(label_map_ZYX: LabelMap, grid: Grid, image_ZYX: npt.NDArray[Any] | None) -> Iterator[Biomarkers]:
    for place, box in enumerate(ndimage.find_objects(label_map_ZYX.astype(np.int32))):
        label = place + 1
        if box is None or label == IGNORE:
            continue
        mask = label_map_ZYX[box] == label
        start: Zyx = (box[0].start, box[1].start, box[2].start)
        shape: Zyx = (mask.shape[0], mask.shape[1], mask.shape[2])
        inside = None if image_ZYX is None else image_ZYX[box][mask].astype(np.float64)
        yield Biomarkers(
            label=label,
            num_voxels=int(mask.sum()),
            **_extent(mask, grid),
            **_diameters(mask, grid, start),
            mean=None if inside is None else float(inside.mean()),
            sd=None if inside is None else float(inside.std()),
            centre_mm_xyz=_centre(mask, grid, start),
            box_start_zyx=start,
            box_shape_zyx=shape,
        )


def _extent(mask: Bools, grid: Grid) -> Mapping[str, Any]:
    """Volume and surface; of an image area and perimeter."""
    thin = _thin_axis(grid)
    crofton = _crofton(mask, grid.spacing_mm_zyx, thin)
    if thin is not None:
        pixel_mm2 = math.prod(s for axis, s in enumerate(grid.spacing_mm_zyx) if axis != thin)
        return {
            "volume_ml": None,
            "surface_mm2": None,
            "area_mm2": float(mask.sum()) * pixel_mm2,
            "perimeter_mm": crofton,
        }
    voxel_mm3 = abs(float(np.linalg.det(_steps_mm(grid))))
    return {
        "volume_ml": float(mask.sum()) * voxel_mm3 / 1000,
        "surface_mm2": crofton,
        "area_mm2": None,
        "perimeter_mm": None,
    }


def _crofton(mask: Bools, spacing_mm_zyx: tuple[float, ...], thin: int | None) -> float:
    """The area of a mask's surface in mm² or, without its thin axis, the length of its outline in mm."""
    itk: Any = importlib.import_module("SimpleITK")
    padded = np.pad(mask, [(0, 0) if axis == thin else (1, 1) for axis in range(3)]).astype(np.uint8)
    spacing = [s for axis, s in enumerate(spacing_mm_zyx) if axis != thin]
    image = itk.GetImageFromArray(padded if thin is None else padded.squeeze(thin))
    image.SetSpacing(spacing[::-1])
    measure = itk.LabelShapeStatisticsImageFilter()
    measure.ComputePerimeterOn()
    measure.Execute(image)
    return float(measure.GetPerimeter(1))


def _diameters(mask: Bools, grid: Grid, start_zyx: Zyx) -> Mapping[str, Any]:
    """The longest diameters of any part, and how many parts there are."""
    across = _axis_across(grid)
    steps = _steps_mm(grid)
    parts, num_parts = label_components(mask, _CORNERS_TOO)
    axial, longest_3d = (0.0, 0.0, 0), 0.0
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        part = parts[box] == number
        longest_3d = max(longest_3d, _longest(_face_middles(part, steps)))
        first = box[across].start + start_zyx[across]
        axial = max(axial, _axial(np.moveaxis(part, across, 0), np.delete(steps, across, axis=1), first))
    return {
        "num_parts": num_parts,
        "longest_axial_mm": axial[0],
        "short_axis_mm": axial[1],
        "axial_index": axial[2],
        "longest_3d_mm": None if _thin_axis(grid) is not None else longest_3d,
    }


def _axial(part_SYX: Bools, steps_mm: Floats, first: int) -> tuple[float, float, int]:
    """The longest diameter in any one plane of a part, the longest across it, and the plane's index."""
    in_plane_mm = np.linalg.qr(steps_mm)[1]
    best = (0.0, 0.0, first)
    for place, plane in enumerate(part_SYX):
        if plane.any():
            outline = _hull(_face_middles(plane, in_plane_mm))
            long_mm, direction = _longest_and_direction(outline)
            if long_mm > best[0]:
                best = (long_mm, longest_chord(outline, np.array([-direction[1], direction[0]])), first + place)
    return best


def longest_chord(outline_P2: Floats, direction: Floats) -> float:
    """The longest straight line along ``direction`` (a unit vector) inside a convex outline, its points in order.

    It begins at a corner: between two corners the length changes evenly.
    """
    across = np.array([-direction[1], direction[0]])
    offset_P, along_P = outline_P2 @ across, outline_P2 @ direction
    longest = 0.0
    for corner in range(len(outline_P2)):
        crossings = [along_P[corner]]
        for a in range(len(outline_P2)):
            b = (a + 1) % len(outline_P2)
            low, high = sorted((offset_P[a], offset_P[b]))
            if low <= offset_P[corner] <= high and high > low:
                share = (offset_P[corner] - offset_P[a]) / (offset_P[b] - offset_P[a])
                crossings.append(along_P[a] + share * (along_P[b] - along_P[a]))
        longest = max(longest, float(max(crossings) - min(crossings)))
    return longest


def _longest(points_P3: Floats) -> float:
    return float(pdist(_hull(points_P3)).max())


def _longest_and_direction(outline_P2: Floats) -> tuple[float, Floats]:
    apart = outline_P2[:, None] - outline_P2[None]
    lengths = np.linalg.norm(apart, axis=-1)
    a, b = np.unravel_index(int(lengths.argmax()), lengths.shape)
    return float(lengths[a, b]), apart[a, b] / lengths[a, b]


def _hull(points: Floats) -> Floats:
    """The corners of the convex hull; in a plane in order. The middles of faces never lie flat."""
    hull: Floats = points[ConvexHull(points).vertices]
    return hull


def _face_middles(mask: Bools, steps_mm: Floats) -> Floats:
    """In mm, the middles of the faces of the voxels that end the rows along the last axis: the hull needs no others."""
    ends = mask & ~(_shifted(mask, 1) & _shifted(mask, -1))
    index = np.argwhere(ends)
    halves = np.concatenate([np.eye(mask.ndim), -np.eye(mask.ndim)]) / 2
    middles: Floats = (index[:, None] + halves).reshape(-1, mask.ndim) @ steps_mm.T
    return middles


def _shifted(mask: Bools, by: int) -> Bools:
    moved = np.zeros_like(mask)
    if by > 0:
        moved[..., 1:] = mask[..., :-1]
    else:
        moved[..., :-1] = mask[..., 1:]
    return moved


def _centre(mask: Bools, grid: Grid, start_zyx: Zyx) -> tuple[float, float, float]:
    z, y, x = (float(mean) + a for mean, a in zip(np.argwhere(mask).mean(axis=0), start_zyx, strict=True))
    wx, wy, wz = (float(c) for c in grid.index_to_world((z, y, x)))
    return wx, wy, wz


def _steps_mm(grid: Grid) -> Floats:
    """(world axis, array axis): how far one voxel along each array axis leads, in mm."""
    steps: Floats = np.asarray(grid.direction) * np.asarray(grid.spacing_mm_zyx)
    return steps


def _thin_axis(grid: Grid) -> int | None:
    return next((axis for axis, size in enumerate(grid.shape_zyx) if size == 1), None)


def _axis_across(grid: Grid) -> int:
    """The array axis across the planes that diameters are measured in."""
    thin = _thin_axis(grid)
    return grid.anatomical_axes()[_AXIAL][0] if thin is None else thin
