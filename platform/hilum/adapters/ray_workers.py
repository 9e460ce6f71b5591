"""Warm workers: named Ray actors that outlive a call and keep what they have loaded.

They are found by name, so the branches of a simulation (Ray tasks of one driver) share
them. They belong to the driver's Ray job: `let_workers_go` ends them, and one that is left
behind by a killed driver ends itself after fifteen idle minutes.
"""

import contextlib
import ctypes
import os
import pickle
import sys
import threading
import time
import traceback
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError

from hilum.core.errors import HilumError
from hilum.core.resources import Resources

NAMESPACE = "hilum"
IDLE_SECONDS = 900.0
_LOOK_SECONDS = 2.0
_WATCH_SECONDS = 10.0
_ANSWER_SECONDS = 120.0
_PAUSE_SECONDS = 0.5
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_at_a_shard = threading.Event()


def keep_freed_memory() -> None:
    """Have the allocator keep up to 256 MB of what is freed, in blocks of up to 32 MB, for the next batch.

    A network frees and asks for the same blocks again and again. glibc gives each back to the system, which clears it
    before it is given out anew: a third of the time of a small network's pass. Other allocators are left alone.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None and sys.platform == "linux":
        set_option(_M_MMAP_THRESHOLD, 32 << 20)
        set_option(_M_TRIM_THRESHOLD, 256 << 20)


def inside_worker() -> bool:
    """True in code that a warm worker is running as its shard."""
    return _at_a_shard.is_set()


class Worker:
    """Does shards, one at a time, for as long as it is needed."""

    def __init__(self, num_threads: int, idle_seconds: float) -> None:
        # Ray gives an actor without a CPU one thread; numeric libraries read this when they are first imported.
        os.environ["OMP_NUM_THREADS"] = str(num_threads)
        keep_freed_memory()
        self._running = 0
        self._last = self._began = time.monotonic()
        self._me = ray.get_runtime_context().current_actor
        threading.Thread(target=self._leave_when_idle, args=[idle_seconds], daemon=True).start()

    def do(self, work: bytes, shard: bytes) -> bytes:
        """``work(shard)``, both pickled; the reply is (result, None) or (None, exception)."""
        self._running += 1
        self._began = time.monotonic()
        _at_a_shard.set()
        try:
            return pickle.dumps((pickle.loads(work)(pickle.loads(shard)), None))  # noqa: S301 (our driver's own)
        except Exception as error:
            return _packed(error)
        finally:
            self._running -= 1
            _at_a_shard.clear()
            self._last = time.monotonic()

    def load(self) -> int:
        """How many shards it is at; asking keeps it from leaving."""
        self._last = time.monotonic()
        return self._running

    def seconds_at_shard(self) -> float:
        """For how long it has been at the shard it is at; 0 when it is at none."""
        return time.monotonic() - self._began if self._running else 0.0

    def _leave_when_idle(self, idle_seconds: float) -> None:
        while self._running or time.monotonic() - self._last < idle_seconds:
            time.sleep(min(10.0, idle_seconds / 4))
        ray.kill(self._me, no_restart=True)


def warm_workers(num_workers: int, resources: Resources, *, idle_seconds: float = IDLE_SECONDS) -> list[Any]:
    """Handles of ``num_workers`` running workers, started now where they are not running already."""
    until = time.monotonic() + _ANSWER_SECONDS
    while time.monotonic() < until:
        workers = [_named(place, resources, idle_seconds) for place in range(num_workers)]
        try:
            ray.get([_load(worker) for worker in workers])
        except RayActorError:  # one left between being found and being asked, or its node is gone
            time.sleep(_PAUSE_SECONDS)
            continue
        return workers
    raise HilumError(f"Ray could not start {num_workers} workers: they ended again and again. Look at Ray's own logs.")


def least_busy(workers: list[Any], place: int) -> Any:
    """A worker that is at nothing, or else the first that answers, from the one whose turn it is by ``place``.

    Until somebody answers it is waited for: Ray takes a quarter of a minute to notice that a node is
    gone, and a whole one that it is silent, and only then starts its workers elsewhere.
    """
    in_turn = workers[place % len(workers) :] + workers[: place % len(workers)]
    until = time.monotonic() + _ANSWER_SECONDS
    while time.monotonic() < until:
        busy = []
        for worker in in_turn:
            with contextlib.suppress(RayActorError, GetTimeoutError):  # starting again: not free
                if ray.get(_load(worker), timeout=_LOOK_SECONDS) == 0:
                    return worker
                busy.append(worker)
        if busy:
            return busy[0]
        time.sleep(_PAUSE_SECONDS)
    return in_turn[0]


def reply_of(worker: Any, reply: Any, *, hung_after_seconds: float) -> bytes:
    """What a worker replies. RayActorError when it died, or was killed for being at a shard, or silent, too long."""
    look_every = min(_WATCH_SECONDS, hung_after_seconds / 4)
    heard = time.monotonic()
    while not ray.wait([reply], timeout=look_every)[0]:
        with contextlib.suppress(GetTimeoutError):
            asked = worker.seconds_at_shard.options(concurrency_group="watch").remote()
            if ray.get(asked, timeout=_LOOK_SECONDS) < hung_after_seconds:
                heard = time.monotonic()
            else:
                raise _killed(worker, reply)
        if time.monotonic() - heard > hung_after_seconds:
            raise _killed(worker, reply)
    found: bytes = ray.get(reply)
    return found


class HungError(RayActorError):  # type: ignore[misc]
    """A worker hung, and was killed."""


def _killed(worker: Any, reply: Any) -> HungError:
    ray.kill(worker, no_restart=False)
    # Once its reply has failed it is gone, and who asks next asks its successor.
    ray.wait([reply], timeout=_WATCH_SECONDS)
    return HungError()


def let_workers_go() -> None:
    """End every warm worker of this driver."""
    if not ray.is_initialized():
        return
    for listed in ray.util.list_named_actors(all_namespaces=True):
        if listed["namespace"] == NAMESPACE and listed["name"].startswith(f"{_job_id()}-"):
            with contextlib.suppress(ValueError):  # it went by itself
                ray.kill(ray.get_actor(listed["name"], namespace=NAMESPACE), no_restart=True)


def _load(worker: Any) -> Any:
    # In a lane of its own, so that a worker at a shard can answer.
    return worker.load.options(concurrency_group="watch").remote()


def _named(place: int, resources: Resources, idle_seconds: float) -> Any:
    size = f"{resources.cpus_per_worker:g}cpu-{resources.gpus_per_worker:g}gpu"
    actor = ray.remote(num_cpus=0, num_gpus=resources.gpus_per_worker, concurrency_groups={"watch": 1})(Worker)
    return actor.options(
        name=f"{_job_id()}-{size}-{place}",
        namespace=NAMESPACE,
        get_if_exists=True,
        lifetime="detached",
        scheduling_strategy="SPREAD",
        max_restarts=-1,
    ).remote(max(1, int(resources.cpus_per_worker)), idle_seconds)


def _job_id() -> str:
    # The tasks of a driver have its job id, so that they find its workers and no one else's.
    return str(ray.get_runtime_context().get_job_id())


def _packed(error: Exception) -> bytes:
    error.add_note("On the worker:\n" + "".join(traceback.format_tb(error.__traceback__)))
    try:
        payload = pickle.dumps((None, error))
        pickle.loads(payload)  # noqa: S301 (an exception may pickle and not come back)
    except Exception:
        return pickle.dumps((None, HilumError(f"{type(error).__name__}: {error}")))
    return payload
