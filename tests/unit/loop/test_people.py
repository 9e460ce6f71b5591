"""Who answered how much, how fast and how well."""

from datetime import UTC, datetime

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from hilum.core.agreement import fleiss_kappa
from hilum.core.asking import Annotation
from hilum.core.geometry import Patch
from hilum.loop.people import agreement_of, people_of
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


def test_time_in_all_is_the_sum_of_what_was_told(store):
    found = people(store, [said("ann", n, class_id=0, seconds=s) for n, s in enumerate((0.0, 2.0, 4.5))])
    assert found["ann"].total_seconds == 6.5


def told_classes(told):
    return [said(who, n, class_id=c) for who, classes in told.items() for n, c in enumerate(classes) if c is not None]


def test_with_the_others_leaves_one_s_own_vote_out(store):
    # Of two, what was agreed on is what was said first: ann's, by name.
    found = people(store, told_classes({"ann": [0, 1, 0, 1], "ben": [1, 0, 0, 1]}))
    assert found["ann"].agreement == 1.0
    assert found["ann"].with_others == found["ben"].with_others == 0.0


def test_who_draws_like_the_others_agrees_with_them_by_dice(store):
    told = {"ann": [1, 1, 0, 0], "ben": [1, 1, 0, 0], "cai": [1, 0, 0, 0]}
    found = people(store, [said(who, 0, voxels=voxels) for who, voxels in told.items()])
    assert found["cai"].with_others == pytest.approx(2 / 3)
    assert found["ann"].with_others == pytest.approx((1 + 2 / 3) / 2)


def agreement(store, answers):
    people(store, answers)
    return agreement_of(store, "l1")


def test_two_people_agree_by_cohen_s_kappa(store):
    told = told_classes({"ann": [0, 1, 0, 1, 1], "ben": [0, 1, 1, 1, None], "cai": [None] * 5})
    found = agreement(store, told)
    assert (found.measure, found.num_shared, found.num_annotators) == ("Cohen's kappa", 4, 2)
    assert found.value == pytest.approx(cohen_kappa_score([0, 1, 0, 1], [0, 1, 1, 1]))


def test_three_people_agree_by_fleiss_kappa(store):
    told = told_classes(
        {"ann": [0, 1, 2, 0], "ben": [0, 1, 2, 1], "cai": [0, 1, 1, 2], "dan": [None, None, None, None]}
    )
    found = agreement(store, told)
    counts = np.array([[3, 0, 0], [0, 3, 0], [0, 1, 2], [1, 1, 1]])
    assert (found.measure, found.num_shared, found.num_annotators) == ("Fleiss' kappa", 4, 3)
    assert found.value == pytest.approx(fleiss_kappa(counts))


def test_outlines_agree_by_the_mean_dice_of_all_pairs(store):
    told = {"ann": [1, 1, 0, 0], "ben": [1, 1, 0, 0], "cai": [1, 0, 0, 0]}
    found = agreement(store, [said(who, 0, voxels=voxels) for who, voxels in told.items()])
    assert found.measure == "mean Dice"
    assert found.value == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)


def test_where_nobody_answered_what_another_did_there_is_no_agreement(store):
    assert agreement(store, [said("ann", 0, class_id=1), said("ben", 1, class_id=1)]) is None


def test_agreement_about_one_class_alone_says_nothing(store):
    found = agreement(store, told_classes({"ann": [1, 1], "ben": [1, 1], "cai": [1, 1]}))
    assert (found.num_shared, found.value) == (2, None)


def drafted(store, publish_id, drafts):
    write_annotations(f"{store.run('publish', publish_id)}/drafts.parquet", drafts)


def test_what_became_of_drafts_is_told_of_each(store):
    answers = told_classes({"ann": [0, 1, 1, 0], "ben": [None, None, 0, 0]})
    write_annotations(f"{store.run('collect', 'l1')}/annotations.parquet", answers)
    label_set_id = commit_label_set(store, "l1", None).run_id
    drafted(store, "p1", [said("model", n, class_id=c) for n, c in enumerate([0, 1, 0])])
    found = {one.annotator: one for one in people_of(store, label_set_id, [("p1", "l1")])}
    assert (found["ann"].num_drafted, found["ann"].with_drafts) == (3, pytest.approx(2 / 3))
    assert (found["ben"].num_drafted, found["ben"].with_drafts) == (1, 1.0)


def test_of_outlines_it_is_the_dice_with_the_draft(store):
    answers = [said("ann", 0, voxels=[1, 1, 0, 0]), said("ann", 1, voxels=[1, 0, 0, 0])]
    write_annotations(f"{store.run('collect', 'l1')}/annotations.parquet", answers)
    label_set_id = commit_label_set(store, "l1", None).run_id
    drafted(store, "p1", [said("model", n, voxels=[1, 1, 0, 0]) for n in range(2)])
    (ann,) = people_of(store, label_set_id, [("p1", "l1")])
    assert ann.with_drafts == pytest.approx((1 + 2 / 3) / 2)


def test_without_a_model_nothing_was_drafted(store):
    write_annotations(f"{store.run('collect', 'l1')}/annotations.parquet", [said("ann", 0, class_id=1)])
    (ann,) = people_of(store, commit_label_set(store, "l1", None).run_id, [("p1", "l1")])
    assert (ann.num_drafted, ann.with_drafts) == (0, None)
