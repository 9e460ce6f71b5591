"""What every training shares from start to checkpoint: workers, the last state, the loss curve, the timing."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.core.ports import Counts, Executor, TrainContext
from hilum.core.recipes import TrainingRecipe
from hilum.core.resources import Resources
from hilum.nn.readers import Readers
from hilum.nn.schedule import chunks_of
from hilum.nn.train_loop import History, network_tensors
from hilum.steps.progress_file import forget_progress
from hilum.store import checkpoints
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, Run, write_json

HISTORY = "history.json"
TIMING = "timing.json"


def publish_training(
    this: Run,
    work: Callable[[TrainContext], Counts],
    recipe: TrainingRecipe,
    card: Mapping[str, Any],
    *,
    store: Store,
    executor: Executor,
    resources: Resources,
    files: Sequence[str] = (),
    results: Mapping[str, Any] | None = None,
) -> Manifest:
    """Train with ``work`` on every worker, then publish the checkpoint under the run's id and commit the run.

    The training's name says where its run folder is: its step and its run's id. ``files`` of that folder and
    ``results`` are told beside what the workers counted. ``timing.json`` lies beside them and is not part of the
    result.
    """
    counts = executor.train(work, name=f"{this.step}-{this.run_id}", resources=workable(resources, recipe))
    timing = counts.pop("timing")
    before = this.finished()
    if before is not None:  # another process overtook this one, and has cleared the training state away
        return before
    state = checkpoints.load_state(this.url)
    assert state is not None, "a training that ended has saved its last state"
    tensors, _, notes = state
    checkpoints.save(store, this.run_id, network_tensors(tensors), card)
    write_json(this.path(HISTORY), notes["history"])
    write_json(this.path(TIMING), timing)
    manifest = this.commit(files=[HISTORY, *files], checkpoint=this.run_id, **counts, **(results or {}))
    checkpoints.remove_state(this.url)
    forget_progress(this.url)
    return manifest


def workable(resources: Resources, recipe: TrainingRecipe) -> Resources:
    """No more workers than there are chunks to share."""
    most, least = min(resources.num_train_workers, recipe.num_chunks), resources.min_train_workers
    fewest = None if least is None else min(least, most)
    return resources.model_copy(update={"num_train_workers": most, "min_train_workers": fewest})


def counts_of(
    recipe: TrainingRecipe,
    history: History,
    context: TrainContext,
    readers: Readers,
    *,
    stop_at: int | None,
    **more: object,
) -> Counts:
    """What a worker tells of its training: the last entry of the curve, how fast it was and how long it waited."""
    # A training that pauses before its first report has no curve yet.
    last = history[-1] if history else {"step": float(stop_at or 0), "loss": math.nan}
    num_own = len(chunks_of(recipe.num_chunks, rank=context.rank, num_workers=context.num_workers))
    timing = {
        "wait_share": readers.wait_share,
        "steps_per_second": readers.batches_per_second / num_own,
        "num_workers": context.num_workers,
        "num_readers": readers.num,
    }
    return {"num_steps": int(last["step"]), "loss": last["loss"], "timing": timing, **more}


@dataclass(frozen=True)
class RunFolder:
    """The training loop's memory in a run's own folder."""

    url: str

    def load(self) -> tuple[checkpoints.Tensors, int, dict[str, Any]] | None:
        return checkpoints.load_state(self.url)

    def save(self, tensors: Mapping[str, npt.NDArray[np.generic]], *, step: int, notes: Mapping[str, Any]) -> None:
        checkpoints.save_state(self.url, tensors, step=step, notes=notes)
