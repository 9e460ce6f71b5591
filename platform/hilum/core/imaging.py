"""Study and Volume: what was acquired, of whom, and where its voxels are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hilum.core.geometry import Grid, Patch, Zyx

Side = Literal["pool", "validation", "test"]
SIDES: tuple[Side, ...] = ("pool", "validation", "test")

HOUNSFIELD = ("CT", "OT")
"""Modalities whose grey levels may be Hounsfield units: a NIfTI does not say what it is."""

BACKGROUND_SHARE = 0.05
"""Up to this share of the way from a volume's low to its high is background."""


@dataclass(frozen=True)
class Study:
    """One examination of one pseudonymous patient."""

    study_id: str
    patient_id: str


@dataclass(frozen=True)
class Volume:
    """One stored array and its grid.

    A scan is one item. A stack (many small frames or blocks of one patient in one array)
    has several, one after the other along Z, each ``item_shape_zyx`` large: candidates of a
    stack never straddle two items. A 2D image is a volume with Z = 1.

    ``classes`` holds the class of each item (−1: unknown), or is empty.
    ``side`` is the side of the split that the data's owner declared, if any. ``tags`` are
    what is kept of its header, by DICOM keyword, of the machine and never of the person;
    ``flags`` are warnings: 'burned_in_text', 'face', 'gantry_tilt'.
    """

    volume_id: str
    study: Study
    grid: Grid
    item_shape_zyx: Zyx
    num_channels: int
    modality: str
    low: float
    high: float
    has_label_map: bool
    classes: tuple[int, ...] = ()
    side: Side | None = None
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)
    flags: tuple[str, ...] = ()

    @property
    def num_items(self) -> int:
        return self.grid.shape_zyx[0] // self.item_shape_zyx[0]

    @property
    def background_level(self) -> float:
        """The highest grey level that counts as background."""
        return self.low + BACKGROUND_SHARE * (self.high - self.low)

    def item_index(self, patch: Patch) -> int:
        """Which item of the stack a patch lies in."""
        return patch.start_zyx[0] // self.item_shape_zyx[0]
