"""A champion whose bytes change at rest between two rounds: named, not used, and no harm once it is brought back."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.core.errors import CorruptionError
from hilum.loop.campaign import Campaign
from hilum.store.layout import Store
from hilum.testing.campaigns import check_invariants, determined_files, tiny_recipe

NewStore = Callable[..., tuple[Store, str]]
RECIPE = tiny_recipe("classify", num_per_round=3)


@pytest.mark.parametrize("damage", ["flipped", "cut short"])
def test_a_damaged_champion_is_named_and_once_it_is_brought_back_the_campaign_goes_on(
    new_store: NewStore, damage: str
) -> None:
    store, ingest_id = new_store()
    how = {"executor": InlineExecutor(), "annotator": Oracle(store, ingest_id)}
    campaign = Campaign.create(store, "liver", RECIPE)
    while campaign.round_number == 0:
        campaign.advance(**how)
    (weights,) = Path(store.url, "checkpoints").glob("*/model.safetensors")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-40] + (bytes([whole[-40] ^ 1]) + whole[-39:] if damage == "flipped" else b""))
    stood = campaign.stage
    with pytest.raises(CorruptionError, match=weights.parent.name):
        campaign.advance(**how)
    assert campaign.stage is stood
    weights.write_bytes(whole)
    campaign.run(**how)
    check_invariants(store, "liver", RECIPE)

    calm, ingest_id = new_store(name="calm")
    Campaign.create(calm, "liver", RECIPE).run(executor=InlineExecutor(), annotator=Oracle(calm, ingest_id))
    assert determined_files(store) == determined_files(calm)
