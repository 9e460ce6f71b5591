"""Copies are found under other names, sizes, depths and brightness; different images are not taken for copies."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hilum.adapters.inline import InlineExecutor
from hilum.core.geometry import Grid
from hilum.core.ids import content_id
from hilum.core.recipes import IngestRecipe
from hilum.core.resources import Resources
from hilum.core.sources import ReadImage, Source, SourceItem
from hilum.steps import ingest
from hilum.store.lookalikes import (
    MAX_DISTANCE,
    MIN_CORRELATION,
    PICTURE,
    Look,
    every_volume,
    lookalikes,
    looks,
    looks_of,
    perceptual_hash,
    picture_of,
)
from hilum.store.opening import create_store


def _scene(seed, shape=(96, 80)):
    """Something with shapes in it, different for every seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.zeros(shape)
    for _ in range(12):
        cy, cx, size = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(4, 25)
        image += rng.uniform(-1, 1) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * size**2))
    return ((image - image.min()) / np.ptp(image) * 220 + 10).astype(np.float32)


def _look(plane, *, name="v", patient="p", side="pool", item=0):
    picture = picture_of(np.asarray(plane, np.float32))
    return Look(name, item, patient, side, perceptual_hash(picture), picture)


def _jpeg(plane):
    file = io.BytesIO()
    Image.fromarray(plane.astype(np.uint8)).save(file, "JPEG", quality=70)
    return np.asarray(Image.open(file), np.float32)


def _resized(plane, width, height):
    return np.asarray(Image.fromarray(plane.astype(np.uint8)).resize((width, height)), np.float32)


CHANGES = {
    "saved as JPEG": _jpeg,
    "twice as large": lambda p: _resized(p, 160, 192),
    "smaller": lambda p: _resized(p, 60, 72),
    "in Hounsfield units": lambda p: p * 12 - 1024,
    "brighter": lambda p: 255 * (p / 255) ** 0.8,
    "with noise": lambda p: p + np.random.default_rng(0).normal(0, 4, p.shape).astype(np.float32),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("seed", range(5))
def test_a_changed_copy_under_another_patient_is_found(change, seed):
    found = [
        _look(_scene(seed), name="a", patient="ada"),
        _look(CHANGES[change](_scene(seed)), name="b", patient="bob"),
    ]
    found += [_look(_scene(100 + n), name=f"other {n}", patient=f"other {n}") for n in range(20)]
    (pair,) = lookalikes(found)
    assert {pair.one.volume_id, pair.other.volume_id} == {"a", "b"}
    assert MIN_CORRELATION <= pair.correlation <= 1


def test_different_images_are_no_copies():
    assert lookalikes([_look(_scene(seed), name=str(seed), patient=str(seed)) for seed in range(300)]) == []


def test_a_patient_may_look_like_itself_but_not_on_another_side():
    twice = [_look(_scene(0), name="a"), _look(_jpeg(_scene(0)), name="b")]
    assert lookalikes(twice) == []
    (pair,) = lookalikes([twice[0], _look(_jpeg(_scene(0)), name="b", side="test")])
    assert pair.crosses_sides


def test_copies_on_one_side_do_not_cross():
    (pair,) = lookalikes([_look(_scene(0), patient="ada"), _look(_scene(0), name="w", patient="bob")])
    assert not pair.crosses_sides
    assert pair.correlation == 1


@given(st.lists(st.integers(0, 12), max_size=14), st.randoms())
def test_every_pair_of_copies_is_told_once_whatever_the_order(seeds, random):
    found = [_look(_scene(seed), name=f"{n:02}", patient=f"{n}") for n, seed in enumerate(seeds)]
    random.shuffle(found)
    pairs = [tuple(sorted((p.one.volume_id, p.other.volume_id))) for p in lookalikes(found)]
    expected = {(f"{i:02}", f"{j:02}") for j in range(len(seeds)) for i in range(j) if seeds[i] == seeds[j]}
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == expected


@given(st.integers(0, 2**64 - 1), st.sets(st.integers(0, 63), max_size=12))
def test_hashes_are_near_when_seven_bits_or_fewer_differ(bits, flipped):
    picture = picture_of(_scene(0))
    other = bits
    for bit in flipped:
        other ^= 1 << bit
    pairs = lookalikes([Look("a", 0, "ada", "pool", bits, picture), Look("b", 0, "bob", "pool", other, picture)])
    assert bool(pairs) == (len(flipped) <= MAX_DISTANCE)


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (31, 33), (64, 64), (512, 300)])
def test_a_picture_has_zero_mean_and_unit_length_whatever_the_size(shape):
    picture = picture_of(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    if shape == (1, 1):
        assert picture is None
        return
    assert picture.shape == (PICTURE, PICTURE)
    assert abs(float(picture.mean())) < 1e-6
    assert np.linalg.norm(picture) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("value", [0.0, 7.0, -1024.0, 3e7])
def test_an_image_without_contrast_looks_like_nothing(value):
    assert picture_of(np.full((64, 64), value, np.float32)) is None


# In a store -----------------------------------------------------------------------------------------------------------


def _store(tmp_path, images):
    """A store of (patient, side, image (Z, Y, X), depth of an item), read from memory."""
    store, _ = create_store(str(tmp_path))
    items = tuple(SourceItem(f"{n}", patient=who, side=side) for n, (who, side, _, _) in enumerate(images))
    source = Source("memory", items, digests=tuple(content_id(n) for n in range(len(images))))

    def read(root, item, **options):
        _, _, image_ZYX, depth = images[int(item.image)]
        grid = Grid(image_ZYX.shape)
        return [ReadImage(image_ZYX[None], grid, (depth, *image_ZYX.shape[1:]))]

    resources = Resources()
    ingest.run(IngestRecipe(), source, store=store, executor=InlineExecutor(), resources=resources, read=read)
    return store


def test_copies_in_a_store_are_found_between_volumes_and_items(tmp_path):
    scenes = np.stack([_scene(seed, (64, 64)) for seed in range(6)]).astype(np.uint8)
    volume = np.repeat(_scene(9, (64, 64))[None], 10, axis=0).astype(np.int16) * 8
    store = _store(
        tmp_path,
        [
            ("ada", "pool", scenes, 1),
            ("bob", "test", _jpeg(scenes[4])[None].astype(np.uint8), 1),
            ("cyd", "pool", volume, 10),
            ("dan", "pool", (volume[2:9] + np.arange(7, dtype=np.int16)[:, None, None]), 7),
        ],
    )
    found = [look for some in looks(store) for look in some]
    assert len(found) == 6 + 1 + 1 + 1
    pairs = lookalikes(found)
    assert [(p.crosses_sides, {p.one.item, p.other.item}) for p in pairs if p.crosses_sides] == [(True, {4, 0})]
    assert len(pairs) == 2


def test_a_flat_item_has_no_look(tmp_path):
    store = _store(tmp_path, [("ada", None, np.stack([np.full((64, 64), 3, np.float32), _scene(0, (64, 64))]), 1)])
    (volume,) = every_volume(store)
    (look,) = looks_of(store, volume)
    assert (look.item, look.side) == (1, "undeclared")


def test_volumes_of_two_ingests_are_each_looked_at_once(tmp_path):
    one = ("ada", None, _scene(0, (64, 64))[None], 1)
    _store(tmp_path, [one])
    store = _store(tmp_path, [one, ("bob", None, _scene(1, (64, 64))[None], 1)])
    assert len(every_volume(store)) == 2
    assert sum(map(len, looks(store))) == 2
