"""For every test: examples are the same on every run, and no example is timed (machines are shared)."""

import os
import signal
import sys

import pytest
from hypothesis import settings

settings.register_profile("hilum", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("hilum")


def pytest_configure() -> None:
    """Ctrl-C ends what tests start, also where they were started in the background of a script, which ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave with pytest's own status, without taking Python apart under running threads.

    Threads of Ray, Arrow and tensorstore outlive the last test; seldom one of them crashed
    while the interpreter was being finalised, when every test had passed and been reported.
    """
    if _STATUS not in config.stash:
        return
    ray = sys.modules.get("ray")
    if ray is not None:
        ray.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(config.stash[_STATUS])


_STATUS = pytest.StashKey[int]()
