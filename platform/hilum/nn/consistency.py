"""One patch, one answer: how far apart what a network says of several views of a patch is.

It is the diversity of AIFT (https://doi.org/10.1109/CVPR.2017.506), which asks about candidates
whose views disagree, turned into something that training makes small. No label is read.

Shape letters: N = items, C = channels in and classes out, S = space.
"""

from collections.abc import Callable, Sequence
from itertools import combinations

import torch
from torch import Tensor

from hilum.core.recipes import ConsistencyRecipe
from hilum.nn.heads import Network
from hilum.nn.views import draw_view

Distance = Callable[[Tensor, Tensor], Tensor]
"""From two views' log-probabilities (N, C, S) to the distance of each item and voxel (N, S)."""


def consistency_loss(
    recipe: ConsistencyRecipe, network: Network, images_NCS: Tensor, logits_NCS: Tensor, *, rng: torch.Generator
) -> Tensor:
    """``weight`` times the disagreement of the images' own ``logits_NCS`` with views that are drawn from ``rng``."""
    views = [draw_view(images_NCS.shape[2:], rng) for _ in range(recipe.num_views - 1)]
    answers = [logits_NCS, *(view.back(network(view.of(images_NCS))) for view in views)]
    return recipe.weight * disagreement(answers, distance=DISTANCES[recipe.distance])


def disagreement(logits: Sequence[Tensor], *, distance: Distance) -> Tensor:
    """Mean distance over pairs of views, items and voxels; 0 when all views agree."""
    logs = [torch.log_softmax(one.float(), dim=1) for one in logits]
    return torch.stack([distance(one, other).mean() for one, other in combinations(logs, 2)]).mean()


def symmetric_kl(log_p_NCS: Tensor, log_q_NCS: Tensor) -> Tensor:
    """KL(p, q) + KL(q, p), in nats."""
    # From log-probabilities: a class that one view excludes has a finite distance and gradient.
    return ((log_p_NCS.exp() - log_q_NCS.exp()) * (log_p_NCS - log_q_NCS)).sum(dim=1)


def mean_squared(log_p_NCS: Tensor, log_q_NCS: Tensor) -> Tensor:
    """The squared difference of two views' probabilities, summed over classes: 0 to 2."""
    return (log_p_NCS.exp() - log_q_NCS.exp()).square().sum(dim=1)


DISTANCES: dict[str, Distance] = {"symmetric_kl": symmetric_kl, "mean_squared": mean_squared}
