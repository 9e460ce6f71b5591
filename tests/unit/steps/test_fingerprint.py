"""fingerprint: what the images are like, found by reading a real store."""

import numpy as np
import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.core.errors import DataError
from hilum.core.fingerprint import FingerprintRecipe
from hilum.core.geometry import Grid
from hilum.core.imaging import Study, Volume
from hilum.core.recipes import IngestRecipe, SplitRecipe
from hilum.core.resources import Resources
from hilum.steps import fingerprint
from hilum.store.manifest import Run
from hilum.store.opening import create_store
from hilum.store.tables import QUARANTINE, write_rows
from hilum.store.volumes import write_volume, write_volume_table
from hilum.testing.phantoms import Phantom, phantom_store

NAMES = ("background", "organ", "lesion")


class Backwards(InlineExecutor):
    """Shards come back in the other order."""

    def map_shards(self, work, shards, **options):
        return reversed(list(super().map_shards(work, shards, **options)))


def look(store, ingest_id, recipe=None, executor=None):
    return fingerprint.run(
        recipe or FingerprintRecipe(),
        {"ingest": ingest_id},
        store=store,
        executor=executor or InlineExecutor(),
        resources=Resources(),
    )


def scan(number, *, shape=(40, 90, 100), spacing=(2.0, 1.0, 1.0), side=None, direction=None, flags=(), **changes):
    """A volume of 100 with an organ of 300 and one bright lesion in a corner."""
    image = np.full((1, *shape), 100, np.int16)
    labels = np.zeros(shape, np.uint16)
    labels[10:20, 30:60, 30:60] = 1
    labels[2:4, 2:4, 2:4] = 2
    image[0, labels == 1] = 300
    image[0, labels == 2] = 900
    grid = Grid(shape, spacing, **({"direction": direction} if direction else {}))
    known = {"modality": "MR", "low": 0.0, "high": 1000.0, "has_label_map": True, "num_channels": 1, **changes}
    study = Study(f"s{number:011d}", f"a{number:011d}")
    volume = Volume(f"{number:012d}", study, grid, shape, side=side, flags=flags, **known)
    return volume, image, labels if known["has_label_map"] else None


def store_of(folder, *scans):
    store, _ = create_store(str(folder))
    run = Run(store, "ingest", 1, IngestRecipe(class_names=NAMES), {"source": "c0ffee"})
    for volume, image, labels in scans:
        write_volume(store, volume, image, labels, patch_shape_zyx=(16, 32, 32))
    write_volume_table(run.path("volumes.parquet"), [volume for volume, _, _ in scans])
    write_rows(run.path("quarantine.parquet"), QUARANTINE, [])
    run.commit(files=["volumes.parquet", "quarantine.parquet"], class_names=list(NAMES))
    return store, run.run_id


def found_in(folder, *scans, **options):
    return fingerprint.read_fingerprint(look(*store_of(folder, *scans), **options))


def test_every_voxel_of_every_label_map_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "_SLAB_VOXELS", 100_000)  # several slabs a volume
    found = found_in(tmp_path, *(scan(n, side="pool") for n in range(3)))
    organ, lesion = 10 * 30 * 30, 8
    assert found.class_voxels == [3 * (40 * 90 * 100 - organ - lesion), 3 * organ, 3 * lesion]
    assert found.class_volumes == [3, 3, 3]


def test_a_lesion_of_eight_voxels_in_a_large_scan_is_not_missed_among_grey_levels(tmp_path):
    volume, image, labels = scan(1, side="pool")
    labels[labels == 1] = 0
    assert found_in(tmp_path, (volume, image, labels)).grey_levels["MR"].foreground == (900, 900, 900)


def test_foreground_and_all_are_told_apart(tmp_path):
    levels = found_in(tmp_path, *(scan(n, side="pool") for n in range(2))).grey_levels["MR"]
    assert levels.foreground[0] == 300
    assert levels.all[0] == 100


def test_modalities_have_grey_levels_of_their_own(tmp_path):
    found = found_in(tmp_path, scan(1, side="pool"), scan(2, side="pool", modality="CT", has_label_map=False))
    assert found.modalities == {"CT": 1, "MR": 1}
    assert found.grey_levels["CT"].foreground is None
    assert found.num_labelled == 1


def test_patients_of_the_test_side_are_not_looked_at(tmp_path):
    hidden = scan(9, side="test", shape=(60, 90, 100), spacing=(9.0, 1.0, 1.0))
    found = found_in(tmp_path, scan(1, side="pool"), scan(2, side="validation"), hidden)
    assert found.num_volumes == 2
    assert found.spacing_mm_zyx.most == (2, 1, 1)
    assert found.item_shape_zyx.most == (40, 90, 100)


def test_a_damaged_volume_is_counted_and_the_rest_is_read(tmp_path):
    store, ingest_id = store_of(tmp_path, scan(1, side="pool"), scan(2, side="pool"))
    (tmp_path / "volumes" / f"{2:012d}.zarr" / "zarr.json").unlink()
    found = fingerprint.read_fingerprint(look(store, ingest_id))
    assert found.num_unreadable == 1
    assert found.class_volumes == [1, 1, 1]


def test_sizes_are_the_patient_s_where_scans_lie_differently(tmp_path):
    sagittal = ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))  # the array's Y is the patient's z
    turned = scan(2, side="pool", shape=(90, 40, 100), spacing=(1.0, 2.0, 1.0), direction=sagittal)
    found = found_in(tmp_path, scan(1, side="pool"), turned)
    assert found.num_orientations == 2
    assert found.spacing_mm_zyx.least == found.spacing_mm_zyx.most == (2, 1, 1)
    assert found.item_shape_zyx.least == found.item_shape_zyx.most == (40, 90, 100)


def test_workers_may_answer_in_any_order(tmp_path):
    scans = [scan(n, side="pool", modality="MR") for n in range(4)]
    forth = look(*store_of(tmp_path / "forth", *scans)).results
    back = look(*store_of(tmp_path / "back", *scans), executor=Backwards()).results
    assert forth == back


def test_the_second_look_reads_nothing(tmp_path):
    store, ingest_id = store_of(tmp_path, scan(1, side="pool"))
    first = look(store, ingest_id)
    (tmp_path / "volumes" / f"{1:012d}.zarr" / "zarr.json").unlink()
    assert look(store, ingest_id) == first


def test_frames_with_classes_are_counted(tmp_path):
    store, ingest_id = phantom_store(str(tmp_path), Phantom("classify", num_frames=6))
    found = fingerprint.read_fingerprint(look(store, ingest_id))
    assert found.num_classified == sum(found.class_items) == found.num_items == 4 * 6
    assert found.has_stacks
    assert found.num_labelled == 0


def test_a_store_without_images_is_one_clear_error(tmp_path):
    with pytest.raises(DataError, match="no volume to plan for"):
        look(*store_of(tmp_path))


def test_a_split_that_leaves_only_the_test_side_is_the_same_error(tmp_path):
    store, ingest_id = store_of(tmp_path, scan(1, side="test"))
    with pytest.raises(DataError, match="no volume to plan for"):
        look(store, ingest_id, FingerprintRecipe(split=SplitRecipe(test=0.5)))
