"""The inbox of webhooks: order, repetition and replays change nothing."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.adapters.label_studio.deliveries import StaleError, delivery_of, inbox, read_told, record
from hilum.core.errors import CorruptionError, DataError
from hilum.store.layout import Store

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def said(annotation_id=7, seconds=0.0, *, action="ANNOTATION_CREATED", project=3, **of_annotation):
    updated_at = (NOW + timedelta(seconds=seconds)).isoformat()
    annotation = {"id": annotation_id, "result": [], "updated_at": updated_at, "lead_time": 4.5, **of_annotation}
    data = {"hilum": {"candidate_id": "c"}, "pages": ["http://h/v1/images/x?signature=canary"]}
    task = {"id": 11, "data": data, "meta": {"name": "canary"}}
    return {"action": action, "annotation": annotation, "task": task, "project": {"id": project, "token": "canary"}}


def deleted(*ids, what="annotations", project=3):
    action = {"annotations": "ANNOTATIONS_DELETED", "tasks": "TASKS_DELETED"}[what]
    return {"action": action, what: [{"id": i} for i in ids], "project": {"id": project}}


def told(store, *payloads):
    return [record(store, delivery_of(payload, now=NOW)) for payload in payloads]


EVENTS = st.one_of(
    st.builds(
        said,
        st.integers(1, 4),
        st.integers(-200, 200),
        action=st.sampled_from(["ANNOTATION_CREATED", "ANNOTATION_UPDATED"]),
    ),
    st.builds(deleted, st.integers(1, 4), st.integers(1, 4)),
    st.builds(lambda i: deleted(i, what="tasks"), st.integers(1, 4)),
)


@given(st.lists(EVENTS, max_size=12), st.data())
def test_however_often_and_in_whatever_order_they_come_the_newest_revision_stands(tmp_path_factory, events, data):
    store = Store(str(tmp_path_factory.mktemp("store")))
    told(store, *data.draw(st.permutations(events * 2)))
    found = inbox(store, 3)
    gone = {item["id"] for event in events for item in event.get("annotations", [])}
    newest = {}
    for event in events:
        if "annotation" in event and event["annotation"]["id"] not in gone:
            key, at = event["annotation"]["id"], datetime.fromisoformat(event["annotation"]["updated_at"])
            newest[key] = max(newest.get(key, at), at)
    assert {key: one.updated_at for key, one in found.annotations.items()} == newest
    assert found.deleted_annotation_ids == gone
    assert found.deleted_task_ids == {item["id"] for event in events for item in event.get("tasks", [])}


def test_a_second_delivery_of_a_revision_is_known_and_changes_nothing(tmp_path):
    store = Store(str(tmp_path))
    assert told(store, said(lead_time=1.0), said(lead_time=2.0)) == ["recorded", "known"]
    assert read_told(inbox(store, 3).annotations[7])["annotation"]["lead_time"] == 1.0


def test_an_older_revision_that_comes_late_does_not_stand(tmp_path):
    store = Store(str(tmp_path))
    told(store, said(seconds=2, lead_time=2.0), said(seconds=1, lead_time=1.0))
    assert read_told(inbox(store, 3).annotations[7])["annotation"]["lead_time"] == 2.0


def test_what_was_deleted_stays_deleted(tmp_path):
    store = Store(str(tmp_path))
    told(store, deleted(7), said(7, 100))
    assert not inbox(store, 3).annotations


def test_projects_are_apart(tmp_path):
    store = Store(str(tmp_path))
    told(store, said(project=3), said(project=4))
    assert inbox(store, 3).annotations.keys() == inbox(store, 4).annotations.keys() == {7}
    assert not inbox(store, 5).annotations


def test_addresses_names_and_tokens_are_not_kept(tmp_path):
    store = Store(str(tmp_path))
    told(store, said(completed_by={"id": 5, "email": "canary@example.org"}))
    kept = Path(inbox(store, 3).annotations[7].file).read_text()
    assert "canary" not in kept
    assert json.loads(kept)["annotation"]["completed_by"] == 5
    assert json.loads(kept)["task"]["data"] == {"hilum": {"candidate_id": "c"}}


@pytest.mark.parametrize("seconds", [-301, 301, -(10**9)])
def test_a_delivery_of_another_time_is_a_replay(seconds):
    with pytest.raises(StaleError, match="300 seconds"):
        delivery_of(said(seconds=seconds), now=NOW)


@pytest.mark.parametrize("action", ["PROJECT_UPDATED", "TASKS_CREATED", "START_TRAINING"])
def test_what_is_of_no_use_is_not_kept(action):
    assert delivery_of({"action": action}, now=NOW) is None


@pytest.mark.parametrize(
    "payload",
    [
        None,
        [],
        "x",
        {},
        {"action": 3},
        {"action": "ANNOTATION_CREATED"},
        {**said(), "project": {}},
        {**said(), "project": {"id": "../../x"}},
        {**said(), "project": {"id": True}},
        {**said(), "task": None},
        said(annotation_id=0),
        said(annotation_id=-1),
        said(annotation_id="7"),
        said(annotation_id=1 << 70),
        said(result=None),
        said(updated_at="yesterday"),
        said(updated_at="2026-03-01T12:00:00"),
        said(updated_at=None),
        deleted(),
        {**deleted(1), "annotations": [1]},
        {**deleted(1), "annotations": {"id": 1}},
    ],
    ids=repr,
)
def test_what_label_studio_would_not_send_is_refused(payload):
    with pytest.raises(DataError):
        delivery_of(payload, now=NOW)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda c: (
            st.lists(c)
            | st.dictionaries(
                st.sampled_from(
                    ["action", "annotation", "task", "project", "id", "result", "updated_at", "annotations"]
                )
                | st.text(),
                c,
            )
        ),
    )
)
def test_no_body_brings_it_down(payload):
    try:
        delivery_of(payload, now=NOW)
    except (DataError, StaleError):
        return


def test_a_delivery_that_was_changed_on_the_disk_is_damage(tmp_path):
    store = Store(str(tmp_path))
    told(store, said())
    one = inbox(store, 3).annotations[7]
    Path(one.file).write_text("[]")
    with pytest.raises(CorruptionError):
        read_told(one)
