"""Several people's answers about one patch, and the one answer that stands for them.

Shape letters: N = candidates, C = classes; Z, Y, X = space.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hilum.core.asking import IGNORE, Annotation, LabelMap

Consensus = Literal["majority", "crowdlab", "staple"]
"""How several answers about one patch become one."""


def votes_of(answers: Sequence[Annotation]) -> list[Annotation]:
    """The last answer of each annotator, whoever answered first before the others."""
    last: dict[str, Annotation] = {}
    for answer in answers:
        last[answer.annotator] = answer
    return list(last.values())


def by_majority(votes: Sequence[Annotation]) -> Annotation:
    """The answer that most of the votes (at least one, of one patch) give.

    Of classes that equally many gave, the one that was given first; a voxel at which they tie, or
    that nobody answered, is unanswered.
    """
    if votes[0].class_id is not None:
        return agreed(votes, majority_class([vote.class_id for vote in votes if vote.class_id is not None]))
    return agreed(votes, majority_map(label_maps_of(votes)))


def agreed(votes: Sequence[Annotation], answer: int | LabelMap) -> Annotation:
    """``answer`` as what all who voted say together; a single vote stands for itself.

    Its seconds are those of all, and its revision is how many they are: one more vote makes it a newer answer.
    """
    if len(votes) == 1:
        return votes[0]
    label_map = answer if isinstance(answer, np.ndarray) else None
    return Annotation(
        annotation_id=agreed_id(votes[0].patch.candidate_id),
        revision=len(votes),
        patch=votes[0].patch,
        annotator=" + ".join(sorted(vote.annotator for vote in votes)),
        answered_at=max(vote.answered_at for vote in votes),
        seconds=sum(vote.seconds for vote in votes),
        class_id=answer if isinstance(answer, int) else None,
        label_map_zyx=label_map,
    )


def agreed_id(candidate_id: str) -> str:
    """The annotation id of the answer that several people agreed on."""
    return f"agreed-{candidate_id}"


def majority_class(classes: Sequence[int]) -> int:
    """The commonest class; of several, the one that comes first."""
    return Counter(classes).most_common(1)[0][0]


def majority_map(label_maps: Sequence[LabelMap]) -> LabelMap:
    """Voxel by voxel the commonest class of those who answered; IGNORE where it is a tie, or nobody did."""
    maps_AZYX = np.stack(label_maps)
    answer_ZYX = np.full(maps_AZYX.shape[1:], IGNORE, np.uint16)
    most_ZYX = np.zeros(maps_AZYX.shape[1:], np.int64)
    for class_id in np.unique(maps_AZYX[maps_AZYX != IGNORE]):
        num_ZYX = np.count_nonzero(maps_AZYX == class_id, axis=0)
        answer_ZYX[(num_ZYX == most_ZYX) & (num_ZYX > 0)] = IGNORE
        answer_ZYX[num_ZYX > most_ZYX] = class_id
        most_ZYX = np.maximum(most_ZYX, num_ZYX)
    return answer_ZYX


def label_maps_of(votes: Sequence[Annotation]) -> list[LabelMap]:
    """The label maps among votes."""
    return [vote.label_map_zyx for vote in votes if vote.label_map_zyx is not None]


def fleiss_kappa(counts_NC: npt.NDArray[np.integer]) -> float | None:
    """How far several people agree about classes: 1 is total agreement, 0 what chance would give.

    ``counts_NC`` says how many gave each class. Fleiss 1971 (https://doi.org/10.1037/h0031619) has equally many answers
    about every candidate; where they differ, every candidate counts alike (Gwet 2014, "Handbook of Inter-Rater
    Reliability", chapter 2). Candidates with one answer are left out. None where none are left, or all is one class.
    """
    counts_NC = counts_NC[counts_NC.sum(axis=1) > 1].astype(np.float64)
    num_N = counts_NC.sum(axis=1)
    if not len(counts_NC):
        return None
    observed = float(np.mean((counts_NC * (counts_NC - 1)).sum(axis=1) / (num_N * (num_N - 1))))
    by_chance = float(((counts_NC / num_N[:, np.newaxis]).mean(axis=0) ** 2).sum())
    return (observed - by_chance) / (1 - by_chance) if by_chance < 1 else None


def answered_dice(one_ZYX: npt.NDArray[Any], other_ZYX: npt.NDArray[Any]) -> float:
    """Dice of the foreground, all classes together, over voxels that both answered; 1 where neither has any."""
    answered = (one_ZYX != IGNORE) & (other_ZYX != IGNORE)
    one, other = one_ZYX[answered], other_ZYX[answered]
    total = int(np.count_nonzero(one) + np.count_nonzero(other))
    return 1.0 if total == 0 else 2 * int(np.count_nonzero((one == other) & (one > 0))) / total


def mean_pairwise_dice(label_maps: Sequence[LabelMap]) -> float:
    """The mean of `answered_dice` over all pairs of at least two label maps, 0 to 1."""
    return float(np.mean([answered_dice(one, other) for one, other in combinations(label_maps, 2)]))
