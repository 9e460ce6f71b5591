"""What a campaign's events, leases and runs tell, and what it costs to look again."""

import json
import math

import pytest
from fsspec.implementations.local import LocalFileSystem
from tests.unit.loop.observing.notes import PEOPLE, Notes, campaigns_of, told_by

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.loop.campaign import Campaign
from hilum.loop.observing import campaigns as module
from hilum.loop.observing.crowd import numbers_of
from hilum.loop.people import agreement_of, people_of
from hilum.steps.progress_file import FILE
from hilum.store.manifest import write_json
from hilum.testing.campaigns import tiny_recipe

LIVER = {"campaign": "liver"}


def status_of(here, name="liver"):
    return Campaign.open(here.store, name, ledger=here.ledger).status()


def test_it_tells_what_the_campaign_says_of_itself(here):
    notes, status = told_by(campaigns_of(here)), status_of(here)
    assert notes.of("hilum_campaign_round", **LIVER) == status.round_number == 2
    assert notes.of("hilum_campaign_stage", **LIVER, stage=status.stage.value) == 1
    assert notes.of("hilum_campaign_stage", **LIVER, stage="scored") == 0
    assert notes.of("hilum_campaign_finished", **LIVER) == 1
    assert notes.of("hilum_publish_tasks_total", **LIVER) == status.num_asked == 30
    assert notes.of("hilum_collect_annotations_total", **LIVER) == status.num_answered
    assert notes.of("hilum_campaign_cost_spent", **LIVER, unit="seconds") == 30 * PEOPLE["seconds_per_answer"]
    assert notes.of("hilum_campaign_cost_left", **LIVER, unit="questions") == 0
    assert notes.of("hilum_campaign_cost_left", **LIVER, unit="seconds") is None
    newest = status.curve[-1].metrics["validation"][status.metric]
    assert notes.of("hilum_campaign_challenger_metric", **LIVER, metric=status.metric) == newest
    assert notes.of("hilum_campaign_broken", **LIVER) == 0


def test_the_champion_is_whom_the_alias_names(here):
    event = here.folder / "campaigns/liver/rounds/000/events/0007-evaluated.json"
    content = json.loads(event.read_text())
    content["counts"]["metrics"]["validation"]["balanced_accuracy"] = 0.77
    event.write_text(json.dumps(content))
    first = status_of(here).curve[0]
    champion = here.ledger.alias("liver", "champion")
    here.ledger.point("liver", "champion", first.checkpoint_id, expected=champion)
    told = told_by(campaigns_of(here)).of("hilum_campaign_metric", **LIVER, metric="balanced_accuracy")
    assert told == 0.77
    here.ledger.drop("liver", "champion")
    assert told_by(campaigns_of(here)).of("hilum_campaign_champion", **LIVER) == 0


def test_steps_are_timed_once_however_often_one_looks(here):
    part, adding = campaigns_of(here), Notes()
    for _ in range(3):
        part.look()
        part.tell_new_seconds(adding)
    trained = adding.observed["hilum_step_seconds", ("step", "finetune")]
    assert len(trained) == 3
    notes = told_by(part)
    assert notes.of("hilum_campaign_step_seconds_total", **LIVER, step="finetune") == pytest.approx(sum(trained))
    assert notes.of("hilum_campaign_last_step_seconds", **LIVER, step="finetune") == trained[-1]


def test_people_are_numbers_and_agree_as_the_report_says(here):
    notes = told_by(campaigns_of(here))
    collected = status_of(here).history[-1].runs["collect"]
    people = people_of(here.store, collected)
    told = {key[2][1]: value for key, value in notes.told.items() if key[0] == "hilum_annotator_answers_total"}
    assert set(told) == {"1", "2", "3"}
    assert sorted(told.values()) == sorted(person.num_answers for person in people)
    assert not {person.annotator for person in people} & {value for key in notes.told for _, value in key[1:]}
    assert notes.of("hilum_annotators_agreement", **LIVER) == pytest.approx(agreement_of(here.store, collected).value)
    answered = numbers_of(here.store, [row.runs["collect"] for row in status_of(here).history])
    for person in people:
        number = str(answered[person.annotator])
        assert notes.of("hilum_annotator_answers_total", **LIVER, person=number) == person.num_answers
    with_others = sorted(person.with_others for person in people)
    told = [value for key, value in notes.told.items() if key[0] == "hilum_annotator_agreement"]
    assert sorted(told) == pytest.approx(with_others)


def test_a_campaign_that_did_not_move_is_not_read_again(here, monkeypatch):
    part = campaigns_of(here)
    part.look()
    read = []
    monkeypatch.setattr(LocalFileSystem, "cat_file", lambda self, path, **_: read.append(path))
    part.look()
    part.tell(Notes())
    assert read == []


def test_of_one_that_moved_earlier_rounds_are_not_read_again(here, monkeypatch):
    oracle = Oracle(here.store, here.ingest_id)
    begun = Campaign.create(here.store, "lung", tiny_recipe("classify", num_rounds=3), ledger=here.ledger)
    while begun.round_number < 2:
        begun.advance(executor=InlineExecutor(), annotator=oracle)
    part = campaigns_of(here)
    part.look()
    begun.advance(executor=InlineExecutor(), annotator=oracle)
    read, real = [], LocalFileSystem.cat_file
    monkeypatch.setattr(
        LocalFileSystem, "cat_file", lambda self, path, **how: read.append(path) or real(self, path, **how)
    )
    notes = told_by(part)
    assert notes.of("hilum_campaign_stage", campaign="lung", stage="scored") == 1
    assert read
    assert not [path for path in read if "/rounds/000/" in path or "/rounds/001/" in path or "/liver/" in path]


def test_a_broken_campaign_is_told_and_leaves_the_rest(here):
    Campaign.create(here.store, "lung", tiny_recipe("classify"), ledger=here.ledger)
    (here.folder / "campaigns/lung/rounds/000/events/0001-opened.json").write_text("{")
    notes = told_by(campaigns_of(here))
    assert notes.of("hilum_campaign_broken", campaign="lung") == 1
    assert notes.of("hilum_campaign_broken", **LIVER) == 0
    assert notes.of("hilum_campaign_round", **LIVER) == 2


def test_a_campaign_that_the_ledger_has_lost_is_broken(here):
    here.ledger.restore([], {})
    assert told_by(campaigns_of(here)).of("hilum_campaign_broken", **LIVER) == 1


def test_what_was_known_of_a_campaign_stays_when_it_breaks(here):
    begun = Campaign.create(here.store, "lung", tiny_recipe("classify"), ledger=here.ledger)
    part = campaigns_of(here)
    part.look()
    begun.advance(executor=InlineExecutor(), annotator=Oracle(here.store, here.ingest_id))
    (here.folder / "campaigns/lung/rounds/000/events/0002-scored.json").write_text("[]")
    notes = told_by(part)
    assert notes.of("hilum_campaign_broken", campaign="lung") == 1
    assert notes.of("hilum_campaign_stage", campaign="lung", stage="opened") == 1


def test_who_works_on_what_is_read_from_leases(here):
    part = campaigns_of(here)
    assert told_by(part).of("hilum_campaign_worked_on", **LIVER) == 0
    run_id = "0123456789ab"
    here.ledger.hold("campaign/liver", "host/7/a", 60)
    here.ledger.hold(f"run/finetune/{run_id}", "host/7/b", 60)
    here.ledger.hold("run/score/ba9876543210", "host/8/c", 60)
    reports = [{"step": 1, "loss": 0.9}, {"step": 5, "loss": 0.5, "wait_share": 0.25}]
    write_json(f"{here.store.run('finetune', run_id)}/{FILE}", {"num_steps": 20, "reports": reports})
    notes = told_by(part)
    assert notes.of("hilum_campaign_worked_on", **LIVER) == 1
    assert notes.of("hilum_campaign_running", **LIVER, step="finetune") == 1
    assert notes.of("hilum_campaign_running", **LIVER, step="score") == 0
    assert notes.of("hilum_finetune_progress", **LIVER) == 0.25
    assert notes.of("hilum_finetune_loss", **LIVER) == 0.5
    assert notes.of("hilum_finetune_wait_share", **LIVER) == 0.25


def test_a_training_that_diverged_is_told_as_no_number(here):
    here.ledger.hold("campaign/liver", "host/7/a", 60)
    here.ledger.hold("run/finetune/0123456789ab", "host/7/b", 60)
    progress = json.dumps({"num_steps": 20, "reports": [{"step": 1, "loss": float("nan")}]})
    folder = here.folder / "runs/finetune/0123456789ab"
    folder.mkdir()
    (folder / FILE).write_text(progress)
    loss = told_by(campaigns_of(here)).of("hilum_finetune_loss", **LIVER)
    assert math.isnan(loss)


def test_every_process_that_takes_a_campaign_up_is_counted(here):
    part = campaigns_of(here)
    for attempt in range(3):
        here.ledger.hold("campaign/liver", f"host/7/{attempt}", 60)
        part.look()
        part.look()
        here.ledger.release("campaign/liver", f"host/7/{attempt}")
    assert told_by(part).of("hilum_campaign_attempts_total", **LIVER) == 3


def test_of_too_many_campaigns_the_finished_are_left_out(here, monkeypatch):
    monkeypatch.setattr(module, "MOST_CAMPAIGNS", 1)
    part = campaigns_of(here)
    part.look()
    Campaign.create(here.store, "lung", tiny_recipe("classify"), ledger=here.ledger)
    notes = told_by(part)
    assert notes.of("hilum_control_campaigns_left_out") == 1
    assert notes.of("hilum_campaign_round", campaign="lung") == 0
    assert notes.of("hilum_campaign_round", **LIVER) is None
