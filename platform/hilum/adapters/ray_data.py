"""Executor: shards over Ray Data, done by warm workers that outlive the call.

A Ray Data task per shard asks one of a few named actors to do it and passes its row of
counts on. The actors keep their process, and with it every model already loaded, from one
call to the next and from one round to the next: a second call starts in a fraction of a
second where a fresh actor pool takes several.

Neither tasks nor actors reserve a CPU (a GPU, when asked for, actors do). Actors that held
one would wait for ever for the tasks that feed them on a machine with as many workers as
cores, and for the branches of a simulation, which are Ray tasks themselves.
"""

import atexit
import logging
import os
import pickle
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import ray
import ray.data
from ray import cloudpickle
from ray.data import DataContext, TaskPoolStrategy
from ray.exceptions import RayActorError, RayError, RayTaskError

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.ray_tokens import guard_a_new_ray, refuses_us, show_our_token
from hilum.adapters.ray_workers import HungError, inside_worker, least_busy, let_workers_go, reply_of, warm_workers
from hilum.core.errors import HilumError, RequestError
from hilum.core.ports import Counts, TrainContext
from hilum.core.resources import Resources
from hilum.nn.kept_memory import pass_on

T = TypeVar("T")
_KNOCK_SECONDS = 10.0
_START_ATTEMPTS = 3
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to anyone
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # what a later Ray does by itself, and warns of until then
    "RAY_worker_niceness": "0",  # workers are the work here, not a background matter
    # A task is missed when its node no longer answers, which Ray asks after 300 s, waiting for 120. All nodes let
    # themselves be asked every 60 s, whatever their own settings are.
    "RAY_grpc_client_keepalive_time_ms": "60000",
    "RAY_grpc_client_keepalive_timeout_ms": "20000",
}


def connect(address: str | None = None) -> None:
    """Use the Ray named by ``address`` or RAY_ADDRESS, else start one here, guarded by a token and without a dashboard.

    Does nothing when this process is connected already. A Ray started here ends with the
    process; on somebody else's, only our workers do.
    """
    if ray.is_initialized():
        return
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    address = address or os.environ.get("RAY_ADDRESS") or None
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    if address is None or address == "local":
        _start_here(quiet)
        return
    show_our_token()
    _read_environment_again()
    try:
        _knock(address)
        ray.init(address=address, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        raise RequestError(
            f"No Ray cluster answers at '{address}': {str(error).splitlines()[0]}. "
            "Give --address HOST:PORT of a running one, or none to start one here."
        ) from None
    atexit.register(let_workers_go)


def _start_here(quiet: dict[str, Any]) -> None:
    """Start a Ray of this process. Ray waits 30 seconds for itself, which a busy machine may exceed."""
    guard_a_new_ray()
    pass_on()
    _read_environment_again()
    # That a token guards it is as it should be: nothing to warn of.
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    for attempt in range(1, _START_ATTEMPTS + 1):
        try:
            ray.init(address="local", include_dashboard=False, **quiet)
        except Exception as error:
            if type(error) is not Exception:  # Ray has no class for its own late start
                raise
            ray.shutdown()
            if attempt == _START_ATTEMPTS:
                raise HilumError(
                    f"Ray did not start in {_START_ATTEMPTS} attempts: {error} This machine may be too busy; "
                    "the same command goes on when it is not."
                ) from error
        else:
            return


class RayExecutor:
    """Runs shards and training on the Ray that `connect` found or started."""

    def map_shards(
        self,
        work: Callable[[T], Counts],
        shards: Sequence[T],
        *,
        label: str,
        resources: Resources,
        num_workers: int,
    ) -> Iterator[Counts]:
        """Do every shard on ``num_workers`` warm workers; results come as they are ready.

        A worker that dies is started again and does its shard anew, ``resources.max_failures`` times; one that hangs
        (``resources.hung_after_seconds``) is killed. An exception raised by ``work`` ends the call and is raised here
        as it was there.
        """
        if not shards:
            return
        if inside_worker():
            # A branch of a simulation is itself a shard. A worker that asked its own pool would wait for itself.
            yield from InlineExecutor().map_shards(
                work, shards, label=label, resources=resources, num_workers=num_workers
            )
            return
        connect()
        workers = warm_workers(min(num_workers, len(shards)), resources)
        pass_on = partial(
            _pass_on,
            work=cloudpickle.dumps(work),
            workers=workers,
            label=label,
            max_failures=resources.max_failures,
            hung_after_seconds=resources.hung_after_seconds,
        )
        rows = [{"place": place, "shard": cloudpickle.dumps(shard)} for place, shard in enumerate(shards)]
        _keep_ray_data_quiet()
        replies = (
            ray.data.from_items(rows, override_num_blocks=len(rows))
            .map(pass_on, num_cpus=0, compute=TaskPoolStrategy(size=len(workers)))
            .iter_rows()
        )
        try:
            for reply in replies:
                yield _opened(reply["reply"])
        except RayError as error:
            cause = error.cause if isinstance(error, RayTaskError) else error
            raise HilumError(f"{label}: Ray stopped: {str(cause).splitlines()[0]}") from None

    def train(self, work: Callable[[TrainContext], Counts], *, name: str, resources: Resources) -> Counts:
        """Train on Ray Train."""
        from hilum.adapters.ray_train import train_on_ray

        connect()
        return train_on_ray(work, name=name, resources=resources)


def _read_environment_again() -> None:
    """Ray read its own settings when it was imported, and whether it asks for tokens is one of them."""
    import ray._raylet

    ray._raylet.Config.initialize("")


def _knock(address: str) -> None:
    """Fail now if nobody listens at HOST:PORT, or nobody who lets us in: Ray itself would go on trying for minutes."""
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if separator and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()
        if not address.startswith("ray://") and refuses_us(address):
            raise RequestError(
                f"The Ray cluster at '{address}' asks for its token. Set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a "
                "file that holds it."
            )


def _pass_on(
    row: dict[str, Any],
    *,
    work: bytes,
    workers: list[Any],
    label: str,
    max_failures: int,
    hung_after_seconds: float,
) -> dict[str, bytes]:
    """One Ray Data task: have a worker do the shard, and pass its reply on.

    Ray's own retries of a call would all be spent before it is known that a whole node is
    gone, so a shard is given anew here, to a worker that answers.
    """
    num_hung = 0
    for _ in range(max_failures + 1):
        worker = least_busy(workers, row["place"])
        try:
            asked = worker.do.remote(work, row["shard"])
            return {"reply": reply_of(worker, asked, hung_after_seconds=hung_after_seconds)}
        except HungError:
            num_hung += 1
        except RayActorError:
            pass
    why = (
        f"{num_hung} times it was at it for {hung_after_seconds:g} s: give more hung_after_seconds if it needs them"
        if num_hung
        else "Usually memory ran out: give a smaller score_batch_size or fewer workers"
    )
    error = HilumError(
        f"{label}: a worker process died {max_failures + 1} times on one shard. {why}, and run again; "
        "finished shards are kept."
    )
    return {"reply": pickle.dumps((None, error))}


def _opened(reply: bytes) -> Counts:
    counts, error = pickle.loads(reply)  # noqa: S301 (in flight from our own worker, never at rest)
    if error is not None:
        raise error
    return dict(counts)


def _keep_ray_data_quiet() -> None:
    """Ray Data's notes on each of its plans stay in its own log file; progress is the caller's to draw."""
    with warnings.catch_warnings():
        # Its default settings name an option that it deprecates itself.
        warnings.simplefilter("ignore", DeprecationWarning)
        DataContext.get_current().enable_progress_bars = False
    for handler in logging.getLogger("ray.data").handlers:
        if type(handler).__name__ == "PlainRayHandler":
            handler.setLevel(logging.ERROR)
