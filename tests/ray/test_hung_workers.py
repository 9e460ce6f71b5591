"""A worker that sleeps for ever, or is stopped and says nothing, is killed, and its shard is done by another."""

import os
import signal
import sys
import time
from functools import partial

import psutil
import pytest
from ray import cloudpickle

from hilum.adapters.ray_data import RayExecutor
from hilum.core.errors import HilumError
from hilum.core.resources import Resources

HUNG_AFTER_SECONDS = 4
# Workers cannot import this file: its functions travel whole.
cloudpickle.register_pickle_by_value(sys.modules[__name__])
pytestmark = pytest.mark.usefixtures("ray_cluster")


def hang_once(shard, *, flag, how):
    """Whoever comes to shard 2 first writes down who it is, and hangs."""
    if shard == 2:
        try:
            descriptor = os.open(flag, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            return {"shard": shard}
        os.write(descriptor, str(os.getpid()).encode())
        if how == "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(10_000)
    return {"shard": shard}


def hang(shard):
    time.sleep(10_000)


def slow(shard):
    time.sleep(1.5)
    return {"shard": shard}


def spread(work, num, **resources):
    how = {"label": "test", "resources": Resources(hung_after_seconds=HUNG_AFTER_SECONDS, **resources)}
    return list(RayExecutor().map_shards(work, list(range(num)), num_workers=2, **how))


@pytest.mark.parametrize("how", ["asleep", "stopped"])
def test_a_worker_that_hangs_is_replaced_and_every_shard_is_done(tmp_path, how):
    began = time.monotonic()
    rows = spread(partial(hang_once, flag=str(tmp_path / "hung"), how=how), 6)
    assert sorted(row["shard"] for row in rows) == list(range(6))
    hung = int((tmp_path / "hung").read_text())
    assert HUNG_AFTER_SECONDS < time.monotonic() - began < 90
    until = time.monotonic() + 20
    while _is_alive(hung) and time.monotonic() < until:
        time.sleep(0.1)
    assert not _is_alive(hung)


def test_a_shard_at_which_everybody_hangs_is_given_up_with_what_to_change():
    with pytest.raises(HilumError, match=r"died 2 times .* 2 times it was at it for 4 s: give more hung_after_seconds"):
        spread(hang, 1, max_failures=1)


def test_shards_that_together_take_longer_are_no_hanging():
    assert sorted(row["shard"] for row in spread(slow, 8)) == list(range(8))


def _is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
