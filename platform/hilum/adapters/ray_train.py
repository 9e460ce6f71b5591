"""TrainContext over Ray Train (V2): a group of workers whose gradients are added in one order.

The loop keeps its own checkpoints in the run folder, so a worker that dies costs the steps
since the last of them: Ray starts the group again and the loop goes on from its own state.
Ray's storage holds nothing we need and is removed afterwards. The group may come back with
fewer workers, if ``min_train_workers`` allows it: weights do not depend on how many there are.

An error that is the user's to fix would fail as often as it is tried. It is not raised on
the worker, where Ray would start the group again, but handed to all workers and returned.
"""

import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import ray.train
import ray.train.torch
import torch
import torch.distributed as group
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError

from hilum.core.errors import HilumError
from hilum.core.ports import Counts, TrainContext
from hilum.core.resources import Resources

_FAILED = -1


class RayTrainContext:
    """One worker of a Ray Train group, as the training loop sees it."""

    def __init__(self) -> None:
        context = ray.train.get_context()
        self.rank = int(context.get_world_rank())
        self.num_workers = int(context.get_world_size())
        self.heard = False

    def sum_in_order(self, chunks: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        """Gather every worker's chunks and add them by their global place, one after the other.

        Not an all-reduce: its order of additions depends on how many workers there are.
        """
        ordered = list(chunks)
        if self.num_workers > 1:
            nums = self._meet(len(chunks), None)
            ordered = self._gathered(np.stack(chunks), nums)
        total = ordered[0].copy()
        for chunk in ordered[1:]:
            total += chunk
        return total

    def report(self, metrics: Counts) -> None:
        """Tell Ray Train. Every worker of the group must report, and as often."""
        ray.train.report(metrics)

    def exchange_errors(self, error: HilumError | None) -> None:
        """Meet all other workers; raise the first error that any of them brought."""
        self._meet(0, error)

    def _meet(self, number: int, error: HilumError | None) -> list[int]:
        """Every worker's number, in their order, unless one of them brought an error."""
        if self.num_workers == 1:
            if error is not None:
                raise error
            return [number]
        told = [torch.zeros(1, dtype=torch.int64) for _ in range(self.num_workers)]
        group.all_gather(told, torch.tensor([_FAILED if error else number]))
        numbers = [int(one) for one in told]
        if _FAILED not in numbers:
            return numbers
        self.heard = True
        errors: list[HilumError | None] = [None] * self.num_workers
        group.all_gather_object(errors, error)
        raise next(found for found in errors if found is not None)

    def _gathered(self, chunks: npt.NDArray[np.float32], nums: Sequence[int]) -> list[npt.NDArray[np.float32]]:
        """All chunks in their global order. Worker r has ``nums[r]``; zeros fill a shorter share up, and are let go."""
        own = torch.zeros((max(nums), *chunks.shape[1:]))
        own[: len(chunks)] = torch.from_numpy(chunks)
        parts = [torch.empty_like(own) for _ in range(self.num_workers)]
        group.all_gather(parts, own)
        return [chunk for part, num in zip(parts, nums, strict=True) for chunk in part[:num].numpy()]


def train_on_ray(work: Callable[[TrainContext], Counts], *, name: str, resources: Resources) -> Counts:
    """Train on ``resources.num_train_workers`` workers; 0 trains in this process through Ray Train's local mode."""
    with tempfile.TemporaryDirectory(prefix="hilum-train-") as storage:
        trainer = TorchTrainer(
            _in_worker,
            train_loop_config={"work": work, "with_gpu": resources.gpus_per_worker > 0},
            # Gradients are gathered on the CPU, where adding them has one order; NCCL has nothing to do.
            torch_config=TorchConfig(backend="gloo"),
            scaling_config=_scaling(resources),
            run_config=RunConfig(
                name=name,
                storage_path=storage,
                failure_config=FailureConfig(max_failures=resources.max_failures),
                logging_config=LoggingConfig(log_level="WARNING"),
            ),
        )
        try:
            returned = trainer.fit().return_value
        except TrainingFailedError as error:
            raise HilumError(f"{name} failed on Ray Train: {_cause(error)}") from error
    if isinstance(returned, HilumError):
        raise returned
    counts: Counts = returned
    return counts


def _in_worker(config: dict[str, Any]) -> Counts | HilumError:
    if config["with_gpu"]:
        torch.cuda.set_device(ray.train.torch.get_device())
    context = RayTrainContext()
    try:
        counts: Counts = _together(config["work"], context)
    except HilumError as error:
        return error
    return counts


def _together(work: Callable[[TrainContext], Counts], context: RayTrainContext) -> Counts:
    """``work``, with an error of one worker raised on all of them: none waits for a worker that has left."""
    try:
        counts = work(context)
    except HilumError as error:
        if not context.heard:
            context.exchange_errors(error)
        raise
    context.exchange_errors(None)
    return counts


def _scaling(resources: Resources) -> ScalingConfig:
    if resources.num_train_workers == 0:
        return ScalingConfig(num_workers=0, use_gpu=resources.gpus_per_worker > 0)
    each = {"CPU": resources.cpus_per_worker}
    if resources.gpus_per_worker > 0:
        each["GPU"] = resources.gpus_per_worker
    most, fewest = resources.num_train_workers, resources.min_train_workers
    return ScalingConfig(
        num_workers=most if fewest is None or fewest == most else (fewest, most),
        use_gpu=resources.gpus_per_worker > 0,
        resources_per_worker=each,
    )


def _cause(error: TrainingFailedError) -> str:
    """The first sentence of what went wrong, without Ray's own story."""
    failures = getattr(error, "worker_failures", {})
    first = failures[min(failures)] if failures else getattr(error, "controller_failure", error)
    told = str(first).strip().splitlines()
    return told[-1] if told else type(first).__name__
