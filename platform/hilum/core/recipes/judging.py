"""How a model is judged: on whom, by what, and when it is good enough."""

from itertools import pairwise
from typing import Literal

from pydantic import Field, model_validator

from hilum.core.recipes.base import Choice, Recipe


class EvaluateRecipe(Recipe):
    """Metrics on held-out patients, each with a bootstrap interval over patients or items.

    Segmentation answers by windows that share ``overlap`` of their length with the next. The
    answer is the mean over ``members``: ``{kind: heads}`` is the ensemble of a UNet++'s heads.
    ``sides`` says whose patients are looked at: a sweep must not see the test side.
    ``surface_tolerance_mm`` is how far a surface may lie off and still be right; None measures no
    surfaces. Lesions, components whose voxels are among each other's ``lesion_neighbours``, are
    told by size in bands of diameter that ``lesion_bands_mm`` part, and found when at least
    ``lesion_overlap`` of one is covered (0: any voxel).
    """

    sides: tuple[Literal["validation", "test"], ...] = ("validation", "test")
    members: Choice = Choice(kind="single")
    overlap: float = Field(default=0.5, ge=0, lt=1)
    surface_tolerance_mm: float | None = Field(default=1.0, ge=0, allow_inf_nan=False)
    lesion_bands_mm: tuple[float, ...] = (6.0, 10.0)
    lesion_overlap: float = Field(default=0.0, ge=0, le=1)
    lesion_neighbours: Literal[6, 18, 26] = 26
    num_resamples: int = Field(default=500, ge=0)
    confidence: float = Field(default=0.95, gt=0, lt=1)
    seed: int = 0

    @model_validator(mode="after")
    def _bands_ascend(self) -> "EvaluateRecipe":
        edges = (0.0, *self.lesion_bands_mm)
        if not all(low < high for low, high in pairwise(edges)):
            raise ValueError(f"lesion_bands_mm must ascend from above 0, such as [6, 10]; given {self.lesion_bands_mm}")
        return self


class PromoteRecipe(Recipe):
    """Promote when ``metric`` on the validation side is not worse than the champion's by more than ``tolerance``.

    ``metric`` 'auto' is balanced accuracy for classify and mean foreground Dice for segment.
    """

    metric: str = "auto"
    tolerance: float = Field(default=0.002, ge=0)


class PruneRecipe(Recipe):
    """The shallowest depth whose ``metric`` on validation patients is within ``tolerance`` of the deepest's.

    ``depth`` forces one. ``metric`` 'auto' is the one that promotes.
    """

    tolerance: float = Field(default=0.01, ge=0)
    depth: int | None = Field(default=None, ge=1)
    metric: str = "auto"
    evaluate: EvaluateRecipe = EvaluateRecipe()


class CalibrateRecipe(Recipe):
    """What serving compares production with, looked up once in a checkpoint's own images.

    At most ``num_items`` patches of the pool side and as many items (or windows) of the validation side are looked
    at, and of each segmented item about ``voxels_per_item`` voxels say how sure the model may be. A patch is unlike
    what the model knows when it is farther from it than the share ``familiar_share`` of validation patches.
    ``members`` and ``overlap`` are those of the answers that are served.
    """

    num_items: int = Field(default=1024, ge=2)
    voxels_per_item: int = Field(default=2048, ge=1)
    familiar_share: float = Field(default=0.99, gt=0, lt=1)
    members: Choice = Choice(kind="single")
    overlap: float = Field(default=0.5, ge=0, lt=1)
    seed: int = Field(default=0, ge=0)
