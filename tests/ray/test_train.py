"""Training on Ray Train: the same weights as in one process, and errors that come back as they were."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import ray
from ray import cloudpickle

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.ray_data import RayExecutor
from hilum.adapters.ray_train import train_on_ray
from hilum.core.errors import HilumError, RecipeError
from hilum.core.recipes import Choice, EarlyStopRecipe, FinetuneRecipe, LearningLossRecipe
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
FULL = RECIPE.model_copy(
    update={
        "architecture": Choice(kind="unetpp", depth=2, features=(4, 8, 8), dropout=0.1),
        "train_precision": "bfloat16",
        "ema_decay": 0.9,
        "early_stop": EarlyStopRecipe(share=0.3, every=2, patience_checks=9),
        "foreground_share": 0.5,
        "learning_loss": LearningLossRecipe(width=4),
        "patch_shape_zyx": (1, 8, 8),
    }
)
DRIVER = """
import json, sys, ray
from hilum.adapters.ray_data import RayExecutor
from hilum.core.recipes import FinetuneRecipe
from hilum.core.resources import Resources
from hilum.steps import finetune
from hilum.store.layout import Store
address, written, resources = sys.argv[1:]
ray.init(address=address, log_to_driver=False)
given, resources = json.loads(written), Resources.model_validate_json(resources)
recipe, store = FinetuneRecipe.model_validate(given["recipe"]), Store(given["url"])
finetune.run(recipe, given["inputs"], store=store, executor=RayExecutor(), resources=resources)
"""
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


def weights(folder, executor, resources, question="classify", recipe=RECIPE):
    store, inputs = prepared(folder, question)
    manifest = finetune.run(recipe, inputs, store=store, executor=executor, resources=resources)
    return checkpoints.load(store, manifest.run_id)[0], manifest


def curve(folder, resources, recipe):
    _, manifest = weights(folder, RayExecutor(), resources, recipe=recipe)
    history = Path(folder, "runs", "finetune", manifest.run_id, "history.json").read_text()
    return [entry["loss"] for entry in json.loads(history)]


class KillsOne(RayExecutor):
    """Ray, on which rank 1 kills itself once, before the gradient of step ``at``. Rank 0 notes its steps."""

    def __init__(self, log, *, at):
        self.log, self.at = str(log), at

    def train(self, work, *, name, resources):
        return super().train(partial(_with_a_kill, work=work, log=self.log, at=self.at), name=name, resources=resources)


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


def test_a_killed_worker_costs_at_most_one_checkpoint_interval_and_no_bit(tmp_path):
    recipe = FULL.model_copy(update={"num_steps": 12, "checkpoint_every": 4})
    expected, _ = weights(tmp_path / "inline", InlineExecutor(), LOCAL, "segment", recipe)
    found, _ = weights(tmp_path / "ray", KillsOne(tmp_path / "steps", at=6), TWO, "segment", recipe)
    assert equal(found, expected)
    steps = [int(step) for step in (tmp_path / "steps").read_text().split()]
    assert set(steps) == set(range(12))
    repeated = len(steps) - 12
    assert 1 <= repeated <= recipe.checkpoint_every


def test_a_killed_driver_is_followed_by_the_same_command_and_the_same_weights(tmp_path):
    recipe = FULL.model_copy(update={"num_steps": 200, "checkpoint_every": 5, "early_stop": None})
    expected, whole = weights(tmp_path / "inline", InlineExecutor(), LOCAL, "segment", recipe)
    store, inputs = prepared(tmp_path / "killed", "segment")
    url = store.run("finetune", whole.run_id)
    written = {"url": store.url, "inputs": inputs, "recipe": recipe.model_dump(mode="json", by_alias=True)}
    arguments = [ray.get_runtime_context().gcs_address, json.dumps(written), TWO.model_dump_json()]
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", DRIVER, *arguments]) as driver:
        while not Path(url, "state.json").exists():
            assert driver.poll() is None
            time.sleep(0.05)
        driver.kill()
    assert driver.returncode == -signal.SIGKILL
    assert not Path(store.checkpoint(whole.run_id)).exists()
    # Its workers may outlive it by a moment: only the small file, which is replaced whole, is looked at.
    assert 5 <= json.loads(Path(url, "state.json").read_text())["step"] < 200, "it was killed while it trained"
    resumed = finetune.run(recipe, inputs, store=store, executor=RayExecutor(), resources=TWO)
    assert resumed.files == whole.files
    assert resumed.results == whole.results
    assert equal(checkpoints.load(store, resumed.run_id)[0], expected)


def test_three_chunks_on_two_workers_are_what_one_makes_of_them(tmp_path):
    recipe = FULL.model_copy(update={"batch_size": 6, "num_chunks": 3})
    alone, told_alone = weights(tmp_path / "inline", InlineExecutor(), LOCAL, "segment", recipe)
    together, told_together = weights(tmp_path / "ray", RayExecutor(), TWO, "segment", recipe)
    assert equal(alone, together)
    assert told_alone.results == told_together.results
    assert told_alone.files == told_together.files


def test_two_workers_with_half_the_batch_each_follow_the_loss_curve_of_one_with_twice_the_batch(tmp_path):
    # Cross-entropy of classes is a mean over the batch, so only rounding is left between the two.
    base = RECIPE.model_copy(update={"num_steps": 20, "balance_classes": False, "augment": (), "checkpoint_every": 20})
    quiet = base.model_copy(update={"architecture": Choice(kind="unetpp", depth=1, features=(4, 8))})
    one = curve(tmp_path / "one", LOCAL, quiet.model_copy(update={"num_chunks": 1}))
    two = curve(tmp_path / "two", TWO, quiet.model_copy(update={"num_chunks": 2}))
    assert one == pytest.approx(two, rel=1e-3)


def test_a_group_that_may_be_smaller_trains_where_there_is_room_for_one_and_makes_the_same_weights(tmp_path):
    alone, _ = weights(tmp_path / "inline", InlineExecutor(), LOCAL, "segment", FULL)
    elastic = Resources(num_train_workers=2, min_train_workers=1, cpus_per_worker=1.5)
    together, manifest = weights(tmp_path / "ray", RayExecutor(), elastic, "segment", FULL)
    assert equal(alone, together)
    timing = json.loads(Path(tmp_path / "ray", "runs", "finetune", manifest.run_id, "timing.json").read_text())
    assert timing["num_workers"] == 1, "two CPUs hold one worker of one and a half"


def test_a_fault_of_ours_is_told_in_one_sentence(tmp_path):
    resources = TWO.model_copy(update={"max_failures": 0})
    with pytest.raises(HilumError, match="broken failed on Ray Train: .*a fault of ours"):
        train_on_ray(_broken, name="broken", resources=resources)


def _with_a_kill(context, *, work, log, at):
    state = work.keywords["run_url"]
    found = checkpoints.load_state(state)
    return work(_Watched(context, log, at, step=found[1] if found else 0))


class _Watched:
    """A worker's view of its group that counts gradients, and dies once on rank 1."""

    def __init__(self, context, log, at, *, step):
        self.context, self.log, self.at, self.step = context, log, at, step
        self.rank, self.num_workers = context.rank, context.num_workers

    def sum_in_order(self, chunks):
        if len(chunks[0]) > 2:  # a gradient, not a check of the held-out answers
            died = Path(f"{self.log}.died")
            if self.rank == 1 and self.step == self.at and not died.exists():
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if self.rank == 0:
                _note(self.log, self.step)
            self.step += 1
        return self.context.sum_in_order(chunks)

    def report(self, metrics):
        self.context.report(metrics)


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
