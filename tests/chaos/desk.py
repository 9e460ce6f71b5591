"""A desk at which people answer, behind a bad line: Label Studio's part in two hundred schedules.

It stands where `Connection` does and keeps what Label Studio keeps: no task is unique, nothing is said about a request
whose answer was lost, and a webhook is sent once. All of hilum's side is the real one: publishing, collecting,
judging, and the deliveries' inbox. What the real Label Studio does is tested in tests/label_studio; its start alone
takes longer than a schedule may. The desk is a file, so that it outlives whoever speaks to it.
"""

import fcntl
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from hilum.adapters.label_studio.annotator import LabelStudio
from hilum.adapters.label_studio.asked import ASKED_KEY, asked_from_json
from hilum.adapters.label_studio.connection import UnsureError
from hilum.adapters.label_studio.drafts import class_draft
from hilum.adapters.label_studio.projects import Project
from hilum.adapters.label_studio.rows import CANDIDATE, KEY, SELECTION
from hilum.core.asking import Task
from hilum.core.errors import HilumError
from hilum.core.ports import Ledger
from hilum.store.layout import Store

T = TypeVar("T")
PROJECT = 1
_FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Desk:
    """``line(what)`` is asked at each request: "" carries it out, "before" and "after" lose it or its answer."""

    file: Path
    line: Callable[[str], str] = field(default=lambda _: "")
    url = "http://desk.test"

    def ask(self, call: Callable[[Any], T]) -> T:
        """As `Connection.ask`: what is lost here was lost at every try."""
        return self._carried_out(call, "a question", HilumError("The desk is busy or out of order (HTTP 503)."))

    def tell(self, call: Callable[[Any], T]) -> T:
        return self._carried_out(call, "a message", UnsureError("The line to the desk broke."))

    def tasks(
        self,
        project_id: int,
        *,
        include: str = "",
        filters: Sequence[Mapping[str, Any]] = (),
    ) -> Iterator[dict[str, Any]]:
        selection_ids = [one["value"] for one in filters]
        for task in self.ask(lambda _: self.content()["tasks"]):
            if not selection_ids or task["data"][SELECTION] in selection_ids:
                ids = ",".join(str(annotation["id"]) for annotation in task["annotations"])
                yield {**task, "annotations_ids": ids, "predictions_model_versions": ",".join(task["versions"])}

    def tasks_numbered(self, project_id: int, task_ids: Sequence[int]) -> list[dict[str, Any]]:
        return self.ask(lambda _: [task for task in self.content()["tasks"] if task["id"] in task_ids])

    def content(self) -> dict[str, Any]:
        with self.changed() as content:
            return content

    @contextmanager
    def changed(self) -> Iterator[dict[str, Any]]:
        """What the desk has, kept as it is left; one at a time."""
        with self.file.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            before = file.read()
            content = json.loads(before) if before else {"last": 0, "tasks": [], "letters": [], "done": {}}
            yield content
            after = json.dumps(content)
            if after != before:
                file.truncate(0)
                file.write(after)

    def _carried_out(self, call: Callable[[Any], T], what: str, lost: HilumError) -> T:
        when = self.line(what)
        if when == "before":
            raise lost
        found = call(self._sdk())
        if when == "after":
            raise lost
        return found

    def _sdk(self) -> SimpleNamespace:
        """What hilum uses of Label Studio's SDK."""
        projects = SimpleNamespace(import_tasks=self._import, import_predictions=self._redraft, update=lambda **_: None)
        return SimpleNamespace(projects=projects, actions=SimpleNamespace(create=self._delete))

    def _import(self, *, id: int, request: Sequence[Mapping[str, Any]], return_task_ids: bool) -> None:  # noqa: A002
        with self.changed() as content:
            for given in request:
                versions = [draft["model_version"] for draft in given["predictions"]]
                task = {"id": _next(content), "data": given["data"], "updated_at": "", "annotations": []}
                content["tasks"].append({**task, "versions": versions})

    def _redraft(self, *, id: int, request: Sequence[Mapping[str, Any]]) -> None:  # noqa: A002
        with self.changed() as content:
            for draft in request:
                for task in content["tasks"]:
                    if task["id"] == draft["task"]:
                        task["versions"].append(draft["model_version"])

    def _delete(self, *, id: str, project: int, selected_items: Mapping[str, Any]) -> None:  # noqa: A002
        with self.changed() as content:
            content["tasks"] = [task for task in content["tasks"] if task["id"] not in selected_items["included"]]


class AtTheDesk(LabelStudio):
    """The annotator `label_studio`, speaking to a desk."""

    def __init__(self, store: Store, ingest_id: str, desk: Desk, ledger: Ledger) -> None:
        super().__init__(store, ingest_id, project="Desk")
        self.connection = desk  # type: ignore[assignment]
        self._ledger = ledger

    def _project(self, task: Task, *, make: bool) -> Project:
        return Project(PROJECT, "Desk", frozenset())


class People:
    """Who sits at the desk. What they do depends on the candidates alone, and so does its order.

    Some answer wrongly first and correct it, some are refused by a reviewer and answer again, some skip. The last
    thing that is done about a selection answers its last task: nothing can be collected before.
    """

    def __init__(self, desk: Desk, *, num_per_round: int) -> None:
        self._desk, self._num_per_round = desk, num_per_round

    def work(self, most: int | None = None) -> int:
        """Do the next things, ``most`` at most; returns how many."""
        num_done = 0
        while (most is None or num_done < most) and self._do_next():
            num_done += 1
        return num_done

    def told(self) -> dict[str, int]:
        """Candidate -> the class that stands, of all that was answered and not refused or skipped."""
        return {
            task["data"][CANDIDATE]: _class_of(task, annotation)
            for task in self._desk.content()["tasks"]
            for annotation in task["annotations"]
            if not annotation["was_cancelled"] and all(review["accepted"] for review in annotation["reviews"])
        }

    def _do_next(self) -> bool:
        with self._desk.changed() as content:
            for selection_id, by_key in sorted(_by_selection(content["tasks"]).items()):
                things = _things_to_do(sorted(by_key))
                num_done = content["done"].get(selection_id, 0)
                if len(by_key) == self._num_per_round and num_done < len(things):
                    key, what = things[num_done]
                    _do(content, by_key[key], what, num_done)
                    content["done"][selection_id] = num_done + 1
                    return True
        return False


def _by_selection(tasks: Sequence[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Of each selection the task of every key that a person would open: the one that was begun, else the oldest."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for task in sorted(tasks, key=lambda one: (not one["annotations"], one["id"])):
        found.setdefault(task["data"][SELECTION], {}).setdefault(task["data"][KEY], task)
    return found


def _things_to_do(keys: Sequence[str]) -> list[tuple[str, str]]:
    things = []
    for key in keys[:-1]:
        habit = ("skip", "wrong, answer", "rejected, answer", "answer", "answer")[_number(key) % 5]
        things += [(key, what) for what in habit.split(", ")]
    return [*things, (keys[-1], "answer")]


def _do(content: dict[str, Any], task: dict[str, Any], what: str, moment: int) -> None:
    number = _number(task["data"][KEY])
    updated_at = _FIRST_DAY + timedelta(seconds=number % 1_000_000 + 60 * moment)
    asked = asked_from_json(task["data"][ASKED_KEY])
    class_id = (number + (what == "wrong")) % 2
    annotation = {
        "unique_id": f"8d3f0c2a-1b2c-4d5e-8f90-{number % (1 << 48):012x}",
        "completed_by": 2,
        "was_cancelled": what == "skip",
        "lead_time": 4.5,
        "updated_at": updated_at.isoformat(),
        "reviews": [{"accepted": False}] if what == "rejected" else [],
        "result": [] if what == "skip" else class_draft(asked, class_id, score=0, checkpoint_id="c")["result"],
    }
    is_new = not task["annotations"]
    annotation["id"] = _next(content) if is_new else task["annotations"][0]["id"]
    task["annotations"], task["updated_at"] = [annotation], annotation["updated_at"]
    content["letters"].append(
        {
            "action": "ANNOTATION_CREATED" if is_new else "ANNOTATION_UPDATED",
            "annotation": annotation,
            "task": {"id": task["id"], "data": task["data"]},
            "project": {"id": PROJECT},
        }
    )


def _class_of(task: Mapping[str, Any], annotation: Mapping[str, Any]) -> int:
    (chosen,) = annotation["result"]
    return asked_from_json(task["data"][ASKED_KEY]).class_names.index(chosen["value"]["choices"][0])


def _number(key: str) -> int:
    return int(key.rsplit("/", 1)[1], 16)


def _next(content: dict[str, Any]) -> int:
    content["last"] += 1
    return int(content["last"])
