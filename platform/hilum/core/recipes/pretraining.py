"""How a network learns from scans that nobody labelled."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from hilum.core.recipes.base import Choice, Millimetres, Recipe, ShapeZyx, Share
from hilum.core.recipes.images import SplitRecipe, WindowRecipe
from hilum.core.recipes.training import TrainingRecipe

DISCOVERING = "semantic"
"""The pretext whose classes have to be discovered first."""
Border = Annotated[int, Field(ge=0)]
Scale = Annotated[float, Field(ge=0.1, le=10)]


class SamplingRecipe(Recipe):
    """Which crops of a scan are learnt from, tried one after the other until one will do.

    No crop reaches into the outer ``borders_zyx`` voxels of a scan. A crop is cut ``scales`` times as long as the
    patch, one of them drawn each time, and resampled to it; with ``spacing_mm_zyx`` the patch's voxels have that
    size (null keeps the scan's own). A scan in which no crop has room is left out, and counted.

    ``window`` says which grey levels become 0 and 1; without it −1000 and 1000 HU in CT, elsewhere those that ingest
    found. Crops are centred ``inside`` the body or a label map's foreground (the body, where a scan has none).
    A crop will do if ``min_foreground`` of its voxels are above the scan's background level and, in CT, the air test
    finds no more than ``max_solid_share`` solid. After ``num_tries`` it is another scan's turn.
    """

    borders_zyx: tuple[Border, Border, Border] = (0, 0, 0)
    scales: tuple[Scale, ...] = Field(default=(1.0,), min_length=1)
    spacing_mm_zyx: tuple[Millimetres | None, Millimetres | None, Millimetres | None] | None = None
    window: WindowRecipe = WindowRecipe()
    inside: Literal["anywhere", "body", "labels"] = "anywhere"
    min_foreground: Share = 0.0
    max_solid_share: float | None = Field(default=None, gt=0, le=1)
    num_tries: int = Field(default=50, ge=1)


class DiscoveryRecipe(TrainingRecipe):
    """How classes are discovered before a pretraining that learns them (Semantic Genesis).

    An autoencoder of whole scans, resized to ``scan_shape_zyx``, is trained as the fields of every training say. A
    class is a place in a patient's scan and the same place in the ``num_neighbours`` scans that are most alike, the
    patient's own among them, each cropped as large as a patch and ``num_resized`` times larger or smaller.
    """

    scan_shape_zyx: ShapeZyx = (64, 128, 128)
    num_classes: int = Field(default=44, ge=2)
    num_neighbours: int = Field(default=200, ge=1)
    num_resized: int = Field(default=2, ge=0)


class PretrainRecipe(TrainingRecipe):
    """How a network is pretrained: the ``pretext`` asks, crops of unlabelled scans answer.

    Only scans of patients on the pool side of ``split`` are learnt from; those of the validation side tell
    how well (``num_held_out_crops`` of them), and no test patient is ever looked at. A picture of what the
    network makes of held-out crops is drawn every ``pictures_every`` steps.
    """

    pretext: Choice = Choice(kind="genesis")
    patch_shape_zyx: ShapeZyx = (32, 64, 64)
    sampling: SamplingRecipe = SamplingRecipe()
    split: SplitRecipe = SplitRecipe()
    num_held_out_crops: int = Field(default=32, ge=1)
    pictures_every: int = Field(default=100, ge=1)
    discovery: DiscoveryRecipe | None = None

    @model_validator(mode="after")
    def _only_discovered_classes_can_be_learnt(self) -> Self:
        if (self.pretext.kind == DISCOVERING) != (self.discovery is not None):
            raise ValueError(
                f"pretext '{DISCOVERING}' and 'discovery' (such as {{num_classes: 44}}) need each other; "
                f"given pretext '{self.pretext.kind}' {'without' if self.discovery is None else 'and'} discovery"
            )
        return self

    @property
    def discover(self) -> "DiscoverRecipe":
        """What the step `discover` is told."""
        assert self.discovery is not None, "the recipe has a discovery"
        shared = {"patch_shape_zyx": self.patch_shape_zyx, "sampling": self.sampling, "split": self.split}
        return DiscoverRecipe(**dict(self.discovery), **shared)


class DiscoverRecipe(DiscoveryRecipe):
    """A discovery, and what it has in common with the pretraining that it is for."""

    patch_shape_zyx: ShapeZyx = (32, 64, 64)
    sampling: SamplingRecipe = SamplingRecipe()
    split: SplitRecipe = SplitRecipe()

    @property
    def autoencoder(self) -> PretrainRecipe:
        """How its autoencoder is trained."""
        training = {name: getattr(self, name) for name in TrainingRecipe.model_fields}
        return PretrainRecipe(
            pretext=Choice(kind="autoencoder"), patch_shape_zyx=self.scan_shape_zyx, split=self.split, **training
        )
