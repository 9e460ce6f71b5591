"""Pretraining on Ray Train: the weights of one process, and followed from another."""

import os

import numpy as np
import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.ray_data import RayExecutor
from hilum.cli.progress import ShownExecutor
from hilum.core.recipes import PretrainRecipe
from hilum.core.resources import Resources
from hilum.steps import pretrain
from hilum.store import checkpoints
from hilum.testing.phantoms import Phantom, phantom_store

RECIPE = PretrainRecipe.model_validate(
    {
        "pretext": {"kind": "denoising"},
        "architecture": {"kind": "unet", "depth": 1, "features": [4, 8]},
        "patch_shape_zyx": [8, 8, 8],
        "sampling": {"scales": [1.0, 1.5], "inside": "body"},
        "num_steps": 6,
        "batch_size": 4,
        "num_held_out_crops": 4,
        "checkpoint_every": 2,
        "pictures_every": 3,
    }
)
LOCAL, TWO = Resources(num_train_workers=0), Resources(num_train_workers=2, cpus_per_worker=0.5, num_readers=1)
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")

# Ray's own settings object warns of its own old fields when it is copied.
pytestmark = [
    pytest.mark.usefixtures("ray_cluster"),
    pytest.mark.filterwarnings("ignore:`use_.*deprecated:DeprecationWarning"),
]


class Recorder:
    """A tracker that writes down what it is told."""

    def __init__(self):
        self.steps, self.pictures, self.closed = [], [], False

    def scalars(self, step, values):
        assert {"loss", "learning_rate", "wait_share"} <= values.keys()
        self.steps.append(step)

    def picture(self, step, png):
        assert png.startswith(b"\x89PNG")
        self.pictures.append(step)

    def close(self):
        self.closed = True


def pretrained(folder, make_executor, resources):
    """The manifest, the weights, and what a tracker heard."""
    store, ingest_id = phantom_store(str(folder), Phantom("segment", spatial_dims=3, num_frames=2))
    heard = Recorder()
    executor = ShownExecutor(make_executor, store=store, make_tracker=lambda name: heard)
    manifest = pretrain.run(RECIPE, {"ingest": ingest_id}, store=store, executor=executor, resources=resources)
    return manifest, checkpoints.load(store, manifest.run_id)[0], heard


def test_two_workers_on_ray_reach_the_weights_of_this_process_and_are_followed_from_here(tmp_path):
    alone, expected, _ = pretrained(tmp_path / "inline", InlineExecutor, LOCAL)
    together, found, heard = pretrained(tmp_path / "ray", RayExecutor, TWO)
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
    assert together.files == alone.files
    assert together.results == alone.results
    assert heard.steps == [1, 2, 3, 4, 5, 6]
    assert heard.pictures == [3, 6]
    assert heard.closed
