"""The oracle: right unless told to err, as often as told to, and the same to everybody who asks."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.adapters.oracle import NO_TIME, Oracle
from hilum.core.asking import Candidate, Chosen, Task
from hilum.core.errors import HilumError, RecipeError
from hilum.core.geometry import Patch
from hilum.core.recipes import Choice
from hilum.core.registry import annotators
from hilum.store.volumes import open_volume, volumes_of
from hilum.testing.phantoms import Phantom, phantom_store

FRAMES, SLICES = Phantom("classify", num_frames=20, size=8), Phantom("segment", num_frames=4)


def tasks_of(store, ingest_id, phantom, class_names=None):
    found = []
    for volume in volumes_of(store, ingest_id).values():
        z, y, x = volume.item_shape_zyx
        patches = [Patch(volume.volume_id, (item * z, 0, 0), (z, y, x)) for item in range(volume.num_items)]
        found += [
            Chosen(Candidate(p, volume.study.patient_id), rank, "random", 0.0, "") for rank, p in enumerate(patches)
        ]
    names = class_names or phantom.class_names
    return [Task("c0ffee000000", chosen, phantom.question, names) for chosen in found]


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    store, ingest_id = phantom_store(str(tmp_path_factory.mktemp("frames")), FRAMES)
    return store, ingest_id, tasks_of(store, ingest_id, FRAMES)


@pytest.fixture(scope="module")
def slices(tmp_path_factory):
    store, ingest_id = phantom_store(str(tmp_path_factory.mktemp("slices")), SLICES)
    return store, ingest_id, tasks_of(store, ingest_id, SLICES)


def told(place, **params):
    store, ingest_id, tasks = place
    return {a.patch.candidate_id: a for a in Oracle(store, ingest_id, **params).collect(tasks)}


def share_wrong(place, **params):
    truth, answers = told(place), told(place, **params)
    if truth and next(iter(truth.values())).class_id is not None:
        return np.mean([answers[c].class_id != truth[c].class_id for c in truth])
    return np.mean([answers[c].label_map_zyx != truth[c].label_map_zyx for c in truth])


def test_an_oracle_that_does_not_err_tells_the_class_that_was_ingested(frames):
    store, ingest_id, tasks = frames
    answers, volumes = told(frames), volumes_of(store, ingest_id)
    for task in tasks:
        patch = task.chosen.candidate.patch
        volume = volumes[patch.volume_id]
        assert answers[task.candidate_id].class_id == volume.classes[volume.item_index(patch)]


def test_an_oracle_that_does_not_err_tells_the_label_map_that_was_ingested(slices):
    store, ingest_id, tasks = slices
    answers, volumes = told(slices), volumes_of(store, ingest_id)
    for task in tasks:
        patch = task.chosen.candidate.patch
        truth = open_volume(store, volumes[patch.volume_id]).read_label_map_ZYX(patch)
        assert np.array_equal(answers[task.candidate_id].label_map_zyx, truth)


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 1.0])
def test_as_many_classes_are_wrong_as_was_asked_for(frames, rate):
    assert abs(share_wrong(frames, error_rate=rate) - rate) <= (0.12 if 0 < rate < 1 else 0)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
def test_as_many_voxels_are_wrong_as_was_asked_for(slices, rate):
    assert abs(share_wrong(slices, error_rate=rate) - rate) <= (0.03 if 0 < rate < 1 else 0)


def test_whoever_errs_at_a_rate_errs_there_at_every_higher_rate(frames):
    truth = told(frames)
    wrong = [
        {c for c, a in told(frames, error_rate=rate).items() if a.class_id != truth[c].class_id}
        for rate in (0.1, 0.3, 0.6)
    ]
    assert wrong[0] < wrong[1] < wrong[2]


def test_a_wrong_class_is_any_other_class_and_never_one_that_does_not_exist(frames):
    store, ingest_id, _ = frames
    names = ("no lesion", "lesion", "scar", "artefact")
    place = store, ingest_id, tasks_of(store, ingest_id, FRAMES, names)
    assert {a.class_id for a in told(place, error_rate=1.0).values()} == {0, 1, 2, 3}
    assert share_wrong(place, error_rate=1.0) == 1


def test_wrong_voxels_are_of_classes_that_exist(slices):
    store, ingest_id, _ = slices
    place = store, ingest_id, tasks_of(store, ingest_id, SLICES, ("background", "lesion", "vessel"))
    maps = np.stack([a.label_map_zyx for a in told(place, error_rate=0.5).values()])
    assert set(np.unique(maps)) == {0, 1, 2}
    assert maps.dtype == np.uint16


@settings(max_examples=15)
@given(st.data())
def test_an_answer_does_not_depend_on_what_else_is_asked_or_in_which_order(frames, data):
    store, ingest_id, tasks = frames
    alone = told(frames, error_rate=0.5, seed=3)
    some = data.draw(st.lists(st.sampled_from(tasks), max_size=6))
    for answer in Oracle(store, ingest_id, error_rate=0.5, seed=3).collect(some):
        assert answer == alone[answer.patch.candidate_id]


def test_the_errors_of_two_seeds_are_different_errors(frames):
    one, other = told(frames, error_rate=0.5, seed=1), told(frames, error_rate=0.5, seed=2)
    assert any(one[c].class_id != other[c].class_id for c in one)


def answered_by(tasks, *names):
    return [replace(task, chosen=replace(task.chosen, answered_by=names)) for task in tasks]


def test_several_annotators_share_the_questions_and_nobody_answers_one_twice(frames):
    store, ingest_id, tasks = frames
    oracle = Oracle(store, ingest_id, annotators=3, error_rate=0.2)
    first = {a.patch.candidate_id: a.annotator for a in oracle.collect(tasks)}
    assert set(first.values()) == {"oracle-1", "oracle-2", "oracle-3"}
    again = oracle.collect([answered_by([task], first[task.candidate_id])[0] for task in tasks])
    assert all(answer.annotator != first[answer.patch.candidate_id] for answer in again)
    assert len({answer.annotation_id for answer in [*oracle.collect(tasks), *again]}) == 2 * len(tasks)


def test_several_annotators_err_each_on_their_own(frames):
    store, ingest_id, tasks = frames
    truth = told(frames)
    oracle = Oracle(store, ingest_id, annotators=2, error_rate=0.5)
    of = {}
    for name, other in (("oracle-1", "oracle-2"), ("oracle-2", "oracle-1")):
        said = oracle.collect(answered_by(tasks, other))
        assert {answer.annotator for answer in said} == {name}
        of[name] = [a.class_id != truth[a.patch.candidate_id].class_id for a in said]
    share_alike = np.mean(np.array(of["oracle-1"]) == np.array(of["oracle-2"]))
    assert 0.3 < share_alike < 0.7


def test_when_all_annotators_have_answered_it_says_so(frames):
    store, ingest_id, tasks = frames
    oracle = Oracle(store, ingest_id, annotators=2)
    with pytest.raises(RecipeError, match="oracle's 2 annotators have all answered candidate"):
        oracle.collect(answered_by(tasks[:1], "oracle-1", "oracle-2"))


def test_an_oracle_answers_outside_time_and_says_how_long_people_would_have_taken(frames):
    answers = told(frames, seconds_per_answer=7.5).values()
    assert {a.seconds for a in answers} == {7.5}
    assert {a.answered_at for a in answers} == {NO_TIME}
    assert {a.annotator for a in answers} == {"oracle"}


def test_an_image_without_a_class_is_not_guessed_at(slices):
    store, ingest_id, tasks = slices
    asked = Task("c0ffee000000", tasks[0].chosen, "classify", ("a", "b"))
    with pytest.raises(
        HilumError, match=f"does not know the class of candidate {asked.candidate_id}.*annotator 'directory'"
    ):
        Oracle(store, ingest_id).collect([asked])


def test_an_image_without_a_label_map_is_not_guessed_at(frames):
    store, ingest_id, tasks = frames
    with pytest.raises(HilumError, match="label map"):
        Oracle(store, ingest_id).collect([Task("c0ffee000000", tasks[0].chosen, "segment", ("a", "b"))])


def test_where_there_is_one_class_there_is_nothing_to_err_about(slices):
    store, ingest_id, tasks = slices
    one = [Task("c0ffee000000", t.chosen, "segment", ("background",)) for t in tasks[:1]]
    assert len(Oracle(store, ingest_id, error_rate=0.5).collect(one)) == 1


def test_more_slices_and_more_outlined_voxels_take_longer(slices):
    how = {"seconds_per_answer": 5.0, "seconds_per_slice": 2.0, "seconds_per_1000_voxels": 100.0}
    answers = told(slices, **how).values()
    assert len({a.seconds for a in answers}) > 1
    for answer in answers:
        num_outlined = np.count_nonzero(answer.label_map_zyx == 1)
        assert answer.seconds == pytest.approx(5 + 2 + 0.1 * num_outlined)
    spread = told(slices, **how, seconds_spread=0.3)
    assert all(a.seconds != spread[a.patch.candidate_id].seconds for a in answers)
    assert {c: a.seconds for c, a in spread.items()} == {
        c: a.seconds for c, a in told(slices, **how, seconds_spread=0.3).items()
    }


@pytest.mark.parametrize(
    "params", [{"error_rate": 1.5}, {"error_rate": -0.1}, {"seed": -1}, {"seconds_per_answer": -1}]
)
def test_parameters_that_cannot_be_meant_are_refused_before_anybody_is_asked(params):
    with pytest.raises(RecipeError, match=next(iter(params))):
        annotators.bind(Choice(kind="oracle", **params))
