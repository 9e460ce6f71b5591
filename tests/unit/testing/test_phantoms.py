"""Phantom stores: made up, whole, the same every time, and answerable."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from hilum.core.geometry import Patch
from hilum.store.inspection import damages
from hilum.store.labels import read_answers
from hilum.store.manifest import read_manifest
from hilum.store.volumes import open_volume, volumes_of
from hilum.testing.answered import label_set_of, pool_side_items, true_answers
from hilum.testing.interruptions import Countdown
from hilum.testing.phantoms import Phantom, lesion_image, phantom_store, phantom_tasks

SMALL = {"num_patients": 5, "num_frames": 4, "size": 8}
PHANTOMS = [Phantom("classify", 2, **SMALL), Phantom("segment", 3, **SMALL)]


@pytest.fixture(params=PHANTOMS, ids=lambda phantom: phantom.question)
def phantom(request):
    return request.param


@pytest.fixture
def made(phantom, tmp_path):
    return phantom_store(str(tmp_path / "store"), phantom)


def digests(store):
    root = Path(store.url)
    files = (path for path in root.rglob("*") if path.is_file() and path.name != "identity.key")
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_phantom_is_the_same_bytes(phantom, made, tmp_path):
    again, ingest_id = phantom_store(str(tmp_path / "again"), phantom)
    assert ingest_id == made[1]
    assert digests(again) == digests(made[0])


def test_making_a_phantom_twice_in_one_place_changes_nothing(phantom, made):
    before = digests(made[0])
    assert phantom_store(made[0].url, phantom)[1] == made[1]
    assert digests(made[0]) == before


def test_a_phantom_store_is_whole_and_counts_itself_rightly(phantom, made):
    store, ingest_id = made
    assert not any(damages(store))
    said = read_manifest(store.run("ingest", ingest_id)).results
    volumes = volumes_of(store, ingest_id)
    assert said["num_volumes"] == said["num_patients"] == len(volumes) == phantom.num_patients
    assert said["num_items"] == sum(v.num_items for v in volumes.values()) == 5 * phantom.num_frames
    assert {v.side for v in volumes.values()} == {"pool", "validation", "test"}


def test_every_patient_has_frames_with_and_without_a_lesion(phantom, made):
    store, ingest_id = made
    for volume in volumes_of(store, ingest_id).values():
        depth = volume.item_shape_zyx[0]
        if phantom.question == "classify":
            assert set(volume.classes) == {0, 1}
            continue
        reader = open_volume(store, volume)
        items = [Patch(volume.volume_id, (i * depth, 0, 0), volume.item_shape_zyx) for i in range(volume.num_items)]
        assert {bool(reader.read_label_map_ZYX(item).any()) for item in items} == {False, True}


@pytest.mark.parametrize("shape", [(1, 16, 16), (16, 16, 16)])
def test_a_lesion_is_brighter_than_what_is_around_it(shape):
    rng = np.random.default_rng(0)
    for _ in range(5):
        image, labels = lesion_image(rng, shape)
        assert image[0][labels == 1].mean() > image[0][labels == 0].mean() + 200
    image, labels = lesion_image(rng, shape, with_lesion=False)
    assert not labels.any()
    assert image.shape == (1, *shape)


def test_tasks_of_a_phantom_can_be_asked(phantom, made):
    tasks = phantom_tasks(*made, phantom, num=3)
    assert [task.chosen.rank for task in tasks] == [0, 1, 2]
    assert len({task.candidate_id for task in tasks}) == 3
    volume = volumes_of(*made)[tasks[0].chosen.candidate.patch.volume_id]
    assert {task.chosen.candidate.patch.shape_zyx for task in tasks} == {volume.item_shape_zyx}


def test_answers_of_a_phantom_are_of_its_pool_side_and_come_back_from_a_label_set(phantom, made):
    store, ingest_id = made
    items = pool_side_items(store, ingest_id)
    asked = true_answers(store, ingest_id, phantom, num=5)
    assert {a.patch.candidate_id for a in asked} == {c.candidate_id for c in items[:5]}
    label_set = label_set_of(store, asked)
    assert {a.patch.candidate_id for a in read_answers(store, label_set)} == {a.patch.candidate_id for a in asked}
    assert label_set_of(store, asked) == label_set


@pytest.mark.parametrize(("stop_at", "stops"), [(0, 0), (1, 1), (2, 1), (3, 0)])
def test_a_countdown_stops_at_its_point_once_and_remembers_the_way(stop_at, stops):
    stopped = []
    countdown = Countdown(lambda: stopped.append(True), stop_at)
    assert countdown.around("a shard", lambda: 7) == 7
    assert countdown.passed == ["before a shard", "after a shard"]
    assert len(stopped) == stops
