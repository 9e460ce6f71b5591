"""A phantom's store, and what a campaign in it leaves that nobody disturbs."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.core.recipes import CampaignRecipe
from hilum.loop.campaign import Campaign
from hilum.store.layout import Store
from hilum.testing.campaigns import determined_files, tiny_recipe
from hilum.testing.invariants import Left
from hilum.testing.phantoms import Phantom, phantom_store

torch.set_num_threads(1)

NAME = "liver"
PHANTOM = Phantom("classify", num_frames=8)
RECIPE = tiny_recipe("classify", num_per_round=3)


@dataclass(frozen=True)
class Calm:
    """A campaign that nobody disturbed."""

    origin: Path
    ingest_id: str
    left: Left
    files: dict[str, str]

    def copy(self, folder: Path) -> Store:
        """A store with the same images, in which nothing was asked."""
        return Store(str(shutil.copytree(self.origin, folder)))


def undisturbed(folder: Path, recipe: CampaignRecipe) -> Calm:
    _, ingest_id = phantom_store(str(folder / "origin"), PHANTOM)
    store = Store(str(shutil.copytree(folder / "origin", folder / "store")))
    campaign = Campaign.create(store, NAME, recipe)
    campaign.run(executor=InlineExecutor(), annotator=Oracle(store, ingest_id))
    return Calm(folder / "origin", ingest_id, Left(store, NAME, recipe), determined_files(store))


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Calm:
    return undisturbed(tmp_path_factory.mktemp("calm"), RECIPE)
