"""Leases: one worker at a time, a dead one is not waited for, and a lease is kept while work goes on."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from hilum.core.errors import ConflictError, HilumError
from hilum.loop.lease import claimed, waited_for
from hilum.store.layout import Store
from hilum.store.ledger import SqlLedger, open_ledger
from hilum.store.ledger_engine import connect

Take = Callable[[SqlLedger, str], AbstractContextManager[None]]

HOLD_AND_SAY = """
import sys, time
from hilum.loop.lease import claimed
from hilum.store.layout import Store
from hilum.store.ledger import open_ledger
with claimed(open_ledger(Store(sys.argv[1])), "a"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    opened = open_ledger(Store(str(tmp_path)))
    yield opened
    opened.close()


def test_what_somebody_works_on_cannot_be_claimed(ledger: SqlLedger) -> None:
    with claimed(ledger, "a"), pytest.raises(ConflictError, match="is working on a"), claimed(ledger, "a"):
        pass


def test_what_was_given_back_can_be_claimed_even_after_an_error(ledger: SqlLedger) -> None:
    with pytest.raises(ZeroDivisionError), claimed(ledger, "a"):
        raise ZeroDivisionError
    with claimed(ledger, "a"):
        pass


class CutShort(SqlLedger):
    """A ledger that takes the lease, and whose caller is interrupted before it hears of it."""

    def hold(self, name: str, holder: str, seconds: float) -> str:
        super().hold(name, holder, seconds)
        raise KeyboardInterrupt


@pytest.mark.parametrize("take", [claimed, waited_for])
def test_a_lease_is_given_back_by_whoever_is_interrupted_while_taking_it(
    ledger: SqlLedger, tmp_path: Path, take: Take
) -> None:
    interrupted = CutShort(connect(Store(str(tmp_path)), None))
    with pytest.raises(KeyboardInterrupt), take(interrupted, "a"):
        pass
    with claimed(ledger, "a"):
        pass


def test_two_things_can_be_claimed_at_once(ledger: SqlLedger) -> None:
    with claimed(ledger, "a"), claimed(ledger, "b"):
        pass


def test_a_killed_process_is_not_waited_for(ledger: SqlLedger, tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD_AND_SAY, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(ConflictError, match=f"Process {holder.pid}"), claimed(ledger, "a"):
        pass
    holder.kill()
    holder.communicate()
    with claimed(ledger, "a"):
        pass
    with waited_for(ledger, "a"):
        pass


def test_a_holder_on_another_machine_is_believed_until_its_time_is_up(ledger: SqlLedger) -> None:
    ledger.hold("a", "elsewhere/1/abc", 600)
    with pytest.raises(ConflictError, match="Process 1 on elsewhere"), claimed(ledger, "a"):
        pass
    ledger.release("a", "elsewhere/1/abc")
    ledger.hold("a", "elsewhere/1/abc", -1)
    with claimed(ledger, "a"):
        pass


def test_a_lease_is_renewed_while_work_goes_on(ledger: SqlLedger) -> None:
    with claimed(ledger, "a", seconds=0.6):
        for _ in range(8):
            time.sleep(0.2)
            assert ledger.hold("a", "elsewhere/1/abc", 60).split("/")[0] != "elsewhere"


def test_whoever_waits_comes_after_whoever_works(ledger: SqlLedger) -> None:
    order: list[str] = []
    inside = threading.Event()

    def work() -> None:
        with waited_for(ledger, "a"):
            inside.set()
            time.sleep(0.3)
            order.append("first")

    worker = threading.Thread(target=work)
    worker.start()
    inside.wait()
    with waited_for(ledger, "a", every_seconds=0.02):
        order.append("second")
    worker.join()
    assert order == ["first", "second"]


class Away(SqlLedger):
    """A ledger that is gone when a lease is given back."""

    def release(self, name: str, holder: str) -> None:
        raise HilumError("The ledger did not answer.")


def test_a_lease_that_could_not_be_given_back_is_no_hindrance_to_this_process(
    ledger: SqlLedger, tmp_path: Path
) -> None:
    away = Away(connect(Store(str(tmp_path)), None))
    with pytest.raises(HilumError, match="did not answer"), claimed(away, "a"):
        pass
    with claimed(ledger, "a"):
        pass
    away.close()
