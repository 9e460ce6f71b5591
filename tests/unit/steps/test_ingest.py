"""ingest: what is good becomes volumes, what is not is set aside, and no name gets into the store."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from tests.unit.adapters.dicom_phantoms import SHAPE_ZYX, ct_series, payload_of, segmentation

from hilum.adapters.folders import find_source
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.reading import read_item
from hilum.core.errors import DataError
from hilum.core.geometry import Grid, Patch
from hilum.core.recipes import IngestRecipe
from hilum.core.resources import Resources
from hilum.core.sources import ReadImage
from hilum.steps import ingest
from hilum.store.layout import Store
from hilum.store.manifest import verify
from hilum.store.tables import QUARANTINE, read_table
from hilum.store.volumes import open_volume, volumes_of


def ingested(folder, store, *, executor=None, **recipe):
    return ingest.run(
        IngestRecipe(patch_shape_zyx=(4, 8, 8), **recipe),
        find_source(str(folder)),
        store=store,
        executor=executor or InlineExecutor(),
        resources=Resources(),
        read=read_item,
    )


def scan(path, seed=0, shape=(9, 10, 11), *, descrip=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(seed).integers(0, 900, shape).astype(np.int16)
    image = nib.Nifti1Image(data, np.diag([-1.0, 2.0, 3.0, 1.0]))
    image.header["descrip"] = descrip
    nib.save(image, path)
    return data


def picture(path, seed=0, shape=(16, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "store"))


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    for seed, name in enumerate(("ada", "ben", "cyd")):
        data = scan(folder / "images" / f"{name}.nii.gz", seed)
        labels = nib.Nifti1Image((data % 3).astype(np.uint8), np.diag([-1.0, 2.0, 3.0, 1.0]))
        (folder / "labels").mkdir(exist_ok=True)
        nib.save(labels, folder / "labels" / f"{name}.nii.gz")
    return folder


def test_scans_become_volumes_with_their_voxels_labels_and_place(scans, store):
    manifest = ingested(scans, store)
    assert manifest.results == {
        "num_volumes": 3,
        "num_items": 3,
        "num_quarantined": 0,
        "num_patients": 3,
        "class_names": ["background", "class 1", "class 2"],
    }
    assert verify(store.run("ingest", manifest.run_id), manifest) == []
    data = np.asarray(nib.load(scans / "images" / "ada.nii.gz").dataobj)
    found = []
    for volume in volumes_of(store, manifest.run_id).values():
        assert volume.grid.spacing_mm_zyx == (3.0, 2.0, 1.0)
        assert volume.grid.index_to_world((0, 0, 5)).tolist() == [-5.0, 0.0, 0.0]
        reader = open_volume(store, volume)
        patch = Patch(volume.volume_id, (0, 0, 0), volume.grid.shape_zyx)
        image = reader.read_CZYX(patch)
        assert np.array_equal(reader.read_label_map_ZYX(patch), image[0] % 3)
        assert volume.low == pytest.approx(np.percentile(image, 0.5))
        assert volume.high == pytest.approx(np.percentile(image, 99.5))
        found.append(np.array_equal(image[0], data.T))
    assert sum(found) == 1


def test_the_second_run_finds_everything_done(scans, store):
    class NobodyWorks(InlineExecutor):
        def map_shards(self, work, shards, **_):
            pytest.fail("work was sent out twice")

    first = ingested(scans, store)
    assert ingested(scans, store, executor=NobodyWorks()) == first


def test_a_bad_file_is_quarantined_with_its_reason_and_the_rest_goes_on(scans, store):
    whole = (scans / "images" / "ben.nii.gz").read_bytes()
    (scans / "images" / "ben.nii.gz").write_bytes(whole[:-20])
    (scans / "images" / "dot.png").write_bytes(b"no image")
    manifest = ingested(scans, store)
    assert manifest.results["num_volumes"] == 2
    assert manifest.results["num_quarantined"] == 2
    files = dict(ingest.quarantined_files(store, manifest, find_source(str(scans))))
    assert set(files) == {"images/ben.nii.gz", "images/dot.png"}
    assert "cut short" in files["images/ben.nii.gz"]


def test_a_file_that_the_index_names_and_nobody_has_is_quarantined(tmp_path, store):
    picture(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "index.csv").write_text("image\na.png\ngone.png\n")
    assert ingested(tmp_path / "in", store).results["num_quarantined"] == 1


def test_when_no_file_is_good_the_first_reason_is_the_error_and_nothing_is_published(tmp_path, store):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="None of the 1 files could be used"):
        ingested(tmp_path / "in", store)
    assert not list((tmp_path / "store" / "runs").rglob("manifest.json"))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_refused(tmp_path, store, bad):
    array = np.ones((8, 8), np.float32)
    np.save(tmp_path / "good.npy", array)
    array[3, 4] = bad
    np.save(tmp_path / "bad.npy", array)
    manifest = ingested(tmp_path, store)
    ((file, reason),) = ingest.quarantined_files(store, manifest, find_source(str(tmp_path)))
    assert file == "bad.npy"
    assert "[0, 0, 3, 4]" in reason


CANARIES = (b"DOE", b"JANE", b"Jane", b"MRN123", b"1970-01-01")


def test_no_byte_of_the_store_holds_a_name_from_files_folders_headers_or_index(tmp_path, store):
    folder = tmp_path / "Jane_clinic"
    scan(folder / "Doe_JANE_1970-01-01.nii.gz", descrip=b"DOE^JANE MRN123")
    scan(folder / "sub_JANE" / "b.nii.gz", 1)
    (folder / "sub_JANE" / "DOE.png").write_bytes(b"no image of JANE")
    rows = [
        "image,patient",
        "Doe_JANE_1970-01-01.nii.gz,JANE DOE MRN123",
        "sub_JANE/b.nii.gz,DOE",
        "sub_JANE/DOE.png,DOE",
    ]
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    manifest = ingested(folder, store)
    assert (manifest.results["num_volumes"], manifest.results["num_quarantined"]) == (2, 1)
    for path in (tmp_path / "store").rglob("*"):
        assert not any(canary.decode() in path.name for canary in CANARIES), path.name
        if path.is_file():
            assert not any(canary in path.read_bytes() for canary in CANARIES), path


def test_a_patient_has_one_pseudonym_in_a_store_and_another_in_the_next(tmp_path):
    folder = tmp_path / "in"
    for seed in range(3):
        picture(folder / f"{seed}.png", seed)
    (folder / "index.csv").write_text("image,patient\n0.png,ada\n1.png,ada\n2.png,ben\n")
    names = []
    for place in ("one", "two"):
        store = Store(str(tmp_path / place))
        manifest = ingested(folder, store)
        assert manifest.results["num_patients"] == 2
        names.append({v.study.patient_id for v in volumes_of(store, manifest.run_id).values()})
    assert not names[0] & names[1]


def test_volumes_have_the_same_names_on_every_machine_and_however_their_file_is_packed(tmp_path):
    found = []
    for place, file in (("one", "a.nii.gz"), ("two", "other.nii")):
        scan(tmp_path / place / file)
        store = Store(str(tmp_path / f"store-{place}"))
        found.append(list(volumes_of(store, ingested(tmp_path / place, store).run_id)))
    assert found[0] == found[1]


def test_what_a_volume_says_changes_its_name(tmp_path, store):
    names = set()
    for side, kind in (("pool", "x"), ("test", "x"), ("pool", "y")):
        folder = tmp_path / f"{side}{kind}"
        picture(folder / "a.png")
        (folder / "labels.json").write_text('["x", "y"]')
        (folder / "index.csv").write_text(f"image,class,side\na.png,{kind},{side}\n")
        names |= set(volumes_of(store, ingested(folder, store).run_id))
    assert len(names) == 3


def test_classes_from_an_index_are_numbers_into_the_sorted_names(tmp_path, store):
    folder = tmp_path / "in"
    for seed in range(3):
        picture(folder / f"{seed}.png", seed)
    (folder / "index.csv").write_text("image,class,side\n0.png,polyp,pool\n1.png,clear,test\n2.png,,\n")
    manifest = ingested(folder, store)
    assert manifest.results["class_names"] == ["clear", "polyp"]
    found = {(v.classes, v.side) for v in volumes_of(store, manifest.run_id).values()}
    assert found == {((1,), "pool"), ((0,), "test"), ((), None)}


def test_class_names_in_the_recipe_win_and_a_class_beyond_them_is_quarantined(tmp_path, store):
    folder = tmp_path / "in"
    picture(folder / "0.png", 0)
    picture(folder / "1.png", 1)
    (folder / "index.csv").write_text("image,class\n0.png,polyp\n1.png,unheard\n")
    manifest = ingested(folder, store, class_names=("clear", "polyp"))
    assert manifest.results["class_names"] == ["clear", "polyp"]
    assert manifest.results["num_quarantined"] == 1
    (volume,) = volumes_of(store, manifest.run_id).values()
    assert volume.classes == (1,)


def test_a_label_beyond_the_named_classes_is_quarantined(scans, store):
    with pytest.raises(DataError, match="the 2 classes named are 0 to 1"):
        ingested(scans, store, class_names=("background", "only"))


def stack(path, seed=0, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(seed).integers(0, 255, (6, 8, 8)).astype(np.uint8)
    np.savez(path, images=images, **arrays)


def test_a_stack_becomes_a_volume_for_each_patient_with_a_class_an_item(tmp_path, store):
    stack(
        tmp_path / "in" / "s.npz",
        labels=np.array([0, 1, 2, 0, 1, -1]),
        patients=np.array(["a", "a", "b", "b", "b", "c"]),
        sides=np.array(["pool"] * 5 + ["test"]),
        class_names=np.array(["x", "y", "z"]),
    )
    manifest = ingested(tmp_path / "in", store)
    assert manifest.results["class_names"] == ["x", "y", "z"]
    assert (manifest.results["num_volumes"], manifest.results["num_items"]) == (3, 6)
    found = {(v.classes, v.side, v.num_items, v.item_shape_zyx) for v in volumes_of(store, manifest.run_id).values()}
    assert found == {
        ((0, 1), "pool", 2, (1, 8, 8)),
        ((2, 0, 1), "pool", 3, (1, 8, 8)),
        ((-1,), "test", 1, (1, 8, 8)),
    }
    assert {(v.low, v.high) for v in volumes_of(store, manifest.run_id).values()} == {(0.0, 255.0)}


def test_a_stack_s_names_are_mapped_onto_the_recipe_s(tmp_path, store):
    stack(tmp_path / "in" / "s.npz", labels=np.array([0, 1, 1, 0, 1, -1]), class_names=np.array(["b", "a"]))
    manifest = ingested(tmp_path / "in", store, class_names=("a", "b"))
    (volume,) = volumes_of(store, manifest.run_id).values()
    assert volume.classes == (1, 0, 0, 1, 0, -1)


def test_stacks_that_disagree_on_the_names_are_refused_unless_the_recipe_settles_it(tmp_path, store):
    for seed, names in enumerate((["a", "b"], ["b", "a"])):
        stack(tmp_path / "in" / f"{seed}.npz", seed, labels=np.zeros(6, int), class_names=np.array(names))
    with pytest.raises(DataError, match="disagree"):
        ingested(tmp_path / "in", store)
    assert ingested(tmp_path / "in", store, class_names=("a", "b")).results["num_volumes"] == 2


@pytest.mark.parametrize("labels", [np.full(6, -2), np.full(6, 5)])
def test_classes_out_of_range_are_refused(tmp_path, store, labels):
    stack(tmp_path / "in" / "s.npz", labels=labels, class_names=np.array(["a", "b"]))
    with pytest.raises(DataError, match="−1"):
        ingested(tmp_path / "in", store)


def test_the_same_voxels_twice_are_one_volume_and_the_copy_is_quarantined(tmp_path, store):
    picture(tmp_path / "in" / "a.png", 1)
    picture(tmp_path / "in" / "b.png", 2)
    picture(tmp_path / "in" / "copy_of_a.png", 1)
    manifest = ingested(tmp_path / "in", store)
    assert manifest.results["num_volumes"] == 2
    ((file, reason),) = ingest.quarantined_files(store, manifest, find_source(str(tmp_path / "in")))
    assert file == "copy_of_a.png"
    assert "same voxels" in reason


def test_images_with_other_channels_than_most_are_quarantined(tmp_path, store):
    for seed in range(3):
        picture(tmp_path / "in" / f"{seed}.png", seed)
    picture(tmp_path / "in" / "colour.png", 9, (16, 16, 3))
    manifest = ingested(tmp_path / "in", store)
    ((file, reason),) = ingest.quarantined_files(store, manifest, find_source(str(tmp_path / "in")))
    assert file == "colour.png"
    assert "3 channels" in reason


class KilledAfter(InlineExecutor):
    """Does so many shards and then dies, as a machine does."""

    def __init__(self, num):
        self.num, self.done = num, 0

    def map_shards(self, work, shards, **_):
        for shard in shards:
            if self.done == self.num:
                raise KeyboardInterrupt
            self.done += 1
            yield work(shard)


@pytest.mark.parametrize("num_done", [0, 1, 2])
def test_an_ingest_that_was_killed_goes_on_where_it_was_and_ends_the_same(tmp_path, num_done):
    folder = tmp_path / "in"
    for seed in range(20):
        picture(folder / f"{seed:02d}.png", seed)
    (folder / "00.png").write_bytes(b"no image")
    (folder / "19.png").write_bytes(b"no image")
    whole = Store(str(tmp_path / "whole"))
    expected = ingested(folder, whole)
    store = Store(str(tmp_path / "killed"))
    with pytest.raises(KeyboardInterrupt):
        ingested(folder, store, executor=KilledAfter(num_done))
    rest = KilledAfter(99)
    manifest = ingested(folder, store, executor=rest)
    # The first shard and the last hold a bad file, and are tried again.
    assert rest.done == {0: 3, 1: 3, 2: 2}[num_done]
    assert manifest.results == expected.results
    assert set(volumes_of(store, manifest.run_id)) == set(volumes_of(whole, expected.run_id))


def test_the_order_in_which_shards_finish_does_not_matter(tmp_path):
    class Backwards(InlineExecutor):
        def map_shards(self, work, shards, **options):
            return super().map_shards(work, list(shards)[::-1], **options)

    folder = tmp_path / "in"
    for seed in range(20):
        picture(folder / f"{seed:02d}.png", seed % 17)  # three are copies
    one, two = Store(str(tmp_path / "one")), Store(str(tmp_path / "two"))
    first, second = ingested(folder, one), ingested(folder, two, executor=Backwards())
    assert first.results == second.results
    assert set(volumes_of(one, first.run_id)) == set(volumes_of(two, second.run_id))


def test_repairing_a_file_before_anything_was_published_is_enough(tmp_path, store):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError):
        ingested(folder, store)
    picture(folder / "a.png")
    manifest = ingested(folder, store)
    assert manifest.results["num_quarantined"] == 0
    url = f"{store.run('ingest', manifest.run_id)}/quarantine.parquet"
    assert read_table(url, QUARANTINE).num_rows == 0


@pytest.mark.parametrize(
    ("voxels", "expected"),
    [
        (np.array([0, 200], np.uint8), (0.0, 255.0)),
        (np.array([0, 1], np.uint8), (0.0, 1.0)),
        (np.array([0, 0], np.uint8), (0.0, 1.0)),
        (np.array([7.0, 7.0], np.float32), (7.0, 8.0)),
    ],
)
def test_grey_ranges_are_never_empty(voxels, expected):
    image = ReadImage(voxels.reshape(1, 1, 1, 2), Grid((1, 1, 2)), (1, 1, 2), intensity="photograph")
    assert image.grey_range() == expected


def test_one_bright_voxel_does_not_set_a_scan_s_range():
    scan_CZYX = np.random.default_rng(0).normal(100, 10, (1, 20, 30, 30)).astype(np.float32)
    scan_CZYX[0, 0, 0, 0] = 1e6
    low, high = ReadImage(scan_CZYX, Grid((20, 30, 30)), (20, 30, 30)).grey_range()
    assert 60 < low < 90
    assert 110 < high < 140


def test_a_file_larger_than_the_recipe_allows_is_set_aside_and_a_larger_limit_takes_it_in(tmp_path, store):
    scan(tmp_path / "in" / "small.nii.gz", 1)
    scan(tmp_path / "in" / "large.nii.gz", 2, (100, 90, 80))
    strict = ingested(tmp_path / "in", store, max_bytes=1 << 20)
    ((file, reason),) = ingest.quarantined_files(store, strict, find_source(str(tmp_path / "in")))
    assert file == "large.nii.gz"
    assert "1.05 MiB; at most 1 MiB" in reason
    generous = ingested(tmp_path / "in", store, max_bytes=2 << 20)
    assert (strict.results["num_volumes"], generous.results["num_volumes"]) == (1, 2)
    assert strict.run_id != generous.run_id


def test_a_file_whose_name_is_no_text_is_taken_in_and_told_like_any_other(tmp_path, store):
    picture(tmp_path / "in" / "good.png")
    folder = os.fsencode(tmp_path / "in")
    with Path(os.fsdecode(folder + b"/\xff\xfe\x1b[2J.png")).open("wb") as file:
        file.write(b"no image")
    with Path(os.fsdecode(folder + b"/g\xe4nse.npy")).open("wb") as file:
        np.save(file, np.arange(64, dtype=np.uint8).reshape(8, 8))
    manifest = ingested(tmp_path / "in", store)
    ((file, _),) = ingest.quarantined_files(store, manifest, find_source(str(tmp_path / "in")))
    assert manifest.results["num_volumes"] == 2
    assert file.isprintable()
    assert file.endswith("[2J.png")


def test_what_a_header_contradicts_travels_with_its_volume(tmp_path, store):
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([1.0, 2, 3, 1]))
    image.set_qform(np.diag([-1.0, 2, 3, 1]), 1)
    (tmp_path / "in").mkdir()
    nib.save(image, tmp_path / "in" / "two-opinions.nii")
    manifest = ingested(tmp_path / "in", store)
    (volume,) = volumes_of(store, manifest.run_id).values()
    assert volume.flags == ("orientation_conflict",)


def test_structures_drawn_in_dicom_mean_the_same_class_in_every_image(tmp_path, store):
    for name, drawn in (("one", ["Liver", "Spleen"]), ("two", ["Spleen"])):
        slices = ct_series(name)
        marks = np.zeros((*SHAPE_ZYX, len(drawn)), np.uint8)
        for number in range(len(drawn)):
            marks[1, 2 + 2 * number, 3, number] = 1
        (tmp_path / "in" / name).mkdir(parents=True)
        for number, made in enumerate([*slices, segmentation(slices, marks, drawn)]):
            (tmp_path / "in" / name / str(number)).write_bytes(payload_of(made))
    manifest = ingested(tmp_path / "in", store)
    assert manifest.results["num_quarantined"] == 0
    assert manifest.results["class_names"] == ["background", "Liver", "Spleen"]
    seen = []
    for volume in volumes_of(store, manifest.run_id).values():
        labels = open_volume(store, volume).read_label_map_ZYX(
            Patch(volume.volume_id, (0, 0, 0), volume.grid.shape_zyx)
        )
        seen.append(sorted(set(labels.ravel().tolist())))
    assert sorted(seen) == [[0, 1, 2], [0, 2]]
