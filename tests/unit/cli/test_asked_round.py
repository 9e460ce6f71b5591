"""`hilum label status` and its sisters of a campaign: its last round is meant."""

from pathlib import Path

import pytest

from hilum.adapters.directory import Directory
from hilum.adapters.inline import InlineExecutor
from hilum.cli.asked_round import CampaignRound, asked_round
from hilum.cli.chain import Chain
from hilum.core.errors import NotFoundError, WaitingForPeople
from hilum.loop.campaign import Campaign
from hilum.loop.definition import only_ingest
from hilum.loop.recipe_files import campaign_recipe
from hilum.steps.publish import tasks_of
from hilum.store.ledger import open_ledger


@pytest.fixture
def campaign(store, recipe):
    return Campaign.create(store, "stripes", campaign_recipe(recipe), ledger=open_ledger(store))


def test_a_campaign_that_asked_nobody_is_to_be_run(campaign, store):
    asked = asked_round("stripes", store.url, None)
    with pytest.raises(
        NotFoundError, match=rf"asked nobody yet. First type: hilum campaign run stripes --store {store.url}"
    ):
        asked.collect_inputs()
    assert isinstance(asked, CampaignRound)


def test_what_a_campaign_asks_now_is_told(campaign, store, typed, tmp_path):
    people = Directory(store, only_ingest(store), folder=str(Path(store.url) / "questions"))
    with pytest.raises(WaitingForPeople):
        campaign.run(executor=InlineExecutor(), annotator=people)
    asked = asked_round("stripes", store.url, None)
    (selection,) = (path.name for path in Path(store.url, "runs", "select").iterdir())
    assert (asked.collect_inputs()["select"], asked.checkpoint) == (selection, "none")
    told = typed(f"label status stripes --store {store.url} --json").document
    assert told["selection_id"] == selection
    assert told["num_asked"] == len(tasks_of(store, selection, "classify"))
    assert told["next"] == [f"hilum campaign run stripes --store {store.url}"]


def test_any_other_name_is_a_recipe(campaign, store, recipe):
    assert isinstance(asked_round(recipe, store.url, None), Chain)
