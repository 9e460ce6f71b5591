"""Markup in every text that reaches people, and addresses in a task that nobody may open, at a real Label Studio."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.label_studio.browser import Person
from tests.label_studio.people import People, middle_of
from tests.label_studio.servers import Server
from tests.services.own_server import serving

from hilum.adapters.label_studio.annotator import LabelStudio
from hilum.adapters.label_studio.drafts import outline_draft
from hilum.adapters.label_studio.reconciling import reconcile
from hilum.adapters.label_studio.template import PAGES_KEY
from hilum.core.asking import Task
from hilum.store.layout import Store
from hilum.store.ledger import open_ledger
from hilum.testing.phantoms import Phantom, phantom_store, phantom_tasks
from hilum.testing.untrained import untrained_checkpoint
from hilum_services.bridge.app import Access, make_app
from hilum_services.pre_annotation.drafting import Drafter

PHANTOM = Phantom("segment", 2)
CLASS = "<img src=x onerror=window.taken=1>"
TITLE = "<svg onload=window.taken=1>{}"


@pytest.fixture
def place(tmp_path: Path) -> tuple[Store, str]:
    return phantom_store(str(tmp_path), PHANTOM)


@pytest.fixture
def tasks(place: tuple[Store, str]) -> list[Task]:
    return phantom_tasks(*place, PHANTOM)


@pytest.fixture
def trap() -> Iterator[tuple[str, list[str]]]:
    """An address inside the network that nobody may ask anything, and what was asked there."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def _note(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        do_GET = do_HEAD = do_POST = _note  # noqa: N815

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/latest/meta-data", asked
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.timeout(600)
def test_markup_in_a_class_a_title_and_an_answer_stays_text(
    as_hilum: Server, place: tuple[Store, str], tasks: list[Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    bridge = make_app(place[0], Access((as_hilum.environment["HILUM_BRIDGE_KEY"].encode(),), (), (as_hilum.url,)))
    with serving(bridge) as url:
        monkeypatch.setenv("HILUM_BRIDGE_URL", url)
        annotator = LabelStudio(*place, project=TITLE.format(uuid4().hex[:12]))
        named = [replace(task, class_names=("background", CLASS)) for task in tasks]
        annotator.publish([replace(task, draft_label_map_zyx=middle_of(task), draft_by="c1") for task in named])
        with Person(as_hilum) as person:
            person.page.goto(f"{as_hilum.url}/projects/")
            person.page.get_by_text(str(annotator.named)).first.wait_for()
            assert person.open_next(annotator.project_id)
            assert person.page.locator(".lsf-label_clickable").first.inner_text().startswith(CLASS)
            person.submit()
            assert person.page.evaluate("() => window.taken === undefined")
    (told,) = annotator.collect(named)
    assert told.label_map_zyx is not None
    assert told.label_map_zyx.max() == 1
    people = People(annotator)
    region = _region(annotator, named[1])
    people.send(
        named[1], [{**region, "value": {**region["value"], "brushlabels": ["<script>window.taken=1</script>"]}}]
    )
    (reason,) = annotator.refused(named).values()
    assert "&lt;script&gt;" in reason
    assert "<" not in reason


def test_no_address_in_a_task_is_ever_opened(
    as_hilum: Server, place: tuple[Store, str], tasks: list[Task], trap: tuple[str, list[str]]
) -> None:
    address, asked = trap
    annotator = LabelStudio(*place, project=f"Led astray {uuid4().hex[:12]}")
    annotator.publish(tasks[:2])
    people = People(annotator)
    for task in tasks[:2]:
        row = people.row(task)
        data = {
            **row.data,
            PAGES_KEY: [address],
            "image": address,
            "hilum_volume": address,
            "extra": f"file://{address}",
        }
        annotator.connection.ask(lambda sdk, row=row, data=data: sdk.tasks.update(id=str(row.task_id), data=data))
    region = _region(annotator, tasks[0])
    people.send(tasks[0], [{**region, "value": {**region["value"], "url": address, "imageDataURL": address}}])
    assert len(annotator.collect(tasks[:2])) + len(annotator.refused(tasks[:2])) == 1
    checkpoint_id = untrained_checkpoint(place[0], PHANTOM)
    ledger = open_ledger(place[0])
    ledger.point("model", "champion", checkpoint_id, expected=None)
    drafts = Drafter(place[0], ledger, "model").whole([{"id": 1, "data": people.row(tasks[1]).data}])
    assert [draft["result"] for draft in drafts] == [[]]
    assert reconcile(annotator, tasks[:2], place[0]).num_links_renewed == 1
    (renewed,) = people.row(tasks[1]).data[PAGES_KEY]
    assert renewed.startswith(as_hilum.environment["HILUM_BRIDGE_URL"])
    assert asked == []


def _region(annotator: LabelStudio, task: Task) -> dict[str, Any]:
    drafted = outline_draft(annotator.asked(task), middle_of(task), score=0, checkpoint_id="c")
    region: dict[str, Any] = drafted["result"][0]
    return region
