"""Loading a predictor: checked, kept while it is needed, and told apart from others."""

from pathlib import Path

import numpy as np
import pytest

from hilum.core.errors import CorruptionError, NotFoundError
from hilum.nn.predictor import network_of_card, weights_of
from hilum.steps.predictor import load_predictor
from hilum.store import checkpoints
from hilum.store.layout import Store

CARD = {
    "question": "classify",
    "architecture": {"kind": "unet", "depth": 1, "features": [2, 4]},
    "spatial_dims": 2,
    "in_channels": 1,
    "num_classes": 2,
}
IMAGES = np.random.default_rng(0).random((3, 1, 1, 8, 8), dtype=np.float32)


@pytest.fixture
def store(tmp_path):
    store = Store(str(tmp_path))
    for seed in range(4):
        checkpoints.save(store, f"c{seed}", weights_of(network_of_card(CARD, seed=seed)), CARD)
    return store


def test_a_warm_process_loads_a_checkpoint_once(store):
    assert load_predictor(store, "c0") is load_predictor(store, "c0")


def test_checkpoints_stores_and_precisions_are_told_apart(store, tmp_path):
    first, second = load_predictor(store, "c0"), load_predictor(store, "c1")
    assert not np.array_equal(first.predict(IMAGES), second.predict(IMAGES))
    assert load_predictor(store, "c0", precision="bfloat16").precision == "bfloat16"
    with pytest.raises(NotFoundError, match="There is no checkpoint c0"):
        load_predictor(Store(str(tmp_path / "other")), "c0")


def test_only_the_newest_few_are_kept(store):
    oldest = load_predictor(store, "c0")
    for name in ("c1", "c2", "c3"):
        load_predictor(store, name)
    again = load_predictor(store, "c0")
    assert again is not oldest
    assert np.array_equal(again.predict(IMAGES), oldest.predict(IMAGES))


def test_a_damaged_checkpoint_never_answers(store):
    path = Path(store.checkpoint("c2"), "model.safetensors")
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(CorruptionError, match="Checkpoint c2 is damaged"):
        load_predictor(store, "c2")
