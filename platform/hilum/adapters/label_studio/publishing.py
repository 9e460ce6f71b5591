"""Tasks into Label Studio, each once, whatever breaks on the way.

Label Studio knows no uniqueness and keeps no promise about a request whose answer was lost. So: look which keys are
there, send only what is missing, never send a batch again without looking, and at the end take away doubles that
nobody has begun. One publisher at a time has the project's lease; were two at work all the same, each takes the
doubles away when it is done, and both decide alike which task stands.
"""

import os
import random
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from hilum.adapters.label_studio.connection import Connection, UnsureError
from hilum.adapters.label_studio.rows import Row, delete_tasks, rows_of, standing
from hilum.core.errors import HilumError
from hilum.core.ports import LeaseLedger

BATCH_TASKS = 500
BATCH_BYTES = 32 << 20
LEASE_SECONDS = 30.0
"""A publisher that died has its lease run out: Label Studio may still be at work on what it sent last."""

_NUM_LOOKS = 8
_NUMBER_BYTES = 4
_TASK_BYTES = 2000


@dataclass(frozen=True)
class Item:
    """One task to be asked. ``data`` and ``draft`` are made when they are sent: drafts are large."""

    key: str
    draft_version: str | None
    data: Callable[[], dict[str, Any]]
    draft: Callable[[], dict[str, Any] | None]


@dataclass(frozen=True)
class Published:
    """What a publishing did: tasks that were new, drafts that were renewed, doubles that were taken away."""

    num_new: int
    num_redrafted: int
    num_doubles: int
    task_ids: dict[str, int]


def publish(connection: Connection, project_id: int, selection_id: str, items: Sequence[Item]) -> Published:
    """Have every item be one task of the project. Call it with the project's lease (`in_turn`)."""
    rows = rows_of(connection, project_id, selection_id)
    there = {row.key for row in rows}
    num_new = sum(item.key not in there for item in items)
    rows = _all_there(connection, project_id, selection_id, items, rows)
    num_redrafted = _redraft(connection, project_id, items, standing(rows)[0])
    num_doubles = remove_doubles(connection, project_id, rows)
    by_key, _ = standing(rows)
    return Published(num_new, num_redrafted, num_doubles, {item.key: by_key[item.key].task_id for item in items})


def remove_doubles(connection: Connection, project_id: int, rows: Sequence[Row]) -> int:
    """Take away tasks that are asked twice and that nobody has begun; how many."""
    return delete_tasks(connection, project_id, standing(rows)[1])


def retire(connection: Connection, project_id: int, keep: Sequence[str]) -> int:
    """Take away tasks that nobody has begun of all selections but these; how many."""
    stale = [row for row in rows_of(connection, project_id) if row.selection_id not in keep and not row.begun]
    return delete_tasks(connection, project_id, stale)


@contextmanager
def in_turn(ledger: LeaseLedger, project_id: int, *, seconds: float = LEASE_SECONDS) -> Iterator[None]:
    """One publisher at a time in a project, as long as leases are good."""
    name, me = f"label-studio/{project_id}", f"{socket.gethostname()}/{os.getpid()}/{uuid4().hex[:8]}"
    try:
        while ledger.hold(name, me, seconds) != me:
            time.sleep(0.2)
        yield
    finally:
        ledger.release(name, me)


def _all_there(
    connection: Connection, project_id: int, selection_id: str, items: Sequence[Item], rows: list[Row]
) -> list[Row]:
    """The selection's rows once no item is missing from them."""
    for look in range(_NUM_LOOKS):
        there = {row.key for row in rows}
        missing = [item for item in items if item.key not in there]
        if not missing:
            return rows
        try:
            for batch in _batches(missing):
                _send(connection, project_id, batch)
        except UnsureError:
            time.sleep(random.uniform(0.5, 1) * min(2.0**look, 20))  # noqa: S311 (publishers must not march in step)
        rows = rows_of(connection, project_id, selection_id)
    raise HilumError(
        f"Label Studio at {connection.url} lost {len(missing)} of {len(items)} tasks {_NUM_LOOKS} times. "
        "Those that are there are asked once; publish again when it is well."
    )


def _send(connection: Connection, project_id: int, batch: list[dict[str, Any]]) -> None:
    connection.tell(lambda sdk: sdk.projects.import_tasks(id=project_id, request=batch, return_task_ids=False))


def _batches(items: Sequence[Item]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    size = 0
    for item in items:
        draft = item.draft()
        batch.append({"data": item.data(), "predictions": [] if draft is None else [draft]})
        size += _size(draft)
        if len(batch) == BATCH_TASKS or size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _redraft(connection: Connection, project_id: int, items: Sequence[Item], by_key: dict[str, Row]) -> int:
    """Add this checkpoint's draft to tasks that have only others' and that nobody has begun; how many."""
    stale = [item for item in items if _is_stale(item, by_key[item.key])]
    batch: list[dict[str, Any]] = []
    size = 0
    for number, item in enumerate(stale, start=1):
        draft = item.draft()
        if draft is not None:
            batch.append({"task": by_key[item.key].task_id, **draft})
            size += _size(draft)
        if batch and (number == len(stale) or len(batch) == BATCH_TASKS or size > BATCH_BYTES):
            _send_drafts(connection, project_id, batch)
            batch, size = [], 0
    return len(stale)


def _send_drafts(connection: Connection, project_id: int, batch: list[dict[str, Any]]) -> None:
    connection.tell(lambda sdk: sdk.projects.import_predictions(id=project_id, request=batch))


def _is_stale(item: Item, row: Row) -> bool:
    return item.draft_version is not None and not row.begun and item.draft_version not in row.draft_versions


def _size(draft: dict[str, Any] | None) -> int:
    regions = [] if draft is None else draft["result"]
    return _TASK_BYTES + sum(_NUMBER_BYTES * len(region["value"].get("rle", ())) for region in regions)
