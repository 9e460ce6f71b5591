"""One answer of several about a patch, where a majority is not all that can be said: CROWDLAB and STAPLE.

CROWDLAB (classes; https://arxiv.org/abs/2210.06812) weighs people by how often they agree and a model that
has not seen their answers beside them; ActiveLab (https://arxiv.org/abs/2301.11856) says where one more would
tell most. STAPLE (outlines; https://doi.org/10.1109/TMI.2004.828354) weighs
them by how well each agrees with what all probably mean.

Shape letters: N = candidates, A = annotators, C = classes, V = voxels.
"""

import importlib
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.core.agreement import Consensus, agreed, by_majority, label_maps_of, majority_map
from hilum.core.asking import IGNORE, Annotation, LabelMap
from hilum.core.errors import RequestError

Floats = npt.NDArray[np.float64]
Votes = Mapping[str, Sequence[Annotation]]
"""The votes about each candidate."""


def settled(votes: Votes, again: Sequence[str], how: Consensus, probs: Mapping[str, Floats]) -> list[Annotation]:
    """What stands for the votes about each candidate of ``again``, of which several people have spoken.

    ``probs`` are class probabilities by models that had not seen the answers. CROWDLAB learns how far to trust whom
    from all candidates that have some; a candidate without, and one on which it names a class that nobody gave, goes
    by majority.
    """
    several = sorted(candidate_id for candidate_id in again if len(votes[candidate_id]) > 1)
    if how == "staple":
        return [agreed(votes[one], staple(label_maps_of(votes[one]))) for one in several]
    classes = crowdlab(votes, probs) if how == "crowdlab" and any(one in probs for one in several) else {}
    return [
        agreed(votes[one], classes[one])
        if classes.get(one) in {vote.class_id for vote in votes[one]}
        else by_majority(votes[one])
        for one in several
    ]


def crowdlab(votes: Votes, probs: Mapping[str, Floats]) -> dict[str, int]:
    """CROWDLAB's class of each candidate that has probabilities; at least one must have several votes."""
    known = sorted(candidate_id for candidate_id in votes if candidate_id in probs)
    with unheard():
        found = multiannotator().get_label_quality_multiannotator(
            label_table(votes, known),
            np.stack([probs[one] for one in known]),
            verbose=False,
            return_detailed_quality=False,
            return_annotator_stats=False,
        )
    classes = found["label_quality"]["consensus_label"].to_numpy()
    return dict(zip(known, (int(one) for one in classes), strict=True))


def activelab(votes: Votes, probs: Mapping[str, Floats]) -> dict[str, float]:
    """1 − ActiveLab's score of each candidate that has probabilities: 0 to 1, the higher the more a vote would tell.

    It learns how far to trust whom, and the model beside them, from all of these candidates.
    """
    known = sorted(candidate_id for candidate_id in votes if candidate_id in probs)
    if not known:
        return {}
    with unheard():
        scores_N, _ = multiannotator().get_active_learning_scores(
            label_table(votes, known), np.stack([probs[one] for one in known])
        )
    return dict(zip(known, (1 - float(score) for score in scores_N), strict=True))


def label_table(votes: Votes, candidates: Sequence[str]) -> Floats:
    """(N, A): who gave which class to each of ``candidates``, as cleanlab takes it; NaN where somebody gave none."""
    names = sorted({vote.annotator for one in candidates for vote in votes[one]})
    table_NA = np.full((len(candidates), len(names)), np.nan)
    for row, candidate_id in enumerate(candidates):
        for vote in votes[candidate_id]:
            table_NA[row, names.index(vote.annotator)] = np.nan if vote.class_id is None else vote.class_id
    return table_NA


def staple(label_maps: Sequence[LabelMap]) -> LabelMap:
    """STAPLE's label map over the voxels that all answered; the majority's elsewhere, and where STAPLE is undecided."""
    answer_ZYX = majority_map(label_maps)
    maps_AZYX = np.stack(label_maps)
    by_all_ZYX = (maps_AZYX != IGNORE).all(axis=0)
    classes, codes_AV = np.unique(maps_AZYX[:, by_all_ZYX], return_inverse=True)
    if len(classes) < 2:
        return answer_ZYX
    codes_AV = codes_AV.reshape(len(label_maps), -1).astype(np.uint16)
    sitk: Any = importlib.import_module("SimpleITK")
    undecided = len(classes)
    # It weighs voxels, wherever they lie: a row of them is an image.
    found = sitk.MultiLabelSTAPLE([sitk.GetImageFromArray(codes_V[None]) for codes_V in codes_AV], undecided)
    codes_V = sitk.GetArrayFromImage(found)[0].astype(np.int64)
    answer_ZYX[by_all_ZYX] = np.where(
        codes_V < undecided, classes[np.minimum(codes_V, undecided - 1)], answer_ZYX[by_all_ZYX]
    )
    return answer_ZYX


@contextmanager
def unheard() -> Iterator[None]:
    """What cleanlab prints and warns of early rounds, nobody needs: that no two agree yet, that a class is rare."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def multiannotator() -> ModuleType:
    """cleanlab's; RequestError where it is not installed."""
    try:
        return importlib.import_module("cleanlab.multiannotator")
    except ImportError as error:
        raise RequestError(
            "Asking again about classes needs cleanlab (ActiveLab, CROWDLAB), which is not installed "
            f"({error.name}): pip install 'hilum[relabel]', or leave select.relabel out."
        ) from None
