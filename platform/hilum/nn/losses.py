"""What training minimises. Voxels nobody has answered (IGNORE) weigh nothing anywhere.

Shape letters: N = items, C = classes, S = space. A loss is a function of logits and labels
(int64) that returns one number; where nothing is answered it returns 0 with a gradient of 0.
"""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from hilum.core.asking import IGNORE
from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice, Question
from hilum.core.registry import Params, Registry

losses = Registry("loss")

_EPSILON = 1e-7


class CrossEntropyParams(Params):
    """``label_smoothing`` moves that share of certainty to all classes; ``class_weights`` weigh classes."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: tuple[float, ...] | None = None


class DiceCrossEntropyParams(CrossEntropyParams):
    """``dice_weight`` is the share of the Dice term; the rest is cross-entropy."""

    dice_weight: float = Field(default=0.5, ge=0, le=1)


def default_loss(question: Question) -> Choice:
    return Choice(kind="cross_entropy" if question == "classify" else "dice_cross_entropy")


@losses.register("cross_entropy", params=CrossEntropyParams)
def cross_entropy(
    logits_NC: Tensor,
    labels_N: Tensor,
    *,
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] | None = None,
) -> Tensor:
    """Mean cross-entropy over what was answered; works on classes (N, C) and on voxels (N, C, S)."""
    answered = labels_N != IGNORE
    if not bool(answered.any()):
        return logits_NC.sum() * 0.0
    return functional.cross_entropy(
        logits_NC,
        labels_N,
        weight=_weights(class_weights, logits_NC),
        ignore_index=IGNORE,
        label_smoothing=label_smoothing,
    )


@losses.register("dice_cross_entropy", params=DiceCrossEntropyParams)
def dice_cross_entropy(
    logits_NCS: Tensor,
    labels_NS: Tensor,
    *,
    dice_weight: float = 0.5,
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] | None = None,
) -> Tensor:
    """Partial Dice + cross-entropy: nnU-Net's rule for ignored voxels (https://arxiv.org/abs/2403.12834)."""
    entropy = cross_entropy(logits_NCS, labels_NS, label_smoothing=label_smoothing, class_weights=class_weights)
    return (1 - dice_weight) * entropy + dice_weight * partial_dice_loss(torch.softmax(logits_NCS, 1), labels_NS)


@losses.register("hybrid")
def hybrid(logits_NCS: Tensor, labels_NS: Tensor) -> Tensor:
    """UNet++'s own loss (`hybrid_loss`) over answered voxels."""
    answered_NS, truth_NCS = _answered_and_truth(labels_NS, logits_NCS.shape[1])
    return hybrid_loss(torch.softmax(logits_NCS, 1), truth_NCS, answered_NS)


def partial_dice_loss(probs_NCS: Tensor, labels_NS: Tensor, *, smooth: float = 1.0) -> Tensor:
    """1 − soft Dice of the foreground classes, counted over the answered voxels of the whole batch."""
    answered_NS, truth_NCS = _answered_and_truth(labels_NS, probs_NCS.shape[1])
    if not bool(answered_NS.any()):
        return probs_NCS.sum() * 0.0
    seen_NCS = probs_NCS * answered_NS.unsqueeze(1)
    over = [axis for axis in range(probs_NCS.ndim) if axis != 1]
    shared_C = (seen_NCS * truth_NCS).sum(over)
    total_C = seen_NCS.sum(over) + truth_NCS.sum(over)
    dice_C = (2 * shared_C + smooth) / (total_C + smooth)
    return 1 - dice_C[1:].mean()


def hybrid_loss(probs_NCS: Tensor, truth_NCS: Tensor, answered_NS: Tensor | None = None) -> Tensor:
    """The pixel-wise cross-entropy plus Dice of UNet++ (https://arxiv.org/abs/1912.05074, equation 3).

    −(1/N) Σ_c Σ_n ( y log p + 2 y p / (y² + p²) ), N = number of answered voxels.
    """
    probs = probs_NCS.clamp(min=_EPSILON)
    gain_NCS = truth_NCS * probs.log() + 2 * truth_NCS * probs / (truth_NCS**2 + probs**2)
    if answered_NS is None:
        return -gain_NCS.sum() / (gain_NCS.numel() / gain_NCS.shape[1])
    return -(gain_NCS * answered_NS.unsqueeze(1)).sum() / answered_NS.sum().clamp(min=1)


def _answered_and_truth(labels_NS: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Which voxels were answered, and their classes one-hot (N, C, S), all zero where nobody answered."""
    answered_NS = labels_NS != IGNORE
    one_hot = functional.one_hot(labels_NS.masked_fill(~answered_NS, 0), num_classes)
    truth_NCS = one_hot.movedim(-1, 1) * answered_NS.unsqueeze(1)
    return answered_NS, truth_NCS.to(torch.float32)


def _weights(class_weights: Sequence[float] | None, logits_NC: Tensor) -> Tensor | None:
    if class_weights is None:
        return None
    if len(class_weights) != logits_NC.shape[1]:
        raise RecipeError(f"class_weights has {len(class_weights)} weights for {logits_NC.shape[1]} classes.")
    return torch.tensor(class_weights, dtype=logits_NC.dtype, device=logits_NC.device)
