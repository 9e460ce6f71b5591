"""A round is one trace, though every move is made by another process, and a line of its log is one JSON object."""

import json
import os
import subprocess
import sys
import time

import pytest
from tests.round.otlp import collecting

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.core.tracing import round_ids
from hilum.loop.campaign import Campaign
from hilum.loop.events import history, runs_of
from hilum.store.volumes import volumes_of
from hilum.testing.campaigns import tiny_recipe

RECIPE = tiny_recipe("classify", num_per_round=3)
STEPS = ["pool", "score", "select", "publish", "collect", "finetune", "evaluate", "promote"]
MOVE = """
import sys, time
from hilum.adapters.telemetry import begin
begin()
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.cli.main import leave
from hilum.loop.campaign import Campaign
from hilum.store.layout import Store
store = Store(sys.argv[1])
for _ in range(int(sys.argv[3])):
    Campaign.open(store, "liver").advance(executor=InlineExecutor(), annotator=Oracle(store, sys.argv[2]))
leave(0)
"""


def _moved(store, ingest_id, num=1, **environment):
    done = subprocess.run(
        [sys.executable, "-c", MOVE, store.url, ingest_id, str(num)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def watched_round(tmp_path_factory):
    """A first round and the beginning of a second: what was collected, what was logged, and the store."""
    from hilum.testing.phantoms import Phantom, phantom_store

    store, ingest_id = phantom_store(str(tmp_path_factory.mktemp("store")), Phantom("classify", 2))
    Campaign.create(store, "liver", RECIPE)
    lines = []
    with collecting() as collector:
        for number in range(9):
            if number == 3:
                time.sleep(1.2)  # people take their time
            done = _moved(store, ingest_id, HILUM_TRACES=collector.url, HILUM_LOG="json")
            lines += done.stderr.splitlines()
    return store, ingest_id, collector, lines


def test_all_moves_of_a_round_join_one_trace_whose_root_is_the_round(watched_round):
    _, ingest_id, collector, _ = watched_round
    ids = round_ids("liver", ingest_id, 0)
    ours = [span for span in collector.spans if span.trace_id == f"{ids.trace_id:032x}"]
    names = [span.name for span in ours]
    assert [name for name in names if name in STEPS] == STEPS
    assert names.count("annotate") == names.count("round") == 1
    (root,) = [span for span in ours if not span.parent]
    assert (root.name, root.span_id) == ("round", f"{ids.span_id:016x}")
    known = {span.span_id for span in ours}
    assert len(known) == len(ours)
    assert all(span.parent in known for span in ours if span is not root)
    assert root.seconds >= sum(span.seconds for span in ours if span.name == "annotate") >= 1


def test_every_step_names_its_run(watched_round):
    store, ingest_id, collector, _ = watched_round
    runs = runs_of(history(store, "liver")[0])
    trace_id = f"{round_ids('liver', ingest_id, 0).trace_id:032x}"
    told = {s.name: s.attributes["hilum.run_id"] for s in collector.spans if s.trace_id == trace_id and s.name in STEPS}
    assert told == {step: runs[step] for step in STEPS}


def test_another_round_is_another_trace(watched_round):
    _, ingest_id, collector, _ = watched_round
    traces = {span.trace_id for span in collector.spans}
    assert traces == {f"{round_ids('liver', ingest_id, number).trace_id:032x}" for number in (0, 1)}


def test_every_line_on_stderr_is_json_with_where_it_comes_from(watched_round):
    store, ingest_id, _, lines = watched_round
    told = [json.loads(line) for line in lines]
    done = {one["step"]: one for one in told if one["message"].endswith(" done") and one["round"] == 0}
    runs = runs_of(history(store, "liver")[0])
    assert list(done) == STEPS
    for step, one in done.items():
        assert (one["campaign"], one["run"], one["level"]) == ("liver", runs[step], "info")
        assert one["trace_id"] == f"{round_ids('liver', ingest_id, 0).trace_id:032x}"
    stages = [one["message"] for one in told if not one["message"].endswith(" done") and one["round"] == 0]
    assert stages == ["scored", "selected", "published", "collected", "trained", "evaluated", "promoted"]


def test_neither_spans_nor_lines_name_a_patient_or_a_volume(watched_round):
    store, ingest_id, collector, lines = watched_round
    volumes = volumes_of(store, ingest_id).values()
    names = {name for one in volumes for name in (one.volume_id, one.study.study_id, one.study.patient_id)}
    assert len(names) > 10
    said = b"".join(collector.payloads) + "\n".join(lines).encode()
    assert [name for name in names if f'"{name}"'.encode() in said or f" {name} ".encode() in said] == []
    assert [
        one.study.study_id for one in volumes if len(one.study.study_id) > 6 and one.study.study_id.encode() in said
    ] == []


def test_unasked_nothing_is_logged_sent_or_even_imported(new_store):
    store, ingest_id = new_store()
    Campaign.create(store, "liver", RECIPE)
    code = MOVE.replace(
        "leave(0)", "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])\nleave(0)"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "HILUM_"))}
    done = subprocess.run(
        [sys.executable, "-c", code, store.url, ingest_id, "1"], env=kept, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
    assert done.stderr == ""


def test_opentelemetrys_own_variable_is_as_good_as_ours(new_store):
    store, ingest_id = new_store()
    Campaign.create(store, "liver", RECIPE)
    with collecting() as collector:
        _moved(store, ingest_id, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    assert {span.name for span in collector.spans} == {"pool", "score", "after opened"}


def test_a_collector_that_is_gone_stops_no_campaign(new_store):
    store, ingest_id = new_store()
    campaign = Campaign.create(store, "liver", RECIPE)
    with collecting() as collector:
        url = collector.url
    _moved(store, ingest_id, num=2, HILUM_TRACES=url, OTEL_EXPORTER_OTLP_TIMEOUT="1")
    assert campaign.stage == "selected"
    campaign.run(executor=InlineExecutor(), annotator=Oracle(store, ingest_id))
    assert campaign.finished
