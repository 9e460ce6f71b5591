"""Pretrainings compared for real on phantoms: what is run, what is shared, and what is refused before anything runs."""

import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.core.errors import RecipeError
from hilum.core.recipes import ComparePretrainingRecipe, SplitRecipe
from hilum.core.resources import Resources
from hilum.loop.compare_pretraining import (
    SCANS,
    TABLE,
    check,
    compare_pretraining,
    input_of,
    simulation_recipe,
    tables_of,
)
from hilum.loop.simulate import Workbench
from hilum.steps import pretrain
from hilum.store.manifest import read_bytes
from hilum.testing.campaigns import tiny_recipe
from hilum.testing.phantoms import Phantom, phantom_store

INLINE = InlineExecutor()
ARCHITECTURE = {"kind": "unet", "depth": 1, "features": [4, 8]}


def oracle(store, ingest_id, choice):
    return Oracle(store, ingest_id, **choice.params)


WORKBENCH = Workbench(InlineExecutor, oracle)


def recipe(**changes):
    content = {
        "folder": "scans",
        "pretrain": {
            "pretext": {"kind": "denoising"},
            "architecture": ARCHITECTURE,
            "patch_shape_zyx": [1, 16, 16],
            "num_steps": 2,
            "batch_size": 4,
            "num_held_out_crops": 4,
        },
        "pretexts": {"denoising": {}, "copying": {"pretext": {"kind": "autoencoder"}}},
        "scratch": ["he", "xavier"],
        "targets": {
            "squares": {
                "folder": "scans",
                "campaign": tiny_recipe("segment").model_dump(mode="json", by_alias=True),
                "label_shares": [0.5, 1.0],
            }
        },
        "seeds": [0, 1],
    }
    return ComparePretrainingRecipe.model_validate(content | changes)


@pytest.fixture
def phantom(tmp_path):
    store, ingest_id = phantom_store(str(tmp_path), Phantom("segment", 2))
    return store, {SCANS: ingest_id, input_of("squares"): ingest_id}


SMALL = recipe(seeds=[0], scratch=["he"], pretexts={"denoising": {}})


def compared(store, inputs, wanted=SMALL, executor=INLINE):
    return compare_pretraining(
        store, "small", wanted, inputs=inputs, executor=executor, workbench=WORKBENCH, resources=Resources()
    )


def test_every_start_is_tried_on_every_share_with_every_seed(phantom):
    store, inputs = phantom
    manifest = compared(store, inputs, recipe())
    (table,) = tables_of(store, recipe(), manifest)
    assert [row.name for row in table.methods] == ["scratch (MSRA)", "scratch (Xavier)", "denoising", "copying"]
    assert all(row.values_SP.shape == (2, 2) for row in table.methods)
    assert table.num_labels[0] < table.num_labels[1]
    page = read_bytes(f"{store.run('compare_pretraining', manifest.run_id)}/{TABLE}").decode()
    assert "scratch (Xavier)" in page
    assert set(manifest.results["pretrained"]) == {"denoising", "copying"}


def test_a_second_time_nothing_is_trained(phantom, monkeypatch):
    store, inputs = phantom
    first = compared(store, inputs)

    def never(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(pretrain, "run", never)
    assert compared(store, inputs) == first


class Cut(InlineExecutor):
    """Stops after the first branch, as a kill would."""

    def map_shards(self, work, shards, **options):
        done = super().map_shards(work, shards, **options)
        if options["label"] != "branches":
            yield from done
            return
        yield next(iter(done))
        raise KeyboardInterrupt


def test_stopped_and_typed_again_it_ends_the_same(phantom, tmp_path):
    store, inputs = phantom
    with pytest.raises(KeyboardInterrupt):
        compared(store, inputs, executor=Cut())
    whole, same_inputs = phantom_store(str(tmp_path / "whole"), Phantom("segment", 2))
    same = dict.fromkeys(inputs, same_inputs)
    assert compared(store, inputs).results["verdicts"] == compared(whole, same).results["verdicts"]


def test_test_patients_of_a_target_are_never_seen_in_pretraining(phantom):
    store, inputs = phantom
    other = recipe()
    pretrained = other.pretrain.model_copy(update={"split": SplitRecipe(seed=5)})
    with pytest.raises(RecipeError, match="its test patients would be seen in pretraining"):
        compared(store, inputs, other.model_copy(update={"pretrain": pretrained}))


def test_every_start_learns_from_the_same_labels_for_as_many_steps():
    wanted = recipe(transfer={"num_frozen_steps": 1})
    made = simulation_recipe(wanted, wanted.targets["squares"], {"denoising": "0a1b2c3d4e5f"}, num_candidates=40)
    assert made.campaign.campaign.num_after_rounds == (20, 40)
    assert made.strategies == {
        "scratch-xavier": {"finetune": {"first_weights": "xavier"}},
        "denoising": {"finetune": {"num_frozen_steps": 1, "from": "0a1b2c3d4e5f"}},
    }


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pretexts": {"denoisng": {"pretext": {"kind": "denoisng"}}}}, "Did you mean 'denoising'"),
        ({"pretexts": {"a b": {}}}, "Pretext name 'a b' cannot be used"),
        ({"pretexts": {"denoising": {"pretext": {"kind": "denoising", "std": -1}}}}, "std"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_runs(phantom, changes, said):
    _, inputs = phantom
    with pytest.raises(RecipeError, match=said):
        check("small", recipe(**changes), inputs)


@pytest.mark.parametrize("shares", [[], [0.5], [0.5, 0.25, 1.0], [0.0, 1.0]])
def test_shares_ascend_to_all_labels(shares):
    target = recipe().targets["squares"].model_dump(mode="json", by_alias=True) | {"label_shares": shares}
    with pytest.raises(ValueError, match="label_shares must ascend from above 0 to 1"):
        recipe(targets={"squares": target})
