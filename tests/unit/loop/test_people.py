"""Who answered how much, how fast and how often as all agreed."""

from datetime import UTC, datetime

import numpy as np
import pytest

from hilum.core.asking import Annotation
from hilum.core.geometry import Patch
from hilum.loop.people import people_of
from hilum.store.labels import commit_label_set, write_annotations
from hilum.store.layout import Store


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))


def said(who, place, *, class_id=None, voxels=None, seconds=0.0):
    label_map = None if voxels is None else np.array([[voxels]], np.uint16)
    patch = Patch("v", (place, 0, 0), (1, 1, 4))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Annotation(f"{who}-{place}", 1, patch, who, now, seconds, class_id=class_id, label_map_zyx=label_map)


def people(store, answers):
    write_annotations(f"{store.run('collect', 'l1')}/annotations.parquet", answers)
    return {person.annotator: person for person in people_of(store, commit_label_set(store, "l1", None).run_id)}


def test_a_careless_annotator_agrees_less_often(store):
    told = {"ann": [0, 1, 0, 1], "ben": [0, 1, 0, 1], "cai": [1, 0, 0, 1]}
    found = people(store, [said(who, n, class_id=c) for who, classes in told.items() for n, c in enumerate(classes)])
    assert {who: person.agreement for who, person in found.items()} == {"ann": 1.0, "ben": 1.0, "cai": 0.0}
    assert {person.num_shared for person in found.values()} == {4}


def test_agreement_is_over_what_others_answered_too(store):
    answers = [said("ann", n, class_id=n % 2) for n in range(3)]
    found = people(store, [*answers, said("ben", 2, class_id=1), said("cai", 9, class_id=1)])
    assert (found["ann"].num_answers, found["ann"].num_shared) == (3, 1)
    assert found["cai"].num_shared == 0
    assert found["cai"].agreement is None


def test_outlines_agree_by_dice(store):
    told = {"ann": [1, 1, 0, 0], "ben": [1, 1, 0, 0], "cai": [1, 0, 0, 0]}
    found = people(store, [said(who, 0, voxels=voxels) for who, voxels in told.items()])
    assert found["ann"].agreement == 1.0
    assert found["cai"].agreement == pytest.approx(2 / 3)


def test_the_median_time_is_of_the_answers_that_tell_one(store):
    times = (0.0, 2.0, 4.0, 90.0)
    found = people(store, [said("ann", n, class_id=0, seconds=s) for n, s in enumerate(times)])
    assert found["ann"].median_seconds == 4.0


def test_where_nobody_tells_a_time_there_is_none(store):
    assert people(store, [said("ben", 0, class_id=0)])["ben"].median_seconds is None
