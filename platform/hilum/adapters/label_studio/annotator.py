"""The annotator `label_studio`: questions become tasks of a Label Studio project, answers come back as voxels.

Where Label Studio and the bridge are, and how to get in, is said by the environment (`HILUM_LABEL_STUDIO_URL`,
`HILUM_LABEL_STUDIO_TOKEN`, `HILUM_BRIDGE_URL`, `HILUM_BRIDGE_KEY`), or by the local one of `hilum label up`.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Literal

from pydantic import Field

from hilum.adapters.label_studio.asked import ASKED_KEY, Asked, asked_from_json
from hilum.adapters.label_studio.collecting import Listener, Said
from hilum.adapters.label_studio.connection import Connection, access
from hilum.adapters.label_studio.drafts import DrawnAs, class_draft, outline_draft
from hilum.adapters.label_studio.page_links import PageLinks, page_links
from hilum.adapters.label_studio.pages import View, default_window
from hilum.adapters.label_studio.projects import Project, ensure_webhook, project_for, project_numbered, show_round
from hilum.adapters.label_studio.publishing import Item, Published, in_turn, publish
from hilum.adapters.label_studio.rows import CANDIDATE, KEY, SELECTION, VOLUME, key_of
from hilum.adapters.label_studio.slices import Pages, Plane, hang
from hilum.adapters.label_studio.template import PAGES_KEY, Kind
from hilum.core.asking import Annotation, Task
from hilum.core.geometry import Zyx
from hilum.core.registry import Params, annotators
from hilum.store.layout import Store
from hilum.store.ledger import open_ledger
from hilum.store.volumes import volumes_of

Drawing = Literal["segment", "scribble", "points", "boxes"]


class LabelStudioParams(Params):
    """``project``: a title, made if it is not there, or the number of one that is; '' names it by the images.

    ``draw`` says how 'where is it?' is answered: outlines, scribbles, points or boxes. ``plane`` and ``margin_zyx``
    (voxels of context) say what is shown, ``window`` and ``channel`` how (see `pages.View`). ``drafts`` are drawn by
    brush or as polygons. ``num_annotators`` people are asked about each task, and all of them are waited for.
    ``link_days``: until then images can be opened.
    """

    project: str | int = ""
    draw: Drawing = "segment"
    plane: Plane | None = None
    margin_zyx: Zyx = (0, 0, 0)
    window: str | None = None
    channel: int = Field(default=0, ge=0)
    drafts: DrawnAs = "brush"
    num_annotators: int = Field(default=1, ge=1, le=100)
    link_days: int = Field(default=30, ge=1, le=3650)


@annotators.register("label_studio", params=LabelStudioParams)
class LabelStudio:
    """Asks in a project of Label Studio, and reads what people answered there."""

    def __init__(
        self,
        store: Store,
        ingest_id: str,
        *,
        project: str | int = "",
        draw: Drawing = "segment",
        plane: Plane | None = None,
        margin_zyx: Zyx = (0, 0, 0),
        window: str | None = None,
        channel: int = 0,
        drafts: DrawnAs = "brush",
        num_annotators: int = 1,
        link_days: int = 30,
    ) -> None:
        self._store, self._ingest_id = store, ingest_id
        self.named = project or f"hilum {ingest_id}"
        self._draw: Drawing = draw
        self._plane, self._margin_zyx = plane, margin_zyx
        self._window, self._channel = window, channel
        self._drafts: DrawnAs = drafts
        self._num_annotators, self._link_days = num_annotators, link_days
        self._projects: dict[tuple[Kind, tuple[str, ...]], Project] = {}
        self._listeners: dict[int, Listener] = {}

    def publish(self, tasks: Sequence[Task]) -> int:
        return sum(published.num_new for published in self.publish_all(tasks))

    def publish_all(self, tasks: Sequence[Task]) -> list[Published]:
        """Publish, and say what was done for each selection."""
        done = []
        for selection_id in sorted({task.selection_id for task in tasks}):
            asked = [task for task in tasks if task.selection_id == selection_id]
            done.append(self._publish_selection(selection_id, asked))
        return done

    def collect(self, tasks: Sequence[Task]) -> Sequence[Annotation]:
        return self._said(tasks).answers

    def refused(self, tasks: Sequence[Task]) -> Mapping[str, str]:
        return self._said(tasks).refused

    def declined(self, tasks: Sequence[Task]) -> Mapping[str, str]:
        return self._said(tasks).declined

    @cached_property
    def connection(self) -> Connection:
        return Connection(access())

    @cached_property
    def links(self) -> PageLinks:
        return page_links(self._link_days)

    @property
    def project_id(self) -> int:
        """The number of the project; NotFoundError before anything was published."""
        return int(project_numbered(self.connection, self.named).id)

    def asked(self, task: Task) -> Asked:
        """What a task asks, and on which pages."""
        patch = task.chosen.candidate.patch
        pages = hang(self._volumes[patch.volume_id], patch, plane=self._plane, margin_zyx=self._margin_zyx)
        return Asked(self._kind(task), task.class_names, pages)

    def data(self, task: Task) -> dict[str, Any]:
        """The data of a task as Label Studio keeps them: addresses of pages, and what was asked. No identity."""
        asked = self.asked(task)
        return {
            PAGES_KEY: self._addresses(asked.pages),
            ASKED_KEY: asked.to_json(),
            KEY: key_of(task.selection_id, task.candidate_id),
            SELECTION: task.selection_id,
            CANDIDATE: task.candidate_id,
            VOLUME: task.chosen.candidate.patch.volume_id,
        }

    def pages_of(self, data: Mapping[str, Any]) -> list[str]:
        """New addresses for the pages of a task that was published with these data."""
        return self._addresses(asked_from_json(data.get(ASKED_KEY)).pages)

    def draft(self, task: Task, num_tasks: int) -> dict[str, Any] | None:
        """The model's draft with the task's place in the order as its score: the lowest is asked first."""
        if task.draft_by is None:
            return None
        score = (task.chosen.rank + 1) / (num_tasks + 1)
        asked = self.asked(task)
        if task.draft_class is not None:
            return class_draft(asked, task.draft_class, score=score, checkpoint_id=task.draft_by)
        if task.draft_label_map_zyx is not None and asked.kind == "segment":
            return outline_draft(
                asked,
                task.draft_label_map_zyx,
                score=score,
                checkpoint_id=task.draft_by,
                drawn_as=self._drafts,
            )
        # Nothing to show, but a place in the order.
        return {"model_version": task.draft_by, "score": score, "result": []}

    def _addresses(self, pages: Pages) -> list[str]:
        window = self._window or default_window(self._volumes[pages.patch.volume_id])
        return self.links.of(self._ingest_id, View(pages, window, self._channel))

    @cached_property
    def _volumes(self) -> Mapping[str, Any]:
        return volumes_of(self._store, self._ingest_id)

    @cached_property
    def _ledger(self) -> Any:
        return open_ledger(self._store)

    def _publish_selection(self, selection_id: str, tasks: Sequence[Task]) -> Published:
        project = self._project(tasks[0], make=True)
        num = 1 + max(task.chosen.rank for task in tasks)
        ordered = sorted(tasks, key=lambda task: task.chosen.rank)
        items = [
            Item(
                key_of(selection_id, task.candidate_id),
                task.draft_by,
                partial(self.data, task),
                partial(self.draft, task, num),
            )
            for task in ordered
        ]
        with in_turn(self._ledger, project.project_id):
            published = publish(self.connection, project.project_id, selection_id, items)
        candidates = {key_of(selection_id, task.candidate_id): task.candidate_id for task in tasks}
        named = {candidates[key]: str(task_id) for key, task_id in published.task_ids.items()}
        self._ledger.remember_tasks(selection_id, named)
        show_round(self.connection, project, ordered[0].draft_by)
        if self.links.webhook_secret is not None:
            ensure_webhook(self.connection, project, self.links.webhook_url, self.links.webhook_secret)
        return published

    def _said(self, tasks: Sequence[Task]) -> Said:
        if not tasks:
            return Said()
        project = self._project(tasks[0], make=False)
        number, others = project.project_id, project.other_controls
        heard = Listener(self.connection, number, others, num_annotators=self._num_annotators)
        listener = self._listeners.setdefault(number, heard)
        known = {selection: self._ledger.external_ids(selection) for selection in {task.selection_id for task in tasks}}
        return listener.said_of(tasks, known)

    def _project(self, task: Task, *, make: bool) -> Project:
        kind = self._kind(task)
        asks = kind, task.class_names
        if asks not in self._projects:
            if not make:
                project_numbered(self.connection, self.named)
            self._projects[asks] = project_for(
                self.connection, self.named, kind, task.class_names, num_annotators=self._num_annotators
            )
        return self._projects[asks]

    def _kind(self, task: Task) -> Kind:
        return "classify" if task.question == "classify" else self._draw
