"""UNet++ over an encoder of timm, whose weights others have trained on photographs; 2D only.

The encoder is the column x^{i,0}. Its first features have half (or a quarter of) the image's
resolution, so that the answer is enlarged at the end. timm is an extra: it is imported when
this kind is chosen and not before.
"""

import importlib
from itertools import pairwise
from typing import Any, Self

from pydantic import Field
from torch import Tensor

from hilum.core.errors import RecipeError
from hilum.core.registry import architectures
from hilum.nn.blocks import Column, DeepParams
from hilum.nn.nested import UNETPP, NestedNetwork
from hilum.nn.norms import Norm


class TimmParams(DeepParams):
    """``encoder`` is a name that timm knows; its weights are fetched when ``pretrained``, once, for a training.

    ``norm``, ``activation`` and ``dropout`` are the decoder's.
    """

    encoder: str = "resnet18"
    pretrained: bool = False
    depth: int = Field(default=4, ge=1, le=4)
    norm: Norm = "batch"

    def cut_to(self, depth: int) -> Self:
        """Those of the sub-network of ``depth``, whose weights are at hand."""
        return super().cut_to(depth).model_copy(update={"pretrained": False})


class TimmEncoder(Column):
    """Features of ``depth + 1`` levels of a timm model, each of half the resolution of the one above."""

    def __init__(self, params: TimmParams, *, in_channels: int) -> None:
        super().__init__()
        timm = import_timm("Architecture 'timm_unetpp'")
        if not timm.is_model(params.encoder):
            raise RecipeError(
                f"timm has no model '{params.encoder}'. timm.list_models() lists them; resnet18 is one of the smallest."
            )
        try:
            self.model = timm.create_model(
                params.encoder,
                pretrained=params.pretrained,
                features_only=True,
                in_chans=in_channels,
                out_indices=tuple(range(params.depth + 1)),
            )
        except (OSError, RuntimeError) as error:
            raise (_unfetched if params.pretrained else _unfit)(params, str(error)) from None
        except (AssertionError, AttributeError, IndexError) as error:
            raise _unfit(params, str(error)) from None
        strides = [int(stride) for stride in self.model.feature_info.reduction()]
        if any(b != 2 * a for a, b in pairwise(strides)):
            raise _unfit(params, f"its levels are {', '.join(map(str, strides))} times smaller than the image")
        self.features = tuple(int(channels) for channels in self.model.feature_info.channels())
        self.num_features = self.features[-1]
        self.is_flat = (False,) * (params.depth + 1)
        self.input_stride = (strides[0], strides[0])
        self.pad_multiple = (strides[0] * 2**params.padded_depth,) * 2

    def forward(self, images_NCS: Tensor) -> list[Tensor]:
        """Features of every level, the highest resolution first."""
        return list(self.model(images_NCS))


class TimmUNetPP(NestedNetwork):
    """A nested decoder over an encoder of timm."""

    params: TimmParams

    def make_encoder(self, spatial_dims: int, in_channels: int) -> Column:
        if spatial_dims != 2:
            raise RecipeError("timm_unetpp is for 2D patches (one slice); these have several. Use unetpp.")
        return TimmEncoder(self.params, in_channels=in_channels)


@architectures.register("timm_unetpp", params=TimmParams)
def timm_unetpp(*, spatial_dims: int, in_channels: int, num_classes: int, **params: object) -> TimmUNetPP:
    """A UNet++ of the given `TimmParams`."""
    checked = TimmParams.model_validate(params)
    return TimmUNetPP(UNETPP, checked, spatial_dims=spatial_dims, in_channels=in_channels, num_classes=num_classes)


def import_timm(who: str) -> Any:
    """timm, or a RecipeError that says who needs it and how it is installed."""
    try:
        return importlib.import_module("timm")
    except (ImportError, RuntimeError) as error:  # torchvision of another build than torch fails with the second
        raise RecipeError(
            f"{who} needs timm, which cannot be imported here ({error}). Install it with: "
            "pip install 'hilum[timm]', with the torchvision that belongs to your torch."
        ) from None


def _unfetched(params: TimmParams, why: str) -> RecipeError:
    return RecipeError(
        f"The weights of timm's '{params.encoder}' could not be fetched: {why}. Train where they can be, "
        "put them into timm's cache, or set pretrained: false."
    )


def _unfit(params: TimmParams, why: str) -> RecipeError:
    return RecipeError(
        f"timm's '{params.encoder}' cannot be the encoder of a UNet++ of depth {params.depth}: {why}. "
        "Choose a smaller depth, or an encoder whose every level halves the resolution, such as resnet18."
    )
