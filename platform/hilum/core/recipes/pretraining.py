"""How a network learns from scans that nobody labelled."""

from pydantic import Field

from hilum.core.recipes.base import Choice, Recipe, ShapeZyx
from hilum.core.recipes.images import SplitRecipe
from hilum.core.recipes.training import TrainingRecipe


class SamplingRecipe(Recipe):
    """Which crops of a scan are learnt from, tried one after the other until one will do.

    No crop reaches into the outer ``borders_zyx`` voxels of a scan. A crop is cut ``scales`` times as long
    as the patch, one of them drawn each time, and resampled to it.
    """

    borders_zyx: tuple[int, int, int] = (0, 0, 0)
    scales: tuple[float, ...] = (1.0,)


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
