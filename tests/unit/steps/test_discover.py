"""Which places are a class, and a pretraining that learns them: from the store, killed anywhere, always the same."""

import numpy as np
import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.core.errors import DataError, RecipeError
from hilum.core.geometry import Grid
from hilum.core.imaging import Study, Volume
from hilum.core.recipes import Choice, DiscoverRecipe, DiscoveryRecipe, PretrainRecipe, SamplingRecipe
from hilum.core.resources import Resources
from hilum.steps import discover, pretrain
from hilum.steps.scans import DiscoveredCrops, Scan, WholeScans, discovered_patches, resized
from hilum.store import checkpoints
from hilum.store.tables import DISCOVERED, read_table
from hilum.store.volumes import volumes_of
from hilum.testing.interruptions import Countdown, InterruptedExecutor
from hilum.testing.phantoms import Phantom, phantom_store

TINY = Choice(kind="unet", depth=1, features=(4, 8))
TRAINING = {"architecture": TINY, "num_steps": 6, "batch_size": 4, "num_chunks": 2, "checkpoint_every": 2}
DISCOVERY = DiscoveryRecipe(scan_shape_zyx=(8, 8, 8), num_classes=4, num_neighbours=5, **TRAINING)
RECIPE = PretrainRecipe(
    pretext=Choice(kind="semantic"), discovery=DISCOVERY, patch_shape_zyx=(8, 8, 8), num_held_out_crops=4, **TRAINING
)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    return lambda: phantom_store(
        str(tmp_path_factory.mktemp("store") / "s"), Phantom("segment", spatial_dims=3, num_frames=3, size=16)
    )


@pytest.fixture(scope="module")
def done(scans):
    store, ingest_id = scans()
    return store, ingest_id, pretrained(store, ingest_id)


def pretrained(store, ingest_id, recipe=RECIPE, executor=None):
    return pretrain.run(
        recipe, {"ingest": ingest_id}, store=store, executor=executor or InlineExecutor(), resources=Resources()
    )


def table(store, discovery_id):
    return read_table(f"{store.run('discover', discovery_id)}/{discover.TABLE}", DISCOVERED).to_pylist()


def scan(number=0, shape=(40, 60, 60), patient=None, item=0, num_items=1):
    volume = Volume(
        f"volume-{number}",
        Study(f"study-{number}", patient or f"patient-{number}"),
        Grid((shape[0] * num_items, *shape[1:])),
        shape,
        1,
        "CT",
        0.0,
        1.0,
        has_label_map=False,
    )
    return Scan(volume, item)


def middle(row, shape):
    return (np.array(row["start_zyx"]) + np.array(row["shape_zyx"]) / 2) / shape


def test_a_pretraining_discovers_first_and_says_what(done):
    store, _, manifest = done
    rows = table(store, manifest.results["discovery"])
    assert manifest.results["num_classes"] == 4
    assert len(rows) == 4 * 5 * 3, "classes, neighbours, one crop and two resized ones"
    assert [row["number"] for row in rows] == list(range(60))
    assert [row["class_id"] for row in rows] == [number * 4 // 60 for number in range(60)], "as the pretext counts"


def test_the_checkpoint_knows_its_classes(done):
    store, _, manifest = done
    tensors, card = checkpoints.load(store, manifest.run_id)
    assert card["question"] == "pretext"
    assert card["pretext"] == {"kind": "semantic", "num_classes": 4, "num_crops": 60}
    assert card["inputs"]["discovery"] == manifest.results["discovery"]
    assert tensors["classifier.weight"].shape == (4, 8)
    assert manifest.results["restoration_mse"] > 0


def test_only_patients_that_are_learnt_from_are_discovered_in(done):
    store, ingest_id, manifest = done
    side_of = {v: volume.side for v, volume in volumes_of(store, ingest_id).items()}
    assert {side_of[row["volume_id"]] for row in table(store, manifest.results["discovery"])} == {"pool"}


@pytest.mark.parametrize("stop_at", [1, 2, 5, 9, 14, 17, 23])
def test_killed_anywhere_it_ends_with_the_same_weights(done, scans, stop_at):
    store, _, whole = done
    again, ingest_id = scans()

    def stop():
        raise KeyboardInterrupt

    countdown = Countdown(stop, stop_at)
    with pytest.raises(KeyboardInterrupt):
        pretrained(again, ingest_id, executor=InterruptedExecutor(InlineExecutor(), countdown))
    resumed = pretrained(again, ingest_id)
    assert resumed.run_id == whole.run_id
    assert table(again, resumed.results["discovery"]) == table(store, whole.results["discovery"])
    for checkpoint in (resumed.run_id, resumed.results["discovery"]):
        one, _ = checkpoints.load(again, checkpoint)
        other, _ = checkpoints.load(store, checkpoint)
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in one)


def test_another_pretraining_of_the_same_discovery_discovers_nothing_twice(done):
    store, ingest_id, manifest = done
    longer = pretrained(store, ingest_id, RECIPE.model_copy(update={"num_steps": 7}))
    assert longer.run_id != manifest.run_id
    assert longer.results["discovery"] == manifest.results["discovery"]


def test_crops_are_patches_whatever_was_cut_out_of_the_scan(done):
    store, ingest_id, manifest = done
    url = f"{store.run('discover', manifest.results['discovery'])}/{discover.TABLE}"
    patches = discovered_patches(url)
    crops = DiscoveredCrops(store, volumes_of(store, ingest_id), patches, (8, 8, 8))
    assert len({patch.shape_zyx for patch in patches}) > 1, "resized ones are among them"
    for number in range(len(patches)):
        crop = crops.crop(number)
        assert crop.shape == (1, 8, 8, 8)
        assert crop.dtype == np.float32
        assert 0 <= crop.min() < crop.max() <= 1
    assert np.array_equal(crops.crop(7), crops.crop(7))


def test_a_whole_scan_is_read_once_and_means_stay_means(done):
    store, ingest_id, _ = done
    volume = volumes_of(store, ingest_id)[min(volumes_of(store, ingest_id))]
    whole = WholeScans(store, [Scan(volume, 0), Scan(volume, 1)], (4, 4, 4))
    small = whole.scan(1)
    assert small.shape == (1, 4, 4, 4)
    assert np.array_equal(whole.scan(1), small)
    assert np.isclose(small.mean(), WholeScans(store, [Scan(volume, 1)], (16, 16, 16)).scan(0).mean(), atol=1e-3)
    drawn = {whole.draw(np.random.default_rng(seed)).tobytes() for seed in range(20)}
    assert drawn == {whole.scan(0).tobytes(), small.tobytes()}


def test_the_nearest_scans_are_those_whose_features_are():
    features = np.array([[0.0], [10.0], [1.0], [11.0], [0.0], [3.0]], np.float32)
    assert discover.alike(features, 0, 3) == [0, 4, 2]
    assert discover.alike(features, 4, 3) == [4, 0, 2], "a scan is nearest to itself"
    assert discover.alike(features, 3, 2) == [3, 1]
    assert len(discover.alike(features, 3, 100)) == 6


def rows_of(scans, **changes):
    settings = {"num_classes": 6, "num_neighbours": 3, "num_resized": 2, "patch_shape_zyx": (8, 16, 16)} | changes
    features = np.random.default_rng(0).random((len(scans), 4), np.float32)
    return discover.discovered(scans, features, DiscoverRecipe(**settings))


def test_a_class_is_the_same_place_in_every_neighbour_though_scans_differ_in_size():
    scans = [scan(number, shape) for number, shape in enumerate([(40, 60, 60), (80, 120, 90), (30, 50, 70)])]
    shapes = {one.volume.volume_id: np.array(one.volume.item_shape_zyx) for one in scans}
    rows = rows_of(scans, num_resized=0)
    for class_id in range(6):
        middles = [middle(row, shapes[row["volume_id"]]) for row in rows if row["class_id"] == class_id]
        assert len(middles) == 3
        # To half a voxel, and moved inwards where it would reach out.
        assert np.ptp(middles, axis=0).max() < 0.15


def test_resized_crops_are_50_to_80_where_a_patch_is_64_and_lie_beside_it():
    scans = [scan(number, (100, 200, 200)) for number in range(4)]
    rows = rows_of(scans, patch_shape_zyx=(32, 64, 64), num_classes=10)
    plain, *more = (rows[kind::3] for kind in range(3))
    assert {tuple(row["shape_zyx"]) for row in plain} == {(32, 64, 64)}
    for resized_rows in more:
        sides = [row["shape_zyx"][1] for row in resized_rows]
        assert 50 <= min(sides) < 60, "some are smaller"
        assert 70 < max(sides) <= 80, "some are larger"
        assert {row["shape_zyx"][0] - round(row["shape_zyx"][1] / 2) for row in resized_rows} <= {-1, 0, 1}
        apart = [middle(a, 1) - middle(b, 1) for a, b in zip(plain, resized_rows, strict=True)]
        assert 0 < np.abs(apart).max() <= 12


def test_patches_keep_to_the_borders_and_resized_ones_to_the_scan():
    rows = rows_of([scan(n) for n in range(5)], sampling=SamplingRecipe(borders_zyx=(4, 10, 12)), num_classes=12)
    for row in rows:
        start, shape = np.array(row["start_zyx"]), np.array(row["shape_zyx"])
        if row["number"] % 3 == 0:
            assert np.all(start >= [4, 10, 12])
            assert np.all(start + shape <= np.array([40, 60, 60]) - [4, 10, 12])
        assert np.all(start >= 0)
        assert np.all(start + shape <= [40, 60, 60])


def test_places_are_five_voxels_apart():
    rows = rows_of([scan(n) for n in range(5)], num_classes=20, num_neighbours=1, num_resized=0)
    starts = np.array([row["start_zyx"] for row in rows])
    apart = np.abs(starts[:, None] - starts[None]).max(axis=2)[~np.eye(20, dtype=bool)]
    assert apart.min() >= 4, "five, less what rounding to voxels takes"


def test_nobody_is_asked_twice_before_everybody_was_asked():
    rows = rows_of([scan(n) for n in range(6)], num_neighbours=1, num_classes=12)
    references = [row["volume_id"] for row in rows[::3]]
    assert len(set(references[:6])) == len(set(references[6:])) == 6


def test_a_reference_is_a_patient_however_many_scans_there_are_of_one():
    scans = [scan(number, patient="often") for number in range(20)] + [scan(99)]
    assert "volume-99" in [row["volume_id"] for row in rows_of(scans, num_neighbours=1, num_classes=2)]


def test_items_of_a_stack_are_scans_of_their_own():
    rows = rows_of([scan(0, item=item, num_items=3) for item in range(3)], num_classes=3)
    for row in rows:
        assert row["start_zyx"][0] // 40 == (row["start_zyx"][0] + row["shape_zyx"][0] - 1) // 40
    assert {row["start_zyx"][0] // 40 for row in rows} == {0, 1, 2}


def test_scans_too_small_for_all_classes_have_as_many_as_fit():
    rows = rows_of([scan(n, (8, 22, 22)) for n in range(4)], num_classes=40)
    assert 2 <= rows[-1]["class_id"] + 1 < 40


def test_scans_with_room_for_one_place_have_no_classes():
    with pytest.raises(DataError, match=r"no room for two places of \[8, 16, 16\] voxels"):
        rows_of([scan(n, (8, 16, 16)) for n in range(4)])


def test_a_crop_that_its_pretext_cannot_cut_is_refused_before_any_worker_starts(done):
    store, ingest_id, _ = done
    recipe = PretrainRecipe(pretext=Choice(kind="jigsaw"), patch_shape_zyx=(8, 8, 8), **TRAINING)
    with pytest.raises(RecipeError, match=r"A crop of \[8, 8, 8\] voxels"):
        pretrained(store, ingest_id, recipe)


@pytest.mark.parametrize("pretext", ["masked", "patch_shuffling", "rubik", "deep_cluster"])
def test_every_pretext_pretrains_from_a_store(done, pretext):
    store, ingest_id, _ = done
    more = {"num_classes": 3, "num_crops": 8} if pretext == "deep_cluster" else {}
    recipe = PretrainRecipe(pretext=Choice(kind=pretext, **more), patch_shape_zyx=(16, 16, 16), **TRAINING)
    manifest = pretrained(store, ingest_id, recipe)
    restores = pretext in ("masked", "patch_shuffling")
    assert ("restoration_mse" in manifest.results) == restores
    tensors, card = checkpoints.load(store, manifest.run_id)
    assert card["pretext"] == {"kind": pretext, **more}
    outside = {name for name in tensors if not name.startswith("body.encoder.")}
    assert all(name.startswith("body." if restores else "head.") for name in outside)


def test_what_is_as_large_as_wanted_is_not_resampled():
    image = np.random.default_rng(0).random((1, 4, 5, 6), np.float32)
    assert resized(image, (4, 5, 6)) is image
    assert resized(image, (8, 5, 6)).shape == (1, 8, 5, 6)
