"""U-Net in 2D and 3D (https://arxiv.org/abs/1505.04597)."""

import torch
from torch import Tensor, nn

from hilum.core.registry import architectures
from hilum.nn.blocks import (
    ConvBlock,
    Encoder,
    NetworkParams,
    class_head,
    crop_to,
    enlarge,
    pad_to_multiple,
    up_sampling,
)


class UNet(nn.Module):
    """Encoder, decoder, one skip a level. Any size of image goes in; logits of the same size come out."""

    def __init__(self, params: NetworkParams, *, spatial_dims: int, in_channels: int, num_classes: int) -> None:
        super().__init__()
        features = params.features
        self.depth, self.input_stride = params.depth, params.input_stride
        self.pad_multiple = params.input_stride * 2**params.depth
        self.encoder = Encoder(spatial_dims, in_channels, params)
        self.ups = nn.ModuleList(
            up_sampling(spatial_dims, features[i + 1], features[i], params.up) for i in range(self.depth)
        )
        self.blocks = nn.ModuleList(
            ConvBlock(spatial_dims, 2 * features[i], features[i], params) for i in range(self.depth)
        )
        self.head = class_head(spatial_dims, features[0], num_classes)

    def forward(self, images_NCS: Tensor) -> Tensor:
        """Logits (N, classes, S)."""
        return self.forward_heads(images_NCS)[-1]

    def forward_heads(self, images_NCS: Tensor) -> list[Tensor]:
        """The logits that training supervises, the answer last."""
        levels = self.encoder(pad_to_multiple(images_NCS, self.pad_multiple))
        features = levels[-1]
        for i in reversed(range(self.depth)):
            features = self.blocks[i](torch.cat([levels[i], self.ups[i](features)], dim=1))
        return [crop_to(enlarge(self.head(features), self.input_stride), images_NCS.shape[2:])]


@architectures.register("unet", params=NetworkParams)
def unet(*, spatial_dims: int, in_channels: int, num_classes: int, **params: object) -> UNet:
    """A U-Net of the given `NetworkParams`."""
    checked = NetworkParams.model_validate(params)
    return UNet(checked, spatial_dims=spatial_dims, in_channels=in_channels, num_classes=num_classes)
