"""From a select recipe to the caps and exclusions it means, for the candidates of one pool."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hilum.core.errors import RecipeError
from hilum.core.imaging import Volume
from hilum.core.recipes import QuotaRecipe, SelectRecipe
from hilum.select.constraints import NO_GROUP, Cap, Caps, most_of_share
from hilum.select.overlap import thin_axis
from hilum.select.scored import UNKNOWN, Ints
from hilum.store.columns import matrix, numbered

Volumes = Mapping[str, Volume]

_NAMES = ("candidate_id", "volume_id", "patient_id")
_SAID_OF_A_VOLUME: Mapping[str, Callable[[Volume], tuple[str, ...]]] = {
    "modality": lambda volume: (volume.modality,),
    "manufacturer": lambda volume: (volume.tags.get("Manufacturer", ""),),
    "scanner": lambda volume: (volume.tags.get("Manufacturer", ""), volume.tags.get("ManufacturerModelName", "")),
}


def reads_volumes(recipe: SelectRecipe) -> bool:
    """Whether the recipe asks what only the volumes know. A table of a million is not read for nothing."""
    return (
        bool(recipe.exclude)
        or recipe.min_slices_apart is not None
        or any(quota.by in _SAID_OF_A_VOLUME for quota in recipe.quotas)
    )


def caps_of(recipe: SelectRecipe, rows: pa.Table, predicted_class: Ints, volumes: Volumes) -> Caps:
    """The caps on ``rows`` of a pool, which the model predicts to be of ``predicted_class``."""
    caps = []
    if recipe.max_per_patient is not None:
        patients = numbered(rows["patient_id"])[1]
        caps.append(Cap(f"max_per_patient {recipe.max_per_patient}", patients, recipe.max_per_patient))
    for quota in recipe.quotas:
        name = f"the quota of {quota.max_share:.0%} by {quota.by}"
        groups = _groups(quota, rows, predicted_class, volumes)
        caps.append(Cap(name, groups, most_of_share(recipe.num, quota.max_share)))
    return Caps(caps)


def check_slices(recipe: SelectRecipe, rows: pa.Table, volumes: Volumes) -> None:
    """RecipeError when ``min_slices_apart`` could keep no two candidates apart: blocks, and images one by one."""
    if recipe.min_slices_apart is None or not rows.num_rows:
        return
    volume_ids, codes = numbered(rows["volume_id"])
    depths_N = np.array([volumes[one].item_shape_zyx[0] for one in volume_ids], np.int64)[codes]
    boxes = np.unique(np.column_stack([matrix(rows["shape_zyx"]), depths_N]), axis=0)
    axes = [(thin_axis(box[:3].tolist()), box) for box in boxes]
    if not any(axis is not None and (axis > 0 or box[3] > box[0]) for axis, box in axes):
        z, y, x, depth = boxes[0].tolist()
        raise RecipeError(
            f"select.min_slices_apart keeps slices of one scan apart; these candidates are {z} × {y} × {x} voxels "
            f"(Z, Y, X) of items of {depth} slices: none is thinner along one axis with others beside it. Leave it "
            "out, or ask about slices (pool.slices) or thinner patches."
        )


def check_exclusions(named: Sequence[str], pool: pa.Table, volumes: Volumes) -> None:
    """RecipeError when a name is nobody's: a misspelt patient would be asked about."""
    if not named:
        return
    wanted = pa.array(sorted(set(named)), pa.string())
    known = {name for volume in volumes.values() for name in (volume.volume_id, volume.study.patient_id)}
    for column in _NAMES:
        known |= set(wanted.filter(pc.is_in(wanted, value_set=pool[column].combine_chunks())).to_pylist())
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
        hit |= np.asarray(pc.is_in(rows[column], value_set=pa.array(list(named), pa.string())))
    return hit


def _groups(quota: QuotaRecipe, rows: pa.Table, predicted_class: Ints, volumes: Volumes) -> Ints:
    if quota.by == "patient":
        return numbered(rows["patient_id"])[1]
    if quota.by == "class":
        # Before there is a model nothing is predicted, and nothing is capped.
        return np.where(predicted_class == UNKNOWN, NO_GROUP, predicted_class)
    volume_ids, codes = numbered(rows["volume_id"])
    said = [_SAID_OF_A_VOLUME[quota.by](volumes[volume_id]) for volume_id in volume_ids]
    if said and not any(any(words) for words in said):
        raise RecipeError(
            f"select.quotas cannot go by {quota.by}: no header of these images says it. "
            "`hilum look` shows what is known of them."
        )
    machines = {words: number for number, words in enumerate(sorted(set(said)))}
    return np.array([machines[words] for words in said], np.int64)[codes]
