"""What images are like, in a page of numbers: spacings, sizes, grey levels, classes.

nnU-Net's word and idea (https://doi.org/10.1038/s41592-020-01008-z). The numbers are found by
the step `fingerprint` and read by whoever plans.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from hilum.core.recipes import Recipe, SplitRecipe

Numbers = tuple[float, float, float]


class FingerprintRecipe(Recipe):
    """How closely to look: so many blocks of each volume, and as many around its foreground."""

    num_blocks: int = Field(default=8, ge=1)
    split: SplitRecipe = SplitRecipe()
    seed: int = Field(default=0, ge=0)


class Spread(BaseModel):
    """How three numbers (Z, Y, X) vary from image to image."""

    model_config = ConfigDict(frozen=True)
    least: Numbers
    p10: Numbers
    median: Numbers
    p90: Numbers
    most: Numbers

    @classmethod
    def of(cls, rows: Sequence[Sequence[float]]) -> "Spread":
        """The spread of one row an image."""
        found = np.percentile(np.asarray(rows, dtype=np.float64), (0, 10, 50, 90, 100), axis=0)
        # Six digits: a spacing is measured to micrometres, and 0.7999999 comes of a file's float32.
        least, p10, median, p90, most = ((float(z), float(y), float(x)) for z, y, x in found.round(6))
        return cls(least=least, p10=p10, median=median, p90=p90, most=most)


class GreyLevels(BaseModel):
    """The 0.5, 50 and 99.5 percentiles of all voxels, and of those that a label map calls foreground."""

    model_config = ConfigDict(frozen=True)
    all: Numbers | None
    foreground: Numbers | None


class Fingerprint(BaseModel):
    """Images of one ingest, without those of the test side. Sizes are of items; lists follow ``class_names``."""

    model_config = ConfigDict(frozen=True)
    num_volumes: int
    num_items: int
    num_unreadable: int
    num_patients: int
    num_labelled: int
    num_classified: int
    has_stacks: bool
    spacing_known: bool
    orientation_known: bool
    num_orientations: int
    num_channels: list[int]
    spacing_mm_zyx: Spread
    item_shape_zyx: Spread
    extent_mm_zyx: Spread
    modalities: dict[str, int]
    grey_levels: dict[str, GreyLevels]
    class_names: list[str]
    class_voxels: list[int]
    class_volumes: list[int]
    class_items: list[int]

    @property
    def anisotropy(self) -> float:
        """How many times coarser the coarsest axis is than the finest, by median spacing."""
        return max(self.spacing_mm_zyx.median) / min(self.spacing_mm_zyx.median)
