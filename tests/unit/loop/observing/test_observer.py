"""The observer: one part that fails keeps back none of the rest; and what the other parts tell."""

import json

import pytest
from tests.unit.loop.observing.notes import Notes, campaigns_of, told_by

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.core.errors import CorruptionError, DataError, WaitingForPeople
from hilum.core.recipes import SimulateRecipe
from hilum.loop.campaign import Campaign
from hilum.loop.observing.annotators import Annotators
from hilum.loop.observing.jobs import Jobs
from hilum.loop.observing.observer import Observer, Rising
from hilum.loop.observing.places import Places
from hilum.loop.observing.runs import Ingests, Simulations
from hilum.loop.simulate import Workbench, simulate, simulation_of
from hilum.testing.campaigns import tiny_recipe


class Fails:
    what = "jobs"

    def look(self):
        raise OSError("no route to host")

    def tell(self, meter):
        meter.set("hilum_inference_job_waiting_seconds", 0)


class Works:
    what = "campaigns"
    looks = 0

    def look(self):
        self.looks += 1

    def tell(self, meter):
        meter.set("hilum_control_campaigns_left_out", self.looks)


def test_a_part_that_fails_is_counted_and_the_rest_goes_on():
    observer, notes = Observer("store", [Fails(), Works()], clock=lambda: 77.0), Notes()
    assert not observer.has_looked
    observer.look()
    observer.look()
    observer.tell(notes)
    assert notes.of("hilum_control_errors_total", what="jobs") == 2
    assert notes.of("hilum_control_errors_total", what="campaigns") == 0
    assert notes.of("hilum_control_campaigns_left_out") == 2
    assert notes.of("hilum_control_looked_timestamp_seconds", look="store") == 77


def test_counters_never_fall():
    rising = Rising()
    for total, told in ((5, 5), (3, 5), (8, 8)):
        notes = Notes()
        rising.onto(notes).count("hilum_ingest_volumes_total", total)
        assert notes.of("hilum_ingest_volumes_total") == told


def test_store_and_ledger_are_up_or_not(here):
    part = Places(here.store, here.ledger)
    notes = told_by(part)
    assert notes.of("hilum_store_up") == notes.of("hilum_ledger_up") == 1
    assert 0 < notes.of("hilum_store_free_bytes") <= notes.of("hilum_store_size_bytes")
    assert notes.of("hilum_model_alias", model="liver", alias="champion") == 1
    (here.folder / "hilum.json").unlink()
    notes = told_by(part)
    assert (notes.of("hilum_store_up"), notes.of("hilum_ledger_up")) == (0, 1)


def test_a_ledger_that_does_not_answer_is_down(here, monkeypatch):
    part = Places(here.store, here.ledger)
    (here.folder / "ledger.sqlite").write_bytes(b"no database at all, and long enough to be looked at" * 100)
    here.ledger.close()
    notes = told_by(part)
    assert (notes.of("hilum_store_up"), notes.of("hilum_ledger_up")) == (1, 0)


def test_one_broken_ingest_keeps_back_none_of_the_rest(here):
    part = Ingests(here.store)
    broken = here.folder / "runs/ingest/000000000000"
    broken.mkdir()
    (broken / "manifest.json").write_text("{")
    with pytest.raises(CorruptionError):
        part.look()
    notes = Notes()
    part.tell(notes)
    assert notes.of("hilum_ingest_volumes_total") == 5


def test_a_simulation_says_what_was_saved_beside_random(here):
    recipe = SimulateRecipe(campaign=tiny_recipe("classify"), strategies={"entropy": {}}, seeds=(0, 1))
    workbench = Workbench(InlineExecutor, lambda store, ingest_id, choice: Oracle(store, ingest_id, **choice.params))
    manifest = simulate(
        here.store, "tiny", recipe, executor=InlineExecutor(), workbench=workbench, ingest_id=here.ingest_id
    )
    notes = told_by(Simulations(here.store))
    (entropy,) = simulation_of(manifest).comparison.active
    assert notes.of("hilum_simulation_gain", simulation="tiny", strategy="entropy") == entropy.difference.interval.mean
    assert notes.of("hilum_simulation_gain", simulation="tiny", strategy="random") is None


class Slow:
    """People of whom some have answered by now; or a tool that is down."""

    def __init__(self, oracle):
        self._oracle, self.num, self.is_down = oracle, 0, False

    def publish(self, tasks):
        return len(tasks)

    def collect(self, tasks):
        if self.is_down:
            raise DataError("Label Studio does not answer.")
        return self._oracle.collect(tasks[: self.num])

    def refused(self, tasks):
        return {}

    def declined(self, tasks):
        return {tasks[-1].candidate_id: "blurred"} if self.num else {}


@pytest.fixture
def asked(here):
    """A campaign that waits for people, and those people."""
    people = Slow(Oracle(here.store, here.ingest_id))
    waiting = Campaign.create(here.store, "lung", tiny_recipe("classify"), ledger=here.ledger)
    with pytest.raises(WaitingForPeople):
        waiting.run(executor=InlineExecutor(), annotator=people)
    campaigns = campaigns_of(here)
    campaigns.look()
    return campaigns, people


def test_what_waits_at_annotators_is_asked_of_them(here, asked):
    campaigns, people = asked
    now = [campaigns.seen[-1].moved_at + 100]
    part = Annotators(here.store, campaigns, lambda *_: people, clock=lambda: now[0])
    notes = told_by(part)
    assert notes.of("hilum_annotators_waiting", campaign="lung") == 5
    assert notes.of("hilum_annotators_waiting_seconds", campaign="lung") == pytest.approx(100)
    assert notes.of("hilum_annotators_waiting", campaign="liver") == 0
    assert notes.of("hilum_annotators_waiting_seconds", campaign="liver") == 0
    people.num = 2
    assert told_by(part).of("hilum_annotators_waiting", campaign="lung") == 2  # one will not be answered
    people.num = 4
    notes = told_by(part)
    assert notes.of("hilum_annotators_waiting", campaign="lung") == 0
    assert notes.of("hilum_annotators_waiting_seconds", campaign="lung") == 0


def test_a_tool_that_is_down_is_told_with_what_was_known(here, asked):
    campaigns, people = asked
    part = Annotators(here.store, campaigns, lambda *_: people)
    people.num = 2
    part.look()
    people.is_down = True
    with pytest.raises(DataError):
        part.look()
    notes = Notes()
    part.tell(notes)
    assert notes.of("hilum_annotators_up", campaign="lung") == 0
    assert notes.of("hilum_annotators_waiting", campaign="lung") == 2


def test_a_tool_that_never_answered_is_down_and_all_that_was_asked_waits(here, asked):
    campaigns, people = asked
    people.is_down = True
    part = Annotators(here.store, campaigns, lambda *_: people)
    with pytest.raises(DataError):
        part.look()
    notes = Notes()
    part.tell(notes)
    assert notes.of("hilum_annotators_up", campaign="lung") == 0
    assert notes.of("hilum_annotators_waiting", campaign="lung") == 5


def test_jobs_are_counted_by_how_far_they_are(here):
    part = Jobs(here.store, clock=lambda: 1000.0)
    assert told_by(part).of("hilum_inference_job_waiting_seconds") == 0
    for number, (status, since) in enumerate([("waiting", 400.0), ("running", 700.0), ("done", 1.0)]):
        folder = here.folder / f"jobs/{number:032x}"
        folder.mkdir(parents=True)
        (folder / "asked.json").write_text(json.dumps({"since": since}))
        (folder / "state.json").write_text(json.dumps({"status": status, "progress": 0.0}))
    notes = told_by(part)
    assert notes.of("hilum_inference_job_waiting_seconds") == 600
    told = {key[1][1]: value for key, value in notes.told.items() if key[0] == "hilum_inference_jobs"}
    assert told == {"waiting": 1, "running": 1, "done": 1, "failed": 0, "cancelled": 0}
