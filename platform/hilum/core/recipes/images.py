"""Which images there are: how files become volumes, and which of their patches may be asked about."""

from typing import Any, Literal

from pydantic import Field, model_validator

from hilum.core.recipes.base import Millimetres, Orientation, Percentile, Plane, Recipe, ShapeZyx, Share


class SplitRecipe(Recipe):
    """Shares of patients held out. Sides declared at ingest win over these."""

    validation: Share = 0.15
    test: Share = 0.2
    seed: int = 0

    @model_validator(mode="after")
    def _something_is_left(self) -> "SplitRecipe":
        if self.validation + self.test >= 1:
            raise ValueError("validation + test must leave a share for the pool; make them sum to less than 1")
        return self


WINDOWS_HU: dict[str, tuple[float, float]] = {
    "lung": (-1350.0, 150.0),
    "mediastinum": (-125.0, 225.0),
    "abdomen": (-150.0, 250.0),
    "bone": (-500.0, 1300.0),
    "brain": (0.0, 80.0),
}
"""The usual windows of CT: the Hounsfield units that become black and white."""


class WindowRecipe(Recipe):
    """Which grey levels become 0 and 1: a ``preset`` of CT, ``low`` and ``high``, or ``percentiles`` of the image.

    Where nothing is said, the 0.5 and 99.5 percentiles, and a photograph's whole range.
    """

    preset: Literal["lung", "mediastinum", "abdomen", "bone", "brain"] | None = None
    low: float | None = Field(default=None, allow_inf_nan=False)
    high: float | None = Field(default=None, allow_inf_nan=False)
    percentiles: tuple[Percentile, Percentile] | None = None

    @model_validator(mode="before")
    @classmethod
    def _a_word_is_a_preset(cls, given: Any) -> Any:
        return {"preset": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _says_one_thing(self) -> "WindowRecipe":
        levels = (self.low, self.high) if self.low is not None and self.high is not None else None
        said = [one for one in (self.preset, levels, self.percentiles) if one is not None]
        if len(said) > 1 or (levels is None and (self.low, self.high) != (None, None)):
            raise ValueError("give one of: a preset, 'low' with 'high', or 'percentiles'")
        edges = levels or self.percentiles
        if edges is not None and not edges[0] < edges[1]:
            raise ValueError(f"the low end must be below the high end; given {edges[0]:g} and {edges[1]:g}")
        return self


class BodyCropRecipe(Recipe):
    """Keep the box of the body, every labelled voxel, and ``margin_mm`` around them.

    The body is the largest connected thing brighter than ``above``: −300 HU in CT if it is not
    given, elsewhere the level that parts background from foreground best (Otsu's).
    """

    margin_mm: float = Field(default=10.0, ge=0, le=1000)
    above: float | None = Field(default=None, allow_inf_nan=False)


class PrepareRecipe(Recipe):
    """What is done to a scan before it is stored, in this order; nothing by default.

    ``orientation`` turns and mirrors the array until its axes X, Y and Z run to these sides of
    the patient (``LPS``, ``RAS``, …). ``crop_to_body`` cuts air away. ``spacing_mm_zyx``
    resamples along the array's own axes; null keeps an axis. ``window`` says which grey levels
    become 0 and 1 and leaves every voxel as it was measured.
    """

    orientation: Orientation | None = None
    crop_to_body: BodyCropRecipe | None = None
    spacing_mm_zyx: tuple[Millimetres | None, Millimetres | None, Millimetres | None] | None = None
    interpolation: Literal["linear", "bspline"] = "linear"
    window: WindowRecipe = WindowRecipe()


class IngestRecipe(Recipe):
    """How files become volumes. Chunks are derived from the patch shape that will be read.

    A file that is larger than ``max_bytes``, packed or unpacked, is refused before any of its
    voxels gets memory, and so is one that ``prepare`` would make larger. A CT of 512 × 512 ×
    2,000 has 1 GiB. ``num_coarser_levels`` are stored beside each volume for viewers; if it is
    not given, only a volume of more than 512³ voxels has them.
    """

    patch_shape_zyx: ShapeZyx = (1, 64, 64)
    class_names: tuple[str, ...] = ()
    max_bytes: int = Field(default=8 << 30, ge=1 << 20)
    prepare: PrepareRecipe = PrepareRecipe()
    num_coarser_levels: int | None = Field(default=None, ge=0, le=12)


class SliceRecipe(Recipe):
    """Whole slices of scans in one plane of the patient, every one or every n-th."""

    plane: Plane
    every: int = Field(default=1, ge=1)


class PoolRecipe(Recipe):
    """Which patches may be asked about.

    Without ``patch_shape_zyx`` every item (whole image, frame or block) is a candidate; an axis of
    a scan that is shorter than the patch is taken whole. With ``slices`` every slice of every item
    is, whatever its size.
    ``min_occupancy`` drops patches of which a smaller share of voxels is above the
    volume's background level: nobody should be paid to look at air.
    """

    patch_shape_zyx: ShapeZyx | None = None
    stride_zyx: ShapeZyx | None = None
    slices: SliceRecipe | None = None
    min_occupancy: Share = 0.0
    candidates_per_shard: int = Field(default=512, ge=1)
    split: SplitRecipe = SplitRecipe()

    @model_validator(mode="after")
    def _slices_or_patches(self) -> "PoolRecipe":
        if self.slices is not None and (self.patch_shape_zyx is not None or self.stride_zyx is not None):
            raise ValueError("'slices' are whole: give either slices, or patch_shape_zyx with its stride_zyx")
        return self
