"""`hilum label` from `up` to `collect`, typed as a person would, against a real Label Studio."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from tests.label_studio.people import People
from tests.label_studio.servers import Server, free_port

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.label_studio import local_bridge
from hilum.adapters.label_studio.local_access import local_access
from hilum.adapters.label_studio.rows import delete_tasks
from hilum.cli.label_studio import _label_studio
from hilum.cli.round_steps import chain_for
from hilum.core.recipes import Choice
from hilum.core.resources import Resources
from hilum.steps.publish import tasks_of
from hilum.store.layout import Store
from hilum.testing.campaigns import tiny_recipe
from hilum.testing.phantoms import Phantom, phantom_store

Type = Callable[..., dict[str, Any]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return phantom_store(str(tmp_path / "store"), Phantom("segment", 2))[0]


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    asks_there = Choice(kind="label_studio", project=f"Typed {uuid4().hex[:12]}")
    content = tiny_recipe("segment").model_copy(update={"annotator": asks_there}).model_dump(mode="json", by_alias=True)
    path = tmp_path / "typed.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


@pytest.fixture
def type_(label_studio: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Type]:
    """Type ``hilum label …``; what it says as JSON. The server that runs for all tests is this user's local one."""
    monkeypatch.setenv("HILUM_LABEL_STUDIO_HOME", str(label_studio.folder))
    monkeypatch.setenv("HILUM_STATE", str(tmp_path / "state"))

    def typed(line: str, *, code: int = 0) -> dict[str, Any]:
        command = [sys.executable, "-m", "hilum", "label", *line.split(), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=False)
        said.write(done.stdout + done.stderr)
        assert done.returncode == code, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout) if done.stdout else {"said": done.stderr}
        return answer

    with (tmp_path / "said.log").open("w", buffering=1) as said:
        yield typed
    local_bridge.down(local_access(label_studio.folder) or {})


@pytest.mark.timeout(1200)
def test_a_round_is_asked_answered_put_right_and_taken_in(
    type_: Type, store: Store, recipe: str, label_studio: Server
) -> None:
    up = type_(f"up --store {store.url} --bridge-port {free_port()}")
    assert (up["url"], up["user"]) == (label_studio.url, label_studio.user)
    assert Path(up["password_file"]).read_text().strip() == label_studio.password
    chain = chain_for(recipe, store.url, None)
    for verb in ("pool", "score", "select"):
        planned = getattr(chain, verb)()
        planned.step.run(planned.recipe, planned.inputs, store=store, executor=InlineExecutor(), resources=Resources())
    at = f"{recipe} --store {store.url}"
    type_(f"publish {at}")
    annotator = _label_studio(chain)
    assert type_(f"open {at}")["url"] == f"{label_studio.url}/projects/{annotator.project_id}/data"
    tasks = tasks_of(store, chain.select().run.run_id, "segment")
    people = People(annotator)
    people.answer(tasks[1:])
    assert type_(f"status {at}")["num_answered"] == len(tasks) - 1
    delete_tasks(annotator.connection, annotator.project_id, [people.row(tasks[0])])
    assert "deleted in Label Studio" in type_(f"status {at}")["refused"][tasks[0].candidate_id]
    found = type_(f"reconcile {at}")
    assert (found["num_asked_again"], found["num_answered"]) == (1, len(tasks) - 1)
    assert type_(f"reconcile {at}")["num_asked_again"] == 0
    type_(f"collect {at}", code=3)
    people.answer(tasks[:1])
    assert type_(f"collect {at}")["run_id"]
    _check_that_no_secret_is_told(label_studio, store)


def _check_that_no_secret_is_told(server: Server, store: Store) -> None:
    """Neither to whoever lists processes, nor in a log, nor in what was typed and said, nor in the store."""
    known = local_access(server.folder)
    assert known is not None
    secrets = [server.password, *(known[name] for name in ("token", "bridge_key", "webhook_secret"))]
    processes = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert f"hilum bridge --store {store.url}" in processes
    files = [path for path in Path(store.url).parent.rglob("*") if path.is_file()]
    assert {"said.log", "hilum.json"} <= {path.name for path in files}
    logs = [server.folder / name for name in ("bridge.log", "label-studio.log")]
    for told in (processes.encode(), *(path.read_bytes() for path in (*files, *logs))):
        assert not any(secret.encode() in told for secret in secrets)
    for name in ("access.json", "password.txt", "bridge.log", "label-studio.log"):
        assert (server.folder / name).stat().st_mode & 0o077 == 0
