"""How images should be prepared before they are asked about: spacing, orientation, window. Pure.

A store that was ingested keeps what was said then; where nothing was said and the images
differ, the plan says it, and they are ingested anew with it.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from hilum.core.fingerprint import Fingerprint, Numbers
from hilum.core.geometry import Zyx
from hilum.core.recipes import WINDOWS_HU, PrepareRecipe

ANISOTROPIC = 3.0
"""nnU-Net's threshold: the coarse axis this many times coarser than the finest."""

_ALIKE = 0.05
_AIR_HU = -500.0


@dataclass
class Preparation:
    """Decisions for ``ingest.prepare`` (key, value, reason), and what images measure afterwards."""

    spacing_mm_zyx: Numbers
    median_shape_zyx: Zyx
    least_shape_zyx: Zyx
    decisions: list[tuple[str, Any, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_new: bool = False


def planned_preparation(fingerprint: Fingerprint, ingested: PrepareRecipe, *, as_ingested: bool) -> Preparation:
    """What the plan says of preparing: what was said at ingest, and what should have been."""
    shapes = fingerprint.item_shape_zyx
    spacing = fingerprint.spacing_mm_zyx.median
    found = Preparation(spacing, _whole(shapes.median), _whole(shapes.least))
    said = ingested.model_dump(mode="json", exclude_defaults=True)
    found.decisions += [(key, value, "as the images were ingested") for key, value in said.items()]
    if as_ingested or max(shapes.median) == 1:
        return found
    before = len(found.decisions)
    if fingerprint.num_orientations > 1 and ingested.orientation is None:
        _orient(found, fingerprint)
    if ingested.spacing_mm_zyx is None and shapes.most[0] > 1:
        _resample(found, fingerprint)
    if ingested.window == PrepareRecipe().window:
        _window(found, fingerprint)
    found.is_new = len(found.decisions) > before
    return found


def target_spacing(fingerprint: Fingerprint) -> tuple[Numbers, str]:
    """nnU-Net's rule: the median; of a coarse axis its 10th percentile, but no finer than the others are."""
    spacing, shape = fingerprint.spacing_mm_zyx, fingerprint.item_shape_zyx.median
    target = list(spacing.median)
    why = f"median spacing of {fingerprint.num_volumes} volumes is {_mm(spacing.median)}"
    coarse = max(range(3), key=lambda axis: spacing.median[axis])
    others = [axis for axis in range(3) if axis != coarse]
    much_coarser = target[coarse] > ANISOTROPIC * max(target[axis] for axis in others)
    if much_coarser and shape[coarse] * ANISOTROPIC < min(shape[axis] for axis in others):
        target[coarse] = max(spacing.p10[coarse], *(target[axis] for axis in others))
        why += f"; axis {'ZYX'[coarse]} is more than 3 times coarser: its 10th percentile, {target[coarse]:.3g} mm"
    return (target[0], target[1], target[2]), why


def _orient(found: Preparation, fingerprint: Fingerprint) -> None:
    if not fingerprint.orientation_known or fingerprint.has_stacks:
        found.notes.append("images lie in different directions and some do not say how, so they cannot be turned alike")
        return
    why = f"scans lie in {fingerprint.num_orientations} different ways in their arrays"
    found.decisions.append(("orientation", "LPS", why))


def _resample(found: Preparation, fingerprint: Fingerprint) -> None:
    target, why = target_spacing(fingerprint)
    spread = fingerprint.spacing_mm_zyx
    if all(
        hi <= t * (1 + _ALIKE) and lo >= t * (1 - _ALIKE)
        for lo, t, hi in zip(spread.least, target, spread.most, strict=True)
    ):
        alike = f"spacings are {_mm(spread.least)} to {_mm(spread.most)}, all within 5 % of {_mm(target)}"
        found.notes.append(f"not resampled: {alike}")
        return
    if fingerprint.has_stacks or not fingerprint.spacing_known:
        found.notes.append(
            f"spacings differ ({_mm(spread.least)} to {_mm(spread.most)}), but these images cannot be resampled"
        )
        return
    found.decisions.append(
        ("spacing_mm_zyx", list(target), f"{why}; it goes from {_mm(spread.p10)} to {_mm(spread.p90)}")
    )
    extent = fingerprint.extent_mm_zyx
    found.spacing_mm_zyx = target
    found.median_shape_zyx = _whole(tuple(e / t for e, t in zip(extent.median, target, strict=True)))
    # Rounded down: no patch may be larger than what resampling leaves of the smallest scan.
    found.least_shape_zyx = _whole(tuple(e / t for e, t in zip(extent.least, target, strict=True)))


def _window(found: Preparation, fingerprint: Fingerprint) -> None:
    """CT has one scale for all scans; elsewhere each scan has its own, and ingest takes its percentiles."""
    is_ct = {name: _is_ct(name, fingerprint) for name in fingerprint.modalities}
    if not any(is_ct.values()):
        found.notes.append(
            "no window: outside CT each scan has a scale of its own, and its 0.5 and 99.5 percentiles are taken"
        )
        return
    if not all(is_ct.values()):
        found.notes.append(
            f"modalities are mixed ({', '.join(is_ct)}): each scan keeps its own 0.5 and 99.5 percentiles"
        )
        return
    name = max(is_ct, key=lambda one: (fingerprint.modalities[one], one))
    levels = fingerprint.grey_levels[name].foreground
    preset = next((p for p in WINDOWS_HU if any(p in c.lower() for c in fingerprint.class_names)), None)
    if levels is not None and levels[2] > levels[0]:
        window = {"low": float(math.floor(levels[0])), "high": float(math.ceil(levels[2]))}
        why = f"CT: 0.5 and 99.5 percentiles of the foreground are {levels[0]:.0f} and {levels[2]:.0f} HU"
        found.decisions.append(("window", window, why))
    elif preset is not None:
        found.decisions.append(("window", preset, f"CT, and a class is called after the window '{preset}'"))
    else:
        found.notes.append(
            "CT without labelled foreground: set ingest.prepare.window to the organ's preset, or plan again later"
        )


def _is_ct(name: str, fingerprint: Fingerprint) -> bool:
    """CT by name, or by air at −1000 HU where a file does not say what it is."""
    levels = fingerprint.grey_levels[name].all
    return name == "CT" or (name == "OT" and levels is not None and levels[0] <= _AIR_HU)


def _whole(sizes: tuple[float, ...]) -> Zyx:
    z, y, x = (max(1, math.floor(size + 1e-6)) for size in sizes)
    return z, y, x


def _mm(spacing: Numbers) -> str:
    return " × ".join(f"{mm:.3g}" for mm in spacing) + " mm"
