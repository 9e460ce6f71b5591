"""Slices put in order: by where they lie, never by file name or instance number.

A stack is refused when a slice is missing, is there twice or is of another kind: what would
come out is a body that nobody has. A tilted gantry shears the stack; the shear is kept in
its grid. Slices missing at either end leave no trace in geometry and cannot be noticed.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hilum.adapters.dicom_planes import VOLUMES_DIFFER_IN, Plane
from hilum.adapters.nifti import grid_of
from hilum.core.errors import DataError
from hilum.core.geometry import Grid

TOLERANCE = 0.05
"""How far a slice may lie from its place, as a part of the distance between slices."""
SAME_PLACE_MM = 0.01
TILT_DEGREES = 0.1
_SAME_DIRECTION = 1e-3
_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
_Vectors = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Stack:
    """Slices that make one volume, the first at index 0 of Z, and the grid they lie on."""

    planes: tuple[Plane, ...]
    grid: Grid
    flags: tuple[str, ...] = ()


def lay_out(planes: Sequence[Plane]) -> list[Stack]:
    """The volumes that these slices of one series make. Refused, saying which slice, unless all are whole."""
    stacks: list[Stack] = []
    for name in sorted({plane.stack for plane in planes}):
        of_stack = [plane for plane in planes if plane.stack == name]
        _check_alike(of_stack)
        volumes = _volumes(of_stack)
        stacks += [_stack(volume) for volume in volumes]
        # Only now: a gap says more than a count.
        if len({len(volume) for volume in volumes}) > 1:
            counts = ", ".join(str(len(volume)) for volume in volumes)
            raise DataError(f"The series has {len(volumes)} volumes of {counts} slices: slices of one are missing.")
    return stacks


def _check_alike(planes: Sequence[Plane]) -> None:
    """Refuse slices of different size, spacing or orientation: a scout among the slices, or two scans mixed."""
    first = planes[0]
    for what, values in (
        ("sizes (Y, X)", [p.shape_yx for p in planes]),
        ("pixel spacings (Y, X, mm)", [_nearest(p.spacing_mm_yx, first.spacing_mm_yx, 1e-3) for p in planes]),
        ("orientations", [_nearest((*p.along_x, *p.along_y), _directions(first), _SAME_DIRECTION) for p in planes]),
    ):
        tally = Counter(values)
        if len(tally) > 1:
            shares = ", ".join(f"{n} of {_brief(value)}" for value, n in tally.most_common(3))
            raise DataError(f"The series mixes slices of {len(tally)} {what}: {shares}. Give each a series of its own.")


def _nearest(values: tuple[float, ...], reference: tuple[float, ...], tolerance: float) -> tuple[float, ...]:
    near = all(abs(a - b) <= tolerance for a, b in zip(values, reference, strict=True))
    return reference if near else tuple(round(v, 2) for v in values)


def _directions(plane: Plane) -> tuple[float, ...]:
    return (*plane.along_x, *plane.along_y)


def _brief(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in values) + ")"


def _volumes(planes: Sequence[Plane]) -> list[list[Plane]]:
    """Slices parted into volumes where one place has several: by echo, time, b-value or what else differs."""
    distances = _distances(planes)
    order = sorted(range(len(planes)), key=lambda n: (distances[n], planes[n].file, planes[n].frame))
    places: list[list[Plane]] = []
    for n, before in zip(order, [None, *order[:-1]], strict=True):
        if before is None or distances[n] - distances[before] > SAME_PLACE_MM:
            places.append([])
        places[-1].append(planes[n])
    most = max(len(place) for place in places)
    if most == 1:
        return [[place[0] for place in places]]
    for column in range(len(VOLUMES_DIFFER_IN)):
        values = sorted({plane.apart[column] for plane in planes})
        if len(values) == most and all(len({p.apart[column] for p in place}) == len(place) for place in places):
            return [[p for place in places for p in place if p.apart[column] == value] for value in values]
    where, place = next((n, place) for n, place in enumerate(places) if len(place) == most)
    raise DataError(
        f"Slice {where + 1} of {len(places)}{_numbered(place)} is there {most} times, and nothing in the headers tells "
        "which volume each belongs to. Remove the copies."
    )


def _stack(planes: Sequence[Plane]) -> Stack:
    """One volume of slices that are already in order."""
    first, last = planes[0], planes[-1]
    normal = _normal(first)
    step = normal * first.thickness_mm
    flags = []
    if len(planes) > 1:
        _check_gaps(planes)
        step = (np.array(last.position) - np.array(first.position)) / (len(planes) - 1)
        _check_on_a_line(planes, step)
    cosine = abs(float(step @ normal)) / float(np.linalg.norm(step))
    if np.degrees(np.arccos(min(1.0, cosine))) > TILT_DEGREES or abs(first.tilt_degrees) > TILT_DEGREES:
        flags.append("gantry_tilt")
    affine = np.eye(4)
    affine[:3, 0] = np.array(first.along_x) * first.spacing_mm_yx[1] * _LPS_TO_RAS
    affine[:3, 1] = np.array(first.along_y) * first.spacing_mm_yx[0] * _LPS_TO_RAS
    affine[:3, 2] = step * _LPS_TO_RAS
    affine[:3, 3] = np.array(first.position) * _LPS_TO_RAS
    return Stack(tuple(planes), grid_of(affine, (len(planes), *first.shape_yx)), tuple(flags))


def _check_gaps(planes: Sequence[Plane]) -> None:
    """Refuse a stack whose slices are not all equally far apart, naming the first place where they are not."""
    distances = _distances(planes)
    apart = np.diff(distances)
    usual = float(np.sort(apart)[(len(apart) - 1) // 2])  # of an even number, the lower of the middle two
    wrong = np.flatnonzero(np.abs(apart - usual) > TOLERANCE * usual)
    if not len(wrong):
        return
    n = int(wrong[0])
    between = f"between slice {n + 1}{_numbered(planes[n : n + 1])} and slice {n + 2}{_numbered(planes[n + 1 : n + 2])}"
    times = float(apart[n]) / usual
    missing = round(times) - 1
    if missing >= 1 and abs(times - round(times)) <= TOLERANCE * max(1, round(times)):
        raise DataError(
            f"{missing} slice{'s are' if missing > 1 else ' is'} missing {between}, where there are {apart[n]:.4g} mm; "
            f"the others are {usual:.4g} mm apart. Bring the whole series."
        )
    raise DataError(
        f"The slices are not equally far apart: {apart[n]:.4g} mm {between}, {usual:.4g} mm elsewhere. "
        "Give each range a series of its own."
    )


def _check_on_a_line(planes: Sequence[Plane], step: _Vectors) -> None:
    """Refuse slices that shift sideways or drift: a regular grid would put them where they are not."""
    positions = np.array([plane.position for plane in planes])
    expected = positions[0] + np.arange(len(planes))[:, np.newaxis] * step
    off = np.linalg.norm(positions - expected, axis=1)
    n, allowed = int(off.argmax()), max(SAME_PLACE_MM, TOLERANCE * float(np.linalg.norm(step)))
    if off[n] > allowed:
        raise DataError(
            f"Slice {n + 1} of {len(planes)}{_numbered(planes[n : n + 1])} lies {off[n]:.3g} mm beside the line of the "
            f"others; at most {allowed:.3g} mm are allowed."
        )


def _normal(plane: Plane) -> _Vectors:
    normal: _Vectors = np.cross(np.array(plane.along_x), np.array(plane.along_y))
    return normal


def _distances(planes: Sequence[Plane]) -> _Vectors:
    """How far along the slices' common normal each lies, in mm."""
    distances: _Vectors = np.array([plane.position for plane in planes]) @ _normal(planes[0])
    return distances


def _numbered(planes: Sequence[Plane]) -> str:
    """' (instance number 7)': what a person finds it by in a viewer."""
    number = planes[0].instance_number
    return "" if number is None else f" (instance number {number})"
