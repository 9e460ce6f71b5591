"""From a cost recipe and what people told to the seconds that each candidate of a pool is expected to take.

Shape letters: N = candidates, C = classes.
"""

from collections.abc import Sequence

import numpy as np

from hilum.core.asking import IGNORE, Annotation
from hilum.core.recipes import CostRecipe
from hilum.select.costs import Doubles, Rates, learnt, terms
from hilum.select.scored import Floats, Ints


def rates_of(recipe: CostRecipe, answers: Sequence[Annotation]) -> Rates:
    """The rates learnt from the answers whose seconds are told, or the recipe's while they are too few."""
    prior = Rates(recipe.opening_seconds, recipe.seconds_per_slice, recipe.seconds_per_1000_voxels)
    shapes_N3 = np.array([answer.patch.shape_zyx for answer in answers], np.int64).reshape(-1, 3)
    outlined_N = np.array([outlined_voxels(answer) for answer in answers], np.float64)
    seconds_N = np.array([answer.seconds for answer in answers], np.float64)
    return learnt(prior, terms(shapes_N3, outlined_N), seconds_N, min_times=recipe.min_times)


def seconds_of(rates: Rates, shapes_N3: Ints, class_fractions_NC: Floats, answers: Sequence[Annotation]) -> Doubles:
    """Predicted seconds of each candidate.

    How much there is to outline is what the model sees of the foreground; before there is a model, as large
    a share of each candidate as was outlined of those that are answered.
    """
    voxels_N = np.asarray(shapes_N3, np.float64).reshape(-1, 3).prod(axis=1)
    if class_fractions_NC.shape[1]:
        shares_N = 1 - class_fractions_NC[:, 0].astype(np.float64)
    else:
        shares_N = np.full(len(voxels_N), _share_outlined(answers))
    return rates.seconds(terms(shapes_N3, shares_N * voxels_N))


def outlined_voxels(answer: Annotation) -> int:
    """Foreground voxels that somebody drew; none where a class was answered."""
    labels = answer.label_map_zyx
    return 0 if labels is None else int(np.count_nonzero((labels > 0) & (labels != IGNORE)))


def _share_outlined(answers: Sequence[Annotation]) -> float:
    num_voxels = sum(answer.label_map_zyx.size for answer in answers if answer.label_map_zyx is not None)
    return sum(map(outlined_voxels, answers)) / num_voxels if num_voxels else 0.0
