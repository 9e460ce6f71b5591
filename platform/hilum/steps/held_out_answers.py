"""Which answers tell an early stop when to stop: all about some of the answered patients.

Patients of the validation and test sides are never among them: nobody is asked about those.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from hilum.core.asking import Annotation
from hilum.core.imaging import Volume
from hilum.core.recipes import FinetuneRecipe

_HOLD_OUT = 5


def split_off(
    recipe: FinetuneRecipe, answers: Sequence[Annotation], volumes: Mapping[str, Volume]
) -> tuple[list[Annotation], list[Annotation]]:
    """Answers to train on and answers to check with; none to check with where only one patient was answered."""
    patient_of = {answer.annotation_id: volumes[answer.patch.volume_id].study.patient_id for answer in answers}
    patients = sorted(set(patient_of.values()))
    if recipe.early_stop is None or len(patients) < 2:
        return list(answers), []
    num = min(len(patients) - 1, max(1, round(recipe.early_stop.share * len(patients))))
    order = np.random.default_rng([recipe.seed, _HOLD_OUT]).permutation(len(patients))
    chosen = {patients[place] for place in order[:num]}
    taught = [answer for answer in answers if patient_of[answer.annotation_id] not in chosen]
    return taught, [answer for answer in answers if patient_of[answer.annotation_id] in chosen]
