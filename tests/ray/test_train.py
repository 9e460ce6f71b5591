"""Training on Ray Train: the same weights as in one process, and errors that come back as they were."""

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ray import cloudpickle

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.ray_data import RayExecutor
from hilum.adapters.ray_train import train_on_ray
from hilum.core.errors import HilumError, RecipeError
from hilum.core.recipes import Choice, FinetuneRecipe
from hilum.core.resources import Resources
from hilum.steps import finetune
from hilum.store import checkpoints
from hilum.store.labels import NONE
from hilum.testing.answered import label_set_of, true_answers
from hilum.testing.phantoms import Phantom, phantom_store

RECIPE = FinetuneRecipe(
    architecture=Choice(kind="unetpp", depth=1, features=(4, 8), dropout=0.1),
    num_steps=5,
    batch_size=8,
    num_chunks=4,
    checkpoint_every=2,
)
LOCAL, TWO = Resources(num_train_workers=0), Resources(num_train_workers=2, cpus_per_worker=0.5, max_failures=1)
# Workers cannot import this file: its functions travel whole.
cloudpickle.register_pickle_by_value(sys.modules[__name__])
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")

# Ray's own settings object warns of its own old fields when it is copied.
pytestmark = [
    pytest.mark.usefixtures("ray_cluster"),
    pytest.mark.filterwarnings("ignore:`use_.*deprecated:DeprecationWarning"),
]


def prepared(folder, question="classify"):
    phantom = Phantom(question)
    store, ingest_id = phantom_store(str(folder), phantom)
    labels = label_set_of(store, true_answers(store, ingest_id, phantom))
    return store, {"labels": labels, "start": NONE, "ingest": ingest_id}


def weights(folder, executor, resources, question="classify"):
    store, inputs = prepared(folder, question)
    manifest = finetune.run(RECIPE, inputs, store=store, executor=executor, resources=resources)
    return checkpoints.load(store, manifest.run_id)[0], manifest


def equal(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def test_two_workers_reach_the_weights_of_one_to_the_last_bit(tmp_path):
    alone, told_alone = weights(tmp_path / "inline", InlineExecutor(), LOCAL)
    together, told_together = weights(tmp_path / "ray", RayExecutor(), TWO)
    assert equal(alone, together)
    assert told_alone.results == told_together.results
    assert told_alone.files == told_together.files


def test_ray_s_local_mode_reaches_the_weights_of_this_process(tmp_path):
    inline, _ = weights(tmp_path / "inline", InlineExecutor(), LOCAL, "segment")
    local, _ = weights(tmp_path / "local", RayExecutor(), LOCAL, "segment")
    assert equal(inline, local)


@pytest.mark.parametrize(("resources", "rank"), [(LOCAL, 0), (TWO, 1)])
def test_one_worker_s_error_comes_back_as_it_was_and_is_not_tried_again(tmp_path, resources, rank):
    work = partial(_fails, rank=rank, log=str(tmp_path / "starts"))
    with pytest.raises(RecipeError, match=f"worker {rank} cannot mean this"):
        train_on_ray(work, name="fails", resources=resources)
    starts = (tmp_path / "starts").read_text().splitlines()
    assert len(starts) == max(1, resources.num_train_workers)


def test_a_worker_that_dies_is_started_again_and_the_work_ends(tmp_path):
    work = partial(_dies_once, log=str(tmp_path / "starts"))
    assert train_on_ray(work, name="dies", resources=TWO) == {"total": 10.0, "rank": 0}
    assert (tmp_path / "starts").read_text().splitlines().count("1") == 2


def test_a_fault_of_ours_is_told_in_one_sentence(tmp_path):
    resources = TWO.model_copy(update={"max_failures": 0})
    with pytest.raises(HilumError, match="broken failed on Ray Train: .*a fault of ours"):
        train_on_ray(_broken, name="broken", resources=resources)


def _fails(context, *, rank, log):
    _note(log, context.rank)
    context.sum_in_order([np.ones(3, np.float32)])
    if context.rank == rank:
        raise RecipeError(f"worker {rank} cannot mean this")
    context.sum_in_order([np.ones(3, np.float32)])
    return {}


def _dies_once(context, *, log):
    _note(log, context.rank)
    time.sleep(1)  # both have said that they started
    starts = Path(log).read_text().splitlines()
    if context.rank == 1 and starts.count("1") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    mine = [np.array([2.0 * context.rank + place], np.float32) for place in (1, 2)]
    return {"total": float(context.sum_in_order(mine)[0]), "rank": context.rank}


def _broken(context):
    raise ValueError("a fault of ours")


def _note(log, rank):
    with Path(log).open("a") as file:
        file.write(f"{rank}\n")
