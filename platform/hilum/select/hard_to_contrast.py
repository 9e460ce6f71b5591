"""Whom to ask first: of every pseudo-class those that are hardest to tell from others.

Shape letters: N = candidates, V = views, D = embedding.
"""

import numpy as np
from pydantic import Field

from hilum.core.errors import RecipeError
from hilum.core.registry import ViewParams, samplers
from hilum.select.clusters import k_means
from hilum.select.contrast import Doubles, contrast_confidence
from hilum.select.scored import HalfOrFloats, Ints, ScoredPool, how_many
from hilum.select.tiles import unit_length


class ContrastParams(ViewParams):
    """``num_clusters`` pseudo-classes; ``num_epochs`` of a head that contrasts batches of ``batch_size`` candidates.

    Of more than ``num_mapped`` candidates as many are drawn, and nobody else is looked at.
    """

    num_clusters: int = Field(default=30, ge=1)
    num_epochs: int = Field(default=20, ge=1)
    batch_size: int = Field(default=128, ge=2)
    temperature: float = Field(default=0.2, gt=0, allow_inf_nan=False)
    num_mapped: int = Field(default=20_000, ge=1)


@samplers.register("hard_to_contrast", params=ContrastParams)
def hard_to_contrast(
    scored: ScoredPool,
    num: int,
    *,
    rng: np.random.Generator,
    num_clusters: int = 30,
    num_epochs: int = 20,
    batch_size: int = 128,
    temperature: float = 0.2,
    num_mapped: int = 20_000,
) -> Ints:
    """The least confidently contrasted of each pseudo-class in turn (Chen et al. 2024, https://arxiv.org/abs/2210.02442).

    Their network is pretrained by MoCo and its confidences are kept; here the embeddings of several views are given
    and a linear head on them is trained. Pseudo-classes are k-means of the embedding, without their UMAP before it;
    they come in an order drawn once, those with fewer labelled candidates first.
    """
    num = how_many(scored, num)
    views_NVD = _views_of(scored)
    if num == 0:
        return np.empty(0, np.int64)
    mapped = np.sort(rng.permutation(scored.num)[: max(num, num_mapped)])
    shown_NVD = np.concatenate([scored.embedding[mapped, None], views_NVD[mapped]], axis=1)
    confidence_N = contrast_confidence(
        shown_NVD, rng=rng, num_epochs=num_epochs, batch_size=batch_size, temperature=temperature
    )
    points_ND = unit_length(np.concatenate([scored.embedding[mapped], scored.labelled_embedding]))
    clusters = k_means(points_ND, num_clusters, rng=rng)
    return mapped[in_turn(confidence_N, clusters, rng)[:num]]


def in_turn(confidence_N: Doubles, clusters: Ints, rng: np.random.Generator) -> Ints:
    """Every row: the least confident of each cluster, then the second of each, …; lower rows first among equals.

    ``clusters`` are those of the rows, then those of what is labelled.
    """
    num = len(confidence_N)
    own_N = clusters[:num]
    num_clusters = int(clusters.max()) + 1
    labelled_K = np.bincount(clusters[num:], minlength=num_clusters)
    turn_K = np.empty(num_clusters, np.int64)
    turn_K[np.lexsort((rng.permutation(num_clusters), labelled_K))] = np.arange(num_clusters)
    order = np.lexsort((np.arange(num), confidence_N, own_N))
    starts = np.searchsorted(own_N[order], np.arange(num_clusters))
    place_N = np.empty(num, np.int64)
    place_N[order] = np.arange(num) - starts[own_N[order]]
    return np.lexsort((turn_K[own_N], place_N)).astype(np.int64)


def _views_of(scored: ScoredPool) -> HalfOrFloats:
    views_NVD = scored.view_embedding
    if views_NVD is None or not views_NVD.shape[1]:
        raise RecipeError(
            "Sampler 'hard_to_contrast' contrasts views of candidates, and this score run kept none. Set "
            "score.num_views, such as 4; it is for select.cold_start, before there is a model."
        )
    return views_NVD
