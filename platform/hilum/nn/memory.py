"""How much memory a training step needs, read off the network itself without computing anything.

The network is laid out on PyTorch's `meta` device, where tensors have shapes and no voxels;
what autograd keeps for the way back is counted tensor by tensor. So a new architecture needs
no formula of its own.
"""

import os
from functools import cache

import torch
from torch import Tensor

from hilum.core.geometry import Zyx
from hilum.core.recipes import Choice, FinetuneRecipe, Question
from hilum.nn.heads import Network, build_network, num_parameters

MEASURED_OVER_KEPT = 1.5
"""Peak of a real forward and backward pass over what autograd keeps: gradients and the working
copies of convolutions come on top. tests/unit/nn/test_memory.py measures it: on a CPU 1.1 to 1.2
for segmentation and up to 1.53 for a small 3D classifier, whose weights' gradients are counted apart."""

_VECTORS = 6
"""Vectors of all weights that a training holds: the weights, their gradients, the sum that is
clipped, a working copy, and AdamW's two moments. Each chunk of the batch adds one."""
_FLOAT_BYTES = 4
_LOSS_COPIES = 5
"""Copies of the logits that the loss keeps: probabilities twice, their logarithms, the labels one-hot, what is summed.
The losses look at the labels, which `meta` tensors cannot show, so they are counted by hand."""


def step_bytes(
    question: Question,
    recipe: FinetuneRecipe,
    patch_shape_zyx: Zyx,
    *,
    in_channels: int,
    num_classes: int,
) -> int:
    """Bytes at the peak of one training step: the chunks of a batch are computed one after the other."""
    one, parameters = _kept_and_parameters(
        question, recipe.architecture.model_dump_json(), patch_shape_zyx, in_channels, num_classes
    )
    together = recipe.batch_size // recipe.num_chunks
    vectors = (_VECTORS + recipe.num_chunks) * parameters * _FLOAT_BYTES
    return int(MEASURED_OVER_KEPT * one * together) + vectors


def memory_at_hand() -> tuple[int, str]:
    """Bytes that a training may use here, and of what: nine tenths of the GPU, else 2 GiB or a quarter of memory."""
    if torch.cuda.is_available():
        return int(0.9 * torch.cuda.get_device_properties(0).total_memory), "this GPU"
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # More would be there, but without a GPU it is time that runs out: a patch that needs 8 GiB takes minutes a step.
    return min(2 << 30, machine // 4), "this machine, which has no GPU"


def kept_bytes(network: Network, images_NCS: Tensor) -> int:
    """Bytes of all tensors that autograd keeps from a forward pass, the loss among them, for the way back."""
    tensors: list[Tensor] = []  # kept alive, so that no two storages get one address
    kept: dict[int, int] = {}
    weights = {parameter.untyped_storage()._cdata for parameter in network.parameters()}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            tensors.append(tensor)
            kept[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        heads = network.forward_heads(images_NCS)
    return sum(kept.values()) + _LOSS_COPIES * sum(head.numel() * head.element_size() for head in heads)


@cache
def _kept_and_parameters(
    question: Question, architecture_json: str, patch_shape_zyx: Zyx, in_channels: int, num_classes: int
) -> tuple[int, int]:
    """What one patch keeps, and how many weights there are."""
    architecture = Choice.model_validate_json(architecture_json)
    flat = patch_shape_zyx[0] == 1
    shape = patch_shape_zyx[1:] if flat else patch_shape_zyx
    with torch.device("meta"):
        network = build_network(
            question, architecture, spatial_dims=2 if flat else 3, in_channels=in_channels, num_classes=num_classes
        ).eval()
        images = torch.empty((1, in_channels, *shape))
    return kept_bytes(network, images), num_parameters(network)
