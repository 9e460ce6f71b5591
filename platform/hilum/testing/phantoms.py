"""Small made-up images with lesions, whole stores of them: for tests and first steps, never for evidence.

A lesion is a bright ball in a noisy organ. Frames of class 1 hold one, frames of class 0 do
not; label maps mark its voxels with 1. Shape letters: C = channels, Z, Y, X = space.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from hilum.core.asking import Candidate, Chosen, LabelMap, Task
from hilum.core.geometry import Grid, Patch, Zyx
from hilum.core.ids import content_id
from hilum.core.imaging import Side, Study, Volume
from hilum.core.recipes import IngestRecipe, Question
from hilum.store.layout import Store
from hilum.store.manifest import Run
from hilum.store.opening import create_store
from hilum.store.tables import QUARANTINE, write_rows
from hilum.store.volumes import volumes_of, write_volume, write_volume_table

_INGEST_STEP_VERSION = 1
_SIDES: tuple[Side, ...] = ("pool", "pool", "pool", "validation", "test")
_ORGAN, _LESION, _NOISE = 400.0, 900.0, 60.0


@dataclass(frozen=True)
class Phantom:
    """What a phantom store holds: which question it can answer and how large its images are."""

    question: Question
    spatial_dims: Literal[2, 3] = 2
    num_patients: int = 5
    num_frames: int = 12
    size: int = 16
    seed: int = 0

    @property
    def class_names(self) -> tuple[str, str]:
        return ("no lesion", "lesion") if self.question == "classify" else ("background", "lesion")

    @property
    def patch_shape_zyx(self) -> Zyx:
        return (1 if self.spatial_dims == 2 else self.size, self.size, self.size)


def phantom_store(url: str, phantom: Phantom) -> tuple[Store, str]:
    """A store with the phantom's volumes, and the id of the ingest that holds them."""
    store, _ = create_store(url)
    recipe = IngestRecipe(patch_shape_zyx=phantom.patch_shape_zyx, class_names=phantom.class_names)
    run = Run(store, "ingest", _INGEST_STEP_VERSION, recipe, {"source": content_id(repr(phantom))})
    volumes = [_write_patient(store, phantom, number) for number in range(phantom.num_patients)]
    write_volume_table(run.path("volumes.parquet"), volumes)
    write_rows(run.path("quarantine.parquet"), QUARANTINE, [])
    run.commit(
        files=["volumes.parquet", "quarantine.parquet"],
        num_volumes=len(volumes),
        num_items=sum(volume.num_items for volume in volumes),
        num_quarantined=0,
        num_patients=len(volumes),
        class_names=list(phantom.class_names),
    )
    return store, run.run_id


def phantom_tasks(store: Store, ingest_id: str, phantom: Phantom, *, num: int = 4) -> list[Task]:
    """Tasks about the first items of the phantom's first volume, as a selection would ask them."""
    volume = min(volumes_of(store, ingest_id).values(), key=lambda volume: volume.volume_id)
    z, y, x = phantom.patch_shape_zyx
    patches = [Patch(volume.volume_id, (rank * z, 0, 0), (z, y, x)) for rank in range(num)]
    candidates = [Candidate(patch, volume.study.patient_id) for patch in patches]
    chosen = [Chosen(candidate, rank, "entropy", 0.5, "unsure") for rank, candidate in enumerate(candidates)]
    return [Task("c0ffee000000", one, phantom.question, phantom.class_names) for one in chosen]


def lesion_image(
    rng: np.random.Generator, shape_zyx: Zyx, *, with_lesion: bool = True
) -> tuple[npt.NDArray[np.uint16], LabelMap]:
    """One noisy image (C, Z, Y, X) and its label map (Z, Y, X), with a ball somewhere if wanted."""
    image_ZYX = rng.normal(_ORGAN, _NOISE, shape_zyx)
    label_map_ZYX = np.zeros(shape_zyx, dtype=np.uint16)
    if with_lesion:
        radius = rng.uniform(0.18, 0.3) * shape_zyx[-1]
        centre = [rng.uniform(0.3, 0.7) * (size - 1) for size in shape_zyx]
        apart = np.meshgrid(*(np.arange(n) - c for n, c in zip(shape_zyx, centre, strict=True)), indexing="ij")
        label_map_ZYX[sum(axis**2 for axis in apart) <= radius**2] = 1
        image_ZYX += label_map_ZYX * rng.uniform(0.7, 1.0) * (_LESION - _ORGAN)
    return np.clip(np.rint(image_ZYX), 0, 2000).astype(np.uint16)[None], label_map_ZYX


def _write_patient(store: Store, phantom: Phantom, number: int) -> Volume:
    """One patient: a stack of frames (or blocks), about a third of which hold a lesion."""
    rng = np.random.default_rng([phantom.seed, number])
    item_shape = phantom.patch_shape_zyx
    has_lesion = rng.random(phantom.num_frames) < 0.35
    has_lesion[:2] = True, False  # both kinds are in every patient
    made = [lesion_image(rng, item_shape, with_lesion=bool(lesion)) for lesion in has_lesion]
    image_CZYX = np.concatenate([image for image, _ in made], axis=1)
    label_map_ZYX = np.concatenate([labels for _, labels in made], axis=0)
    segments = phantom.question == "segment"
    volume = Volume(
        volume_id=content_id([phantom.question, phantom.spatial_dims, phantom.size, phantom.seed, number]),
        study=Study(content_id(["study", number]), content_id(["patient", number])),
        grid=Grid(label_map_ZYX.shape, (2.0, 1.0, 1.0), (-5.0, 3.0, 40.0)),
        item_shape_zyx=item_shape,
        num_channels=1,
        modality="phantom",
        low=0.0,
        high=1200.0,
        has_label_map=segments,
        classes=() if segments else tuple(int(lesion) for lesion in has_lesion),
        side=_SIDES[number % len(_SIDES)],
    )
    truth = label_map_ZYX if segments else None
    write_volume(store, volume, image_CZYX, truth, patch_shape_zyx=item_shape)
    return volume
