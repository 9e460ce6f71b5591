"""Core-sets on a real Ray: the same round for any number of workers, and nothing made twice."""

import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ray import cloudpickle

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.ray_data import RayExecutor
from hilum.core.recipes import ArmRecipe, Choice, DistributedRecipe, PoolRecipe, ScoreRecipe, SelectRecipe
from hilum.core.resources import Resources
from hilum.steps import pool, score, select
from hilum.store.manifest import sha256
from hilum.testing.answered import label_set_of, true_answers
from hilum.testing.phantoms import Phantom, phantom_store
from hilum.testing.untrained import untrained_checkpoint

# Workers cannot import this file: its functions travel whole.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = pytest.mark.usefixtures("ray_cluster")
FRAMES = Phantom("classify", num_frames=20, size=16)
RECIPE = SelectRecipe(
    arms=(
        ArmRecipe(share=0.5, sampler=Choice(kind="k_centre")),
        ArmRecipe(share=0.5, sampler=Choice(kind="kmeans_pp")),
    ),
    num=8,
    max_per_patient=4,
    distributed=DistributedRecipe(parts_per_shard=2),
)
NUM_SHARDS = 5
NUM_LABELLED = 6


@dataclass
class Campaign:
    """Sixty scored frames in ten parts, six of them labelled."""

    folder: Path
    inputs: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        self.store, ingest_id = phantom_store(str(self.folder), FRAMES)
        how = self.how(InlineExecutor(), 1)
        pool_id = pool.run(PoolRecipe(candidates_per_shard=6), {"ingest": ingest_id}, **how).run_id
        checkpoint = untrained_checkpoint(self.store, FRAMES)
        scored = score.run(ScoreRecipe(), {"pool": pool_id, "checkpoint": checkpoint}, **how).run_id
        labels = label_set_of(self.store, true_answers(self.store, ingest_id, FRAMES, num=NUM_LABELLED))
        self.inputs = {"score": scored, "pool": pool_id, "labels": labels}

    def how(self, executor, num_workers):
        return {
            "store": self.store,
            "executor": executor,
            "resources": Resources(num_score_workers=num_workers, score_batch_size=4),
        }

    def run(self, executor, num_workers=2):
        """The SHA-256 of the selection and of every core-set."""
        return select.run(RECIPE, self.inputs, **self.how(executor, num_workers)).files

    def core_sets(self):
        return {p: (sha256(str(p)), p.stat().st_mtime_ns) for p in self.folder.rglob("core-set-*.parquet")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What one process answers."""
    files = Campaign(tmp_path_factory.mktemp("inline")).run(InlineExecutor(), 1)
    assert len(files) == NUM_SHARDS + 2
    return files


@pytest.mark.parametrize("num_workers", [1, 2])
def test_any_number_of_workers_chooses_what_this_process_does(tmp_path, undisturbed, num_workers):
    assert Campaign(tmp_path).run(RayExecutor(), num_workers) == undisturbed


class Vanishing(RayExecutor):
    """The driver goes away after two results."""

    def map_shards(self, work, shards, **how):
        for number, counts in enumerate(super().map_shards(work, shards, **how)):
            if number == 2:
                raise KeyboardInterrupt
            yield counts


class Noting(RayExecutor):
    """Says which shards it was asked for."""

    def map_shards(self, work, shards, **how):
        self.asked = list(shards)
        yield from super().map_shards(work, shards, **how)


def test_a_driver_that_went_away_finds_the_core_sets_that_are_there(tmp_path, undisturbed):
    campaign = Campaign(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        campaign.run(Vanishing(), num_workers=1)
    done = campaign.core_sets()
    assert len(done) >= 2
    noting = Noting()
    assert campaign.run(noting) == undisturbed
    assert len(noting.asked) <= NUM_SHARDS - len(done)
    assert done.items() <= campaign.core_sets().items()


class KilledOnce:
    """Kills the worker process that comes to shard 3, the first time."""

    def __init__(self, work, flag):
        self.work, self.flag = work, flag

    def __call__(self, shard):
        if shard == 3 and not Path(self.flag).exists():
            Path(self.flag).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.work(shard)


class Assassin(RayExecutor):
    def __init__(self, flag):
        super().__init__()
        self.flag = flag

    def map_shards(self, work, shards, **how):
        yield from super().map_shards(KilledOnce(work, str(self.flag)), shards, **how)


def test_a_worker_killed_on_a_shard_changes_no_byte(tmp_path, undisturbed):
    flag = tmp_path / "killed"
    assert Campaign(tmp_path / "store").run(Assassin(flag)) == undisturbed
    assert flag.exists()
