"""From a select recipe to the caps and exclusions it means, for the candidates of one pool."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hilum.core.errors import RecipeError
from hilum.core.imaging import Volume
from hilum.core.recipes import QuotaRecipe, SelectRecipe
from hilum.select.constraints import NO_GROUP, Cap, Caps, most_of_share
from hilum.select.scored import UNKNOWN, Ints

Volumes = Mapping[str, Volume]

_NAMES = ("candidate_id", "volume_id", "patient_id")
_SAID_OF_A_VOLUME: Mapping[str, Callable[[Volume], tuple[str, ...]]] = {
    "modality": lambda volume: (volume.modality,),
    "manufacturer": lambda volume: (volume.tags.get("Manufacturer", ""),),
    "scanner": lambda volume: (volume.tags.get("Manufacturer", ""), volume.tags.get("ManufacturerModelName", "")),
}


def reads_volumes(recipe: SelectRecipe) -> bool:
    """Whether the recipe asks what only the volumes know. A table of a million is not read for nothing."""
    return bool(recipe.exclude) or any(quota.by in _SAID_OF_A_VOLUME for quota in recipe.quotas)


def caps_of(recipe: SelectRecipe, rows: pa.Table, predicted_class: Ints, volumes: Volumes) -> Caps:
    """The caps on ``rows`` of a pool, which the model predicts to be of ``predicted_class``."""
    caps = []
    if recipe.max_per_patient is not None:
        patients = rows["patient_id"].to_pylist()
        caps.append(Cap(f"max_per_patient {recipe.max_per_patient}", _numbered(patients), recipe.max_per_patient))
    for quota in recipe.quotas:
        name = f"the quota of {quota.max_share:.0%} by {quota.by}"
        groups = _groups(quota, rows, predicted_class, volumes)
        caps.append(Cap(name, groups, most_of_share(recipe.num, quota.max_share)))
    return Caps(caps)


def check_exclusions(named: Sequence[str], pool: pa.Table, volumes: Volumes) -> None:
    """RecipeError when a name is nobody's: a misspelt patient would be asked about."""
    if not named:
        return
    known = {name for column in _NAMES for name in pool[column].to_pylist()}
    known |= {name for volume in volumes.values() for name in (volume.volume_id, volume.study.patient_id)}
    unknown = sorted(set(named) - known)
    if unknown:
        raise RecipeError(
            f"select.exclude names {', '.join(unknown[:3])}{' and others' if len(unknown) > 3 else ''}: no candidate "
            "of this pool, and no volume or patient that was ingested. Patients go by their pseudonyms."
        )


def excluded(named: Sequence[str], rows: pa.Table) -> npt.NDArray[np.bool_]:
    """Which rows of a pool are named, or their volume or patient is."""
    hit = np.zeros(rows.num_rows, bool)
    for column in _NAMES if named else ():
        hit |= np.isin(np.array(rows[column].to_pylist(), np.str_), list(named))
    return hit


def _groups(quota: QuotaRecipe, rows: pa.Table, predicted_class: Ints, volumes: Volumes) -> Ints:
    if quota.by == "patient":
        return _numbered(rows["patient_id"].to_pylist())
    if quota.by == "class":
        # Before there is a model nothing is predicted, and nothing is capped.
        return np.where(predicted_class == UNKNOWN, NO_GROUP, predicted_class)
    said = [_SAID_OF_A_VOLUME[quota.by](volumes[volume_id]) for volume_id in rows["volume_id"].to_pylist()]
    if said and not any(any(words) for words in said):
        raise RecipeError(
            f"select.quotas cannot go by {quota.by}: no header of these images says it. "
            "`hilum look` shows what is known of them."
        )
    return _numbered(said)


def _numbered(names: Sequence[object]) -> Ints:
    """Each name's number, in the order of the names."""
    numbers = {name: number for number, name in enumerate(sorted(set(names)))}  # type: ignore[type-var]
    return np.array([numbers[name] for name in names], np.int64)
