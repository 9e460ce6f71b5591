"""What Label Studio tells by webhook, kept in the store before it is acknowledged.

A webhook is sent once, unsigned, and never again; it may come twice, late or out of order. So every revision of an
annotation is one file that is written once, named by what it is about, and the state is a function of the set of
files: in which order they came, and how often, cannot matter.

    deliveries/label_studio/<project>/<annotation>-<microseconds of updated_at>.json
    deliveries/label_studio/<project>/deleted-<hash of the ids>.json

What Label Studio says when it is asked is the truth; deliveries make it prompt, and keep what was said.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from hilum.core.errors import ConflictError, CorruptionError, DataError
from hilum.core.ids import content_id
from hilum.store.layout import Store, filesystem, is_local, names_in
from hilum.store.manifest import read_json, write_json

TOOL = "label_studio"
FORMAT_VERSION = 1
WINDOW = timedelta(minutes=5)
"""A delivery that speaks of a time further from now than this is refused: it is a replay, or a clock is wrong."""

MOST_DELETED = 100_000
_LARGEST_ID = 1 << 62

_SAID = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED")
_DELETED: Mapping[str, Literal["annotations", "tasks"]] = {
    "ANNOTATIONS_DELETED": "annotations",
    "TASKS_DELETED": "tasks",
}
ACTIONS = (*_SAID, *_DELETED)
"""What a webhook needs to be subscribed to; anything else is acknowledged and not kept."""

_ANNOTATION_KEYS = (
    *("id", "unique_id", "result", "was_cancelled", "ground_truth", "lead_time", "completed_by", "updated_by"),
    *("parent_prediction", "parent_annotation", "prediction", "created_at", "updated_at", "review_result"),
)
_TASK_KEYS = ("id", "project", "is_labeled", "inner_id", "cancelled_annotations", "total_annotations")
_OURS = "hilum"
_ANNOTATION_FILE = re.compile(r"(\d{1,19})-(\d{1,17})\.json", re.ASCII)
_DELETED_FILE = re.compile(r"deleted-[0-9a-f]{12}\.json", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Outcome = Literal["recorded", "known", "ignored"]
"""Written now; there already; or of no interest to hilum."""


@dataclass(frozen=True)
class Delivery:
    """One webhook: what it is about, and what of it is kept."""

    project_id: int
    name: str
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Told:
    """The newest of what was told of one annotation."""

    annotation_id: int
    updated_at: datetime
    file: str


@dataclass(frozen=True)
class Inbox:
    """What was told of one project by now: annotations at their newest revision, and what was deleted."""

    annotations: Mapping[int, Told]
    deleted_annotation_ids: frozenset[int]
    deleted_task_ids: frozenset[int]


class StaleError(ConflictError):
    """A delivery from another time: a replay, or one of the two clocks is wrong."""


def delivery_of(payload: object, *, now: datetime, window: timedelta = WINDOW) -> Delivery | None:
    """What a webhook's body says; None where hilum has no use for it.

    DataError when it is not as Label Studio sends it, `StaleError` when it speaks of a time too far from ``now``.
    Of the task only ids and hilum's own data are kept: its addresses are signed, and the rest is not ours.
    """
    body = _mapping(payload, "The body")
    action = body.get("action")
    if not isinstance(action, str):
        raise DataError("The body has no action; it is no webhook of Label Studio.")
    if action in _SAID:
        return _said(body, action, now=now, window=window)
    if action in _DELETED:
        return _gone(body, action, now=now)
    return None


def record(store: Store, delivery: Delivery) -> Outcome:
    """Keep a delivery, durably: once this returns it survives the end of the process and of the machine."""
    folder = store.deliveries(TOOL, delivery.project_id)
    is_new = write_json(f"{folder}/{delivery.name}", delivery.content, only_if_absent=True)
    # Also when it was there: whoever wrote it may have died before its folder was on the disk.
    _flush_folder(folder)
    return "recorded" if is_new else "known"


def inbox(store: Store, project_id: int) -> Inbox:
    """What was told of a project, whatever the order it came in: the newest revision stands, deleted stays deleted."""
    folder = store.deliveries(TOOL, project_id)
    names = names_in(folder)
    deleted: dict[str, set[int]] = {"annotations": set(), "tasks": set()}
    for name in sorted(name for name in names if _DELETED_FILE.fullmatch(name)):
        content = _read(f"{folder}/{name}")
        deleted[content["what"]].update(content["ids"])
    newest = {
        annotation_id: Told(annotation_id, _EPOCH + timedelta(microseconds=revision), f"{folder}/{name}")
        for annotation_id, revision, name in sorted(_revisions(names))
        if annotation_id not in deleted["annotations"]
    }
    return Inbox(newest, frozenset(deleted["annotations"]), frozenset(deleted["tasks"]))


def read_told(told: Told) -> dict[str, Any]:
    """What was kept of one delivery: ``action``, ``project_id``, ``received_at``, ``annotation`` and ``task``."""
    content: dict[str, Any] = _read(told.file)
    return content


def _said(body: Mapping[str, Any], action: str, *, now: datetime, window: timedelta) -> Delivery:
    annotation = _mapping(body.get("annotation"), "The annotation")
    task = _mapping(body.get("task"), "The task")
    annotation_id, project_id = _id(annotation, "id"), _project_id(body)
    if not isinstance(annotation.get("result"), list):
        raise DataError("The annotation has no list of results.")
    updated_at = _time(annotation.get("updated_at"))
    if abs(now - updated_at) > window:
        raise StaleError(
            f"The annotation was changed more than {int(window.total_seconds())} seconds from now; "
            "what is missing is found by `hilum label reconcile`."
        )
    revision = (updated_at - _EPOCH) // timedelta(microseconds=1)
    if revision < 0:
        raise DataError("The annotation's updated_at is before 1970.")
    data = task.get("data")
    ours = {key: value for key, value in data.items() if key.startswith(_OURS)} if isinstance(data, Mapping) else {}
    content = {
        "format_version": FORMAT_VERSION,
        "action": action,
        "project_id": project_id,
        "received_at": now.isoformat(),
        "annotation": {key: _without_names(annotation[key]) for key in _ANNOTATION_KEYS if key in annotation},
        "task": {**{key: task[key] for key in _TASK_KEYS if key in task}, "data": ours},
    }
    return Delivery(project_id, f"{annotation_id}-{revision}.json", content)


def _without_names(value: object) -> object:
    """A person given with name and mail address is known by number alone; anything else is as it came."""
    return value.get("id") if isinstance(value, Mapping) and "email" in value else value


def _gone(body: Mapping[str, Any], action: str, *, now: datetime) -> Delivery:
    what = _DELETED[action]
    items = body.get(what)
    if not isinstance(items, list) or not 1 <= len(items) <= MOST_DELETED:
        raise DataError(f"{action} names no {what}, or more than {MOST_DELETED:,}.")
    ids = sorted({_id(_mapping(item, "What was deleted"), "id") for item in items})
    project_id = _project_id(body)
    content = {
        "format_version": FORMAT_VERSION,
        "action": action,
        "project_id": project_id,
        "received_at": now.isoformat(),
        "what": what,
        "ids": ids,
    }
    return Delivery(project_id, f"deleted-{content_id([what, *ids])}.json", content)


def _revisions(names: Iterable[str]) -> Iterable[tuple[int, int, str]]:
    for name in names:
        found = _ANNOTATION_FILE.fullmatch(name)
        if found is not None:
            yield int(found[1]), int(found[2]), name


def _read(file: str) -> dict[str, Any]:
    content = read_json(file)
    if not isinstance(content, dict) or content.get("format_version") != FORMAT_VERSION:
        raise CorruptionError(f"{file} is no delivery of format {FORMAT_VERSION}; it was changed, or a newer hilum's.")
    return content


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise DataError(f"{what} is no object of JSON.")
    return value


def _project_id(body: Mapping[str, Any]) -> int:
    return _id(_mapping(body.get("project"), "The project"), "id")


def _id(item: Mapping[str, Any], key: str) -> int:
    value = item.get(key)
    if type(value) is not int or not 0 < value < _LARGEST_ID:
        raise DataError(f"An {key} is no positive whole number.")
    return value


def _time(value: object) -> datetime:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise DataError("The annotation's updated_at is no time with its zone.")
    return found.astimezone(UTC)


def _flush_folder(folder: str) -> None:
    """On a local disk a new name lasts once its folder, and the one that it is new in, are written out."""
    if not is_local(folder):
        return
    path = filesystem(folder)[1]
    for place in (path, os.path.dirname(path)):  # noqa: PTH120 (fsspec gives text)
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
