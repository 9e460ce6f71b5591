"""A finished campaign on a phantom, and what an observer tells of it."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from tests.unit.loop.observing.notes import PEOPLE

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.core.recipes import ArmRecipe, BudgetRecipe, Choice, RelabelRecipe, SelectRecipe
from hilum.loop.campaign import Campaign
from hilum.store.layout import Store
from hilum.store.ledger import open_ledger
from hilum.testing.campaigns import tiny_recipe
from hilum.testing.phantoms import Phantom, phantom_store

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def relabelled():
    """Three rounds, of which the later ones ask others again."""
    arms = (
        ArmRecipe(share=0.5, sampler=Choice(kind="top_k", score="entropy")),
        ArmRecipe(share=0.5, sampler=Choice(kind="random")),
    )
    select = SelectRecipe(arms=arms, relabel=RelabelRecipe(share=0.4, max_annotators=3))
    budget = BudgetRecipe(num_per_round=10, num_in_total=30)
    annotator = Choice(kind="oracle", **PEOPLE)
    return tiny_recipe("classify").model_copy(update={"select": select, "campaign": budget, "annotator": annotator})


@pytest.fixture(scope="session")
def done(tmp_path_factory, relabelled):
    """A store with a finished campaign 'liver', made once."""
    folder = tmp_path_factory.mktemp("done")
    store, ingest_id = phantom_store(str(folder / "store"), Phantom("classify", 2))
    campaign = Campaign.create(store, "liver", relabelled, ledger=open_ledger(store))
    campaign.run(executor=InlineExecutor(), annotator=Oracle(store, ingest_id, **PEOPLE))
    return folder / "store", ingest_id


@pytest.fixture
def here(done, tmp_path):
    """A copy of it that a test may change."""
    folder, ingest_id = done
    shutil.copytree(folder, tmp_path / "store")
    store = Store(str(tmp_path / "store"))
    return SimpleNamespace(store=store, ledger=open_ledger(store), ingest_id=ingest_id, folder=tmp_path / "store")
