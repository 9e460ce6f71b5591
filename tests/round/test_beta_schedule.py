"""A campaign whose β rises: every round asks with its own, the first round of a model with the first."""

import shutil
from pathlib import Path

import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.core.recipes import ArmRecipe, CampaignRecipe, Choice
from hilum.loop.campaign import Campaign
from hilum.loop.events import history, runs_of
from hilum.store.layout import Store
from hilum.store.manifest import read_manifest
from hilum.store.selections import read_selection
from hilum.testing.campaigns import check_invariants, tiny_recipe

RISING = {"first": 1, "last": 100, "num_rounds": 3}


def recipe(beta: object) -> CampaignRecipe:
    arm = ArmRecipe(share=1.0, sampler=Choice(kind="soft_rank", score="entropy", beta=beta))
    plain = tiny_recipe("classify", num_rounds=4, num_per_round=4)
    return plain.model_copy(update={"select": plain.select.model_copy(update={"arms": (arm,)})})


def asked_by(store: Store, ingest_id: str, beta: object, name: str) -> list[tuple[object, list[str]]]:
    """The β and the candidates of every round."""
    campaign = Campaign.create(store, name, recipe(beta), ingest_id=ingest_id)
    campaign.run(executor=InlineExecutor(), annotator=Oracle(store, ingest_id))
    check_invariants(store, name, recipe(beta))
    runs = [runs_of(events)["select"] for events in history(store, name)]
    return [
        (
            read_manifest(store.run("select", run)).recipe["arms"][0]["sampler"]["beta"],
            [chosen.candidate.candidate_id for chosen in read_selection(store, run)],
        )
        for run in runs
    ]


@pytest.fixture(scope="module")
def copied(
    phantoms: dict[tuple[str, int], tuple[Path, str]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Store, str]:
    origin, ingest_id = phantoms["classify", 2]
    folder = tmp_path_factory.mktemp("rising") / "store"
    shutil.copytree(origin, folder)
    return Store(str(folder)), ingest_id


def test_every_round_asks_with_its_own_beta_and_otherwise_than_with_one_for_all(copied: tuple[Store, str]) -> None:
    store, ingest_id = copied
    rising = asked_by(store, ingest_id, RISING, "rising")
    constant = asked_by(store, ingest_id, 1.0, "constant")
    # Round 0 has no model: β is that of the schedule's beginning, and nobody reads it.
    assert [beta for beta, _ in rising] == pytest.approx([1, 1, 10, 100])
    assert [beta for beta, _ in constant] == [1, 1, 1, 1]
    assert rising[:2] == constant[:2]
    assert rising[2][1] != constant[2][1]
