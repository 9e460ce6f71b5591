"""Answers and label sets: what was answered is what is read, whatever happened in between."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.core.agreement import agreed
from hilum.core.asking import IGNORE, Annotation
from hilum.core.errors import CorruptionError, NotFoundError
from hilum.core.geometry import Patch
from hilum.store.labels import (
    commit_label_set,
    lineage,
    pack_label_map,
    read_annotations,
    read_answers,
    read_everybodys_answers,
    unpack_label_map,
    write_annotations,
)
from hilum.store.layout import Store
from hilum.store.manifest import read_json, read_manifest, write_manifest

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def an_answer(place: int, class_id: int = 0, *, revision: int = 1, name: str = "") -> Annotation:
    patch = Patch("v", (place, 0, 0), (1, 4, 4))
    return Annotation(name or f"a{place}", revision, patch, "reader", NOON, 2.5, class_id=class_id)


def collected(store: Store, run_id: str, parent: str | None, *answers: Annotation) -> str:
    write_annotations(f"{store.run('collect', run_id)}/annotations.parquet", answers)
    return commit_label_set(store, run_id, parent).run_id


@given(
    shape=st.tuples(*[st.integers(1, 5)] * 3),
    seed=st.integers(0, 2**32 - 1),
    layout=st.sampled_from(["C", "F", "reversed"]),
)
def test_a_label_map_comes_back_as_it_went(shape: tuple[int, int, int], seed: int, layout: str) -> None:
    labels = np.random.default_rng(seed).integers(0, IGNORE + 1, shape).astype(np.uint16)
    given_labels = labels[::-1] if layout == "reversed" else np.asarray(labels, order="F" if layout == "F" else "C")
    back = unpack_label_map(pack_label_map(given_labels), shape)
    assert back.dtype == np.uint16
    assert np.array_equal(back, given_labels)
    assert back.flags.writeable


def test_a_label_map_lies_on_disk_as_little_endian_uint16_in_c_order() -> None:
    import pyarrow as pa

    labels = np.arange(6, dtype=np.uint16).reshape(1, 2, 3)
    raw = pa.Codec("zstd").decompress(pack_label_map(labels), decompressed_size=12, asbytes=True)
    assert raw == b"\x00\x00\x01\x00\x02\x00\x03\x00\x04\x00\x05\x00"


@pytest.mark.parametrize("packed", [b"", b"not zstd at all", pack_label_map(np.zeros((1, 2, 2), np.uint16))])
def test_a_label_map_of_another_size_is_refused(packed: bytes) -> None:
    with pytest.raises(CorruptionError, match="cannot be unpacked"):
        unpack_label_map(packed, (2, 3, 4))


@settings(max_examples=30)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=12, unique=True), st.randoms(use_true_random=False))
def test_the_same_answers_are_the_same_bytes_in_any_order(places: list[int], random: object) -> None:
    import tempfile

    answers = [an_answer(place, place % 3) for place in places]
    shuffled = list(answers)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder:
        for name, some in (("a", answers), ("b", shuffled)):
            write_annotations(f"{folder}/{name}.parquet", some)
        assert Path(folder, "a.parquet").read_bytes() == Path(folder, "b.parquet").read_bytes()


def test_every_field_of_an_answer_comes_back(tmp_path: Path) -> None:
    labels = np.full((1, 4, 4), IGNORE, np.uint16)
    labels[0, 1, 2] = 7
    berlin = NOON.astimezone(timezone(timedelta(hours=2)))
    mapped = Annotation("m", 3, Patch("v", (2, 0, 0), (1, 4, 4)), "reader 2", berlin, 0.25, label_map_zyx=labels)
    url = f"{tmp_path}/annotations.parquet"
    assert write_annotations(url, [mapped, an_answer(5, 2)]) == 2
    by_name = {answer.annotation_id: answer for answer in read_annotations(url)}
    back = by_name["m"]
    assert np.array_equal(back.label_map_zyx, labels)
    assert (back.revision, back.patch, back.annotator, back.seconds) == (3, mapped.patch, "reader 2", 0.25)
    assert back.answered_at == NOON
    assert by_name["a5"] == an_answer(5, 2)


def test_a_label_set_holds_its_own_answers_and_its_ancestors(store: Store) -> None:
    first = collected(store, "l1", None, an_answer(1), an_answer(2))
    second = collected(store, "l2", first, an_answer(3))
    third = collected(store, "l3", second)
    assert {a.annotation_id for a in read_answers(store, first)} == {"a1", "a2"}
    assert {a.annotation_id for a in read_answers(store, third)} == {"a1", "a2", "a3"}
    assert [m.run_id for m in lineage(store, third)] == ["l1", "l2", "l3"]


def test_the_newest_revision_of_an_answer_counts(store: Store) -> None:
    first = collected(store, "l1", None, an_answer(1, 0, revision=1), an_answer(2, 0, revision=4))
    second = collected(store, "l2", first, an_answer(1, 1, revision=2), an_answer(2, 1, revision=3))
    assert {a.annotation_id: a.class_id for a in read_answers(store, second)} == {"a1": 1, "a2": 0}
    assert {a.annotation_id: a.class_id for a in read_answers(store, first)} == {"a1": 0, "a2": 0}


def said_by(who: str, class_id: int, *, place: int = 1, name: str = "") -> Annotation:
    return replace(an_answer(place, class_id, name=name or who), annotator=who)


def test_two_readers_of_one_candidate_are_both_kept_and_one_answer_is_read(store: Store) -> None:
    one = collected(store, "l1", None, said_by("ann", 1), said_by("ben", 0))
    two = collected(store, "l2", one, said_by("cai", 0), an_answer(2))
    (everybodys,) = (told for told in read_everybodys_answers(store, two).values() if len(told) > 1)
    assert [(a.annotator, a.class_id) for a in everybodys] == [("ann", 1), ("ben", 0), ("cai", 0)]
    assert [(a.annotator, a.class_id) for a in read_answers(store, one)] == [("ann + ben", 1)]
    agreed = {a.annotator: a.class_id for a in read_answers(store, two)}
    assert agreed == {"ann + ben + cai": 0, "reader": 0}


def test_what_a_collect_run_settled_stands_until_somebody_else_answers(store: Store) -> None:
    one = collected(store, "l1", None, said_by("ann", 1))
    settled = agreed([said_by("ann", 1), said_by("ben", 0)], 0)
    write_annotations(f"{store.run('collect', 'l2')}/agreed.parquet", [settled])
    two = collected(store, "l2", one, said_by("ben", 0))
    assert read_answers(store, two) == [settled]
    assert [a.class_id for a in read_answers(store, one)] == [1]
    later = collected(store, "l3", two, an_answer(2))
    assert settled in read_answers(store, later)
    third = collected(store, "l4", later, said_by("cai", 1))
    assert {a.annotator: a.class_id for a in read_answers(store, third)} == {"ann + ben + cai": 1, "reader": 0}


def test_whoever_answers_again_changes_their_mind(store: Store) -> None:
    one = collected(store, "l1", None, said_by("ann", 0, name="first"))
    two = collected(store, "l2", one, said_by("ann", 1, name="second"))
    assert [(a.annotation_id, a.class_id) for a in read_answers(store, two)] == [("second", 1)]


def test_answers_are_read_in_the_order_of_their_candidates(store: Store) -> None:
    one = collected(store, "l1", None, *(an_answer(place) for place in range(9)))
    ids = [a.patch.candidate_id for a in read_answers(store, one)]
    assert ids == sorted(ids)


def test_a_published_label_set_does_not_change(store: Store) -> None:
    commit_label_set(store, "l1", None)
    before = read_json(f"{store.label_set('l1')}/manifest.json")
    assert commit_label_set(store, "l1", "elsewhere").inputs["parent"] == "none"
    assert read_json(f"{store.label_set('l1')}/manifest.json") == before


def test_a_label_set_that_is_its_own_ancestor_is_refused(store: Store) -> None:
    first = collected(store, "l1", None)
    collected(store, "l2", first)
    url = store.label_set("l1")
    changed = read_manifest(url).model_copy(update={"inputs": {"collect": "l1", "parent": "l2"}})
    Path(url, "manifest.json").unlink()
    write_manifest(url, changed)
    with pytest.raises(CorruptionError, match="its own ancestor"):
        read_answers(store, "l2")


def test_a_label_set_that_is_not_there_is_named(store: Store) -> None:
    with pytest.raises(NotFoundError, match="nothing-here"):
        read_answers(store, "nothing-here")


def test_a_tampered_label_patch_is_refused(tmp_path: Path) -> None:
    labels = np.zeros((1, 4, 4), np.uint16)
    url = f"{tmp_path}/a.parquet"
    write_annotations(url, [Annotation("m", 1, Patch("v", (0, 0, 0), (1, 4, 4)), "r", NOON, 0.0, label_map_zyx=labels)])
    table = pq.read_table(url)
    shapes = [[1, 4, 5]]
    column = table.schema.get_field_index("shape_zyx")
    import pyarrow as pa

    wrong = table.set_column(column, table.schema.field(column), pa.array(shapes, pa.list_(pa.int32(), 3)))
    pq.write_table(wrong, url)
    with pytest.raises(CorruptionError, match="cannot be unpacked"):
        read_annotations(url)
