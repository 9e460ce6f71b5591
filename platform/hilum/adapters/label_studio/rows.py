"""What a project's tasks say of themselves, without their answers: read often, so it is kept small."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hilum.adapters.label_studio.connection import Connection

KEY, SELECTION, CANDIDATE, VOLUME = "hilum_key", "hilum_selection", "hilum_candidate", "hilum_volume"
"""Keys of a task's data, beside `asked.ASKED_KEY` and the pages. ``hilum_key`` is what makes a task ours, and one."""

_FIELDS = "id,data,updated_at,annotations_ids,draft_exists,predictions_model_versions"


@dataclass(frozen=True)
class Row:
    """One task of ours. Somebody has ``begun`` it when there is an answer, a skip or an unfinished drawing."""

    task_id: int
    key: str
    selection_id: str
    data: dict[str, Any]
    updated_at: str
    annotation_ids: tuple[int, ...]
    begun: bool
    draft_versions: frozenset[str]


def key_of(selection_id: str, candidate_id: str) -> str:
    """What Label Studio is asked for before anything is sent twice."""
    return f"{selection_id}/{candidate_id}"


def rows_of(connection: Connection, project_id: int, selection_id: str | None = None) -> list[Row]:
    """The tasks of a selection (of every selection without one) by id. Tasks that are not ours are left out."""
    only = {"filter": f"filter:tasks:data.{SELECTION}", "operator": "equal", "type": "String", "value": selection_id}
    filters = () if selection_id is None else (only,)
    found = (_row(task) for task in connection.tasks(project_id, include=_FIELDS, filters=filters))
    return [row for row in found if row is not None]


def standing(rows: Iterable[Row]) -> tuple[dict[str, Row], list[Row]]:
    """Of every key the task that stands, and its doubles that nobody has begun.

    The one that was begun stands, else the oldest: whoever looks, in whatever order, decides the same.
    """
    by_key: dict[str, Row] = {}
    ordered = sorted(rows, key=lambda row: (not row.begun, row.task_id))
    doubles = [row for row in ordered if by_key.setdefault(row.key, row) is not row and not row.begun]
    return by_key, doubles


def delete_tasks(connection: Connection, project_id: int, rows: Iterable[Row]) -> int:
    """Delete these tasks; how many there were. Deleting one that is gone does nothing."""
    task_ids = [row.task_id for row in rows]
    for start in range(0, len(task_ids), 1000):
        _delete(connection, project_id, task_ids[start : start + 1000])
    return len(task_ids)


def _delete(connection: Connection, project_id: int, task_ids: list[int]) -> None:
    chosen: Any = {"all": False, "included": task_ids}
    connection.ask(lambda sdk: sdk.actions.create(id="delete_tasks", project=project_id, selected_items=chosen))


def _row(task: dict[str, Any]) -> Row | None:
    data = task.get("data")
    if not isinstance(data, dict) or not isinstance(data.get(KEY), str) or not isinstance(data.get(SELECTION), str):
        return None
    annotation_ids = tuple(int(word) for word in str(task.get("annotations_ids") or "").split(",") if word.strip())
    versions = str(task.get("predictions_model_versions") or "").split(",")
    return Row(
        task_id=int(task["id"]),
        key=data[KEY],
        selection_id=data[SELECTION],
        data=data,
        updated_at=str(task.get("updated_at")),
        annotation_ids=annotation_ids,
        begun=bool(annotation_ids) or bool(task.get("draft_exists")),
        draft_versions=frozenset(word.strip() for word in versions if word.strip()),
    )
