"""One process at a time works on a campaign, and on a run, as long as the ledger's leases are good.

A lease saves double work and gives the second caller a clear answer. Nothing is lost when
it fails: steps are named by content, events are written once, and moves are compare-and-set.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from hilum.core.errors import ConflictError, HilumError
from hilum.core.ports import LeaseLedger

SECONDS = 60.0
_NOT_GIVEN_BACK: set[str] = set()
"""Holders of this process who are done, and could not say so: the ledger was away."""


@contextmanager
def claimed(ledger: LeaseLedger, name: str, *, seconds: float = SECONDS) -> Iterator[None]:
    """Hold the lease ``name`` and keep renewing it; ConflictError while somebody alive holds it."""
    me = _me()
    # Taken inside the try: an interrupt right after the ledger wrote must not leave the lease behind.
    try:
        holder = _take(ledger, name, me, seconds)
        if holder != me:
            host, process, _ = holder.split("/")
            raise ConflictError(
                f"Process {process} on {host} is working on {name}. Wait for it, or stop it and try again; "
                f"if it died on another machine, its claim ends {seconds:g} seconds later."
            )
        with _renewed(ledger, name, me, seconds):
            yield
    finally:
        _give_back(ledger, name, me)


@contextmanager
def waited_for(
    ledger: LeaseLedger, name: str, *, seconds: float = SECONDS, every_seconds: float = 0.2
) -> Iterator[None]:
    """Hold the lease ``name`` as soon as whoever holds it now has given it back, or died."""
    me = _me()
    try:
        while _take(ledger, name, me, seconds) != me:
            time.sleep(every_seconds)
        with _renewed(ledger, name, me, seconds):
            yield
    finally:
        _give_back(ledger, name, me)


def _give_back(ledger: LeaseLedger, name: str, me: str) -> None:
    try:
        ledger.release(name, me)
    except HilumError:
        _NOT_GIVEN_BACK.add(me)
        raise


def _me() -> str:
    return f"{socket.gethostname()}/{os.getpid()}/{uuid4().hex[:8]}"


def _take(ledger: LeaseLedger, name: str, me: str, seconds: float) -> str:
    holder = ledger.hold(name, me, seconds)
    if holder != me and _has_died(holder):
        ledger.release(name, holder)
        holder = ledger.hold(name, me, seconds)
    return holder


@contextmanager
def _renewed(ledger: LeaseLedger, name: str, me: str, seconds: float) -> Iterator[None]:
    done = threading.Event()
    renewer = threading.Thread(target=_renew, args=(ledger, name, me, seconds, done), daemon=True)
    renewer.start()
    try:
        yield
    finally:
        done.set()
        renewer.join()


def _renew(ledger: LeaseLedger, name: str, me: str, seconds: float, done: threading.Event) -> None:
    while not done.wait(seconds / 3):
        try:
            ledger.hold(name, me, seconds)
        except HilumError:
            return  # the lease lapses, which costs at most double work; the step goes on


def _has_died(holder: str) -> bool:
    """True when the holder is done, or was a process of this machine that is no more. Of others nothing is known."""
    if holder in _NOT_GIVEN_BACK:
        return True
    host, process, _ = holder.split("/")
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
