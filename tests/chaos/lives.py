"""Campaigns that follow random schedules, one driver process after the other: run by test_schedules.py.

    python -m tests.chaos.lives FOLDER INGEST FIRST LAST calm|struck

Drivers are forked, so that each has its own process to lose and none has to import torch again. Between them people
answer, webhooks are lost, doubled and shuffled, and the ledger is lost. At its end every campaign is judged by the
eight invariants, beside one that nobody disturbed. What struck, and what was found, is printed as JSON.
"""

import gc
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pandas  # noqa: F401 (pyarrow would import it in every child)
import torch
from numba.core.registry import cpu_target
from tests.chaos.baseline import Baseline
from tests.chaos.desk import PROJECT, AtTheDesk, Desk, People
from tests.chaos.faults import Blow, FailingLedger, Fault, break_disk, interrupt_commits

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.label_studio import annotator as label_studio
from hilum.adapters.label_studio import publishing
from hilum.adapters.label_studio.deliveries import delivery_of, inbox, record
from hilum.core.errors import ConflictError, HilumError, WaitingForPeople
from hilum.core.recipes import Choice
from hilum.loop.campaign import Campaign
from hilum.loop.choices import check_choices
from hilum.loop.rebuild import rebuild_ledger
from hilum.store.layout import Store
from hilum.store.ledger import SqlLedger, open_ledger
from hilum.store.ledger_engine import connect
from hilum.testing.campaigns import check_invariants, determined_files, tiny_recipe
from hilum.testing.interruptions import Countdown, InterruptedExecutor, InterruptedLedger
from hilum.testing.invariants import Left, answers_taught_once, nothing_half_written, same_choices

NAME = "liver"
NUM_PER_ROUND = 3
RECIPE = tiny_recipe("classify", num_per_round=NUM_PER_ROUND).model_copy(
    update={"annotator": Choice(kind="label_studio", project="Desk")}
)
FINISHED, WAITING, TOLD, INTERRUPTED, BROKEN = 0, 3, 4, 130, 9
_LEASE_SECONDS = 0.3
_AN_HOUR = 3600.0
_MOST_WAITS = 10


class Place:
    """One campaign's store, desk and notes, and its drivers."""

    def __init__(self, folder: Path, origin: Path, ingest_id: str) -> None:
        self.store = Store(str(shutil.copytree(origin, folder / "store")))
        self.desk_file, self.notes, self.ingest_id = folder / "desk.json", folder / "struck", ingest_id
        self.people = People(Desk(self.desk_file), num_per_round=NUM_PER_ROUND)
        self.acknowledged: dict[int, datetime] = {}
        self.num_letters = 0

    def drive(self, fault: Fault, *, clock_ahead: float = 0.0) -> int:
        """The pid of a driver that runs the campaign until it is finished, waits for people, or is struck."""
        return forked(lambda: self._run(fault, clock_ahead))

    def _run(self, fault: Fault, clock_ahead: float) -> int:
        blow = Blow(fault, self.notes)
        countdown = blow.countdown()
        interrupt_commits(countdown)
        _do_not_dawdle()
        if fault.kind == "disk":
            break_disk(self.store.url, blow)
        inner = SqlLedger(connect(self.store, None), clock=lambda: time.time() + clock_ahead)
        ledger = InterruptedLedger(FailingLedger(inner, blow), countdown)  # type: ignore[arg-type]
        desk = Desk(self.desk_file, lambda what: countdown.around(what, lambda: blow.line(what)))
        try:
            return self._until_the_end(ledger, desk, countdown)
        except WaitingForPeople:
            return WAITING
        except KeyboardInterrupt:
            return INTERRUPTED
        except (HilumError, OSError) as error:
            if not blow.num_hit:
                raise
            return TOLD if "\n" not in str(error) else BROKEN

    def _until_the_end(self, ledger: InterruptedLedger, desk: Desk, countdown: Countdown) -> int:
        campaign = Campaign.create(self.store, NAME, RECIPE, ledger=ledger)  # type: ignore[arg-type]
        annotator = AtTheDesk(self.store, self.ingest_id, desk, ledger)  # type: ignore[arg-type]
        executor = InterruptedExecutor(InlineExecutor(), countdown)
        while not campaign.finished:
            try:
                campaign.advance(executor=executor, annotator=annotator)
            except ConflictError:  # somebody else is at work on it
                time.sleep(0.02)
        return FINISHED

    def to_the_end(self) -> int:
        """Nobody strikes any more."""
        for _ in range(_MOST_WAITS):
            if self._run(Fault(), 0.0) == FINISHED:
                return FINISHED
            self.people.work()
        raise AssertionError("it does not come to its end")

    def post(self, chance: random.Random) -> Counter[str]:
        """Deliver what the desk has sent since the last time: some not at all, some often, none in order."""
        letters = Desk(self.desk_file).content()["letters"]
        new, self.num_letters = letters[self.num_letters :], len(letters)
        kept = [letter for letter in new if chance.random() > 0.3]
        sent = [letter for letter in kept for _ in range(chance.choice((1, 1, 2, 5)))]
        in_order = list(sent)
        chance.shuffle(sent)
        for letter in sent:
            now = datetime.fromisoformat(letter["annotation"]["updated_at"])
            delivery = delivery_of(letter, now=now)
            assert delivery is not None
            record(self.store, delivery)
            number = int(letter["annotation"]["id"])
            self.acknowledged[number] = max(now, self.acknowledged.get(number, now))
        shuffled = sum(a is not b for a, b in zip(in_order, sent, strict=True))
        return Counter(
            {
                "webhook dropped": len(new) - len(kept),
                "webhook doubled": len(sent) - len(kept),
                "webhook out of order": shuffled,
            }
        )

    def furthest(self) -> list[str]:
        return sorted(str(path) for path in Path(self.store.url, "campaigns").rglob("events/*.json"))

    def judged(self, undisturbed: Left, expected: dict[str, str]) -> int:
        """In a child: every invariant, and byte for byte what the undisturbed campaign left."""
        left = Left(self.store, NAME, RECIPE)
        check_invariants(self.store, NAME, RECIPE)
        answers_taught_once(left, self.people.told())
        same_choices(left, undisturbed)
        nothing_half_written(left)
        assert determined_files(self.store) == expected
        asked = [task["data"]["hilum_key"] for task in Desk(self.desk_file).content()["tasks"]]
        assert len(asked) == len(set(asked)), "somebody is asked twice"
        told = {number: one.updated_at for number, one in inbox(self.store, PROJECT).annotations.items()}
        assert told == self.acknowledged
        return FINISHED


def forked(work: Callable[[], int]) -> int:
    child = os.fork()
    if child == 0:
        try:
            os._exit(work())
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            if os.environ.get("HILUM_DEBUG"):
                import traceback

                traceback.print_exc()
            os._exit(BROKEN)
    return child


def ended(child: int) -> int:
    """Its exit code, or minus the signal that ended it; minus SIGSTOP when it was only stopped."""
    _, status = os.waitpid(child, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        return -signal.SIGSTOP
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def follow(place: Place, chance: random.Random, *, calm: bool) -> Counter[str]:
    """Strike, let people work, deliver, sometimes lose the ledger, and begin again, until nobody strikes any more."""
    struck: Counter[str] = Counter()
    for _ in range(chance.randint(2, 3)):
        fault = Fault() if calm else Fault.drawn(chance)
        before = place.furthest()
        struck += _one_life(place, fault, together=not calm and chance.random() < 0.2)
        after = place.furthest()
        assert set(before) <= set(after), "it went backwards"
        if not calm and chance.random() < 0.2 and before:
            struck["ledger lost and written again"] += 1
            assert ended(forked(partial(_lose_ledger, place.store))) == FINISHED
        place.people.work(chance.choice((0, 2, None, None)))
        struck += place.post(chance) if not calm else Counter()
    assert ended(forked(place.to_the_end)) == FINISHED
    struck += place.post(chance) if not calm else Counter()
    return struck + _noted(place)


def _one_life(place: Place, fault: Fault, *, together: bool) -> Counter[str]:
    """One driver, or two at once, until it ends or is struck. One that is stopped is overtaken, and then goes on."""
    drivers = [place.drive(fault)]
    if together:
        drivers.append(place.drive(Fault()))
    for driver in drivers:
        code = ended(driver)
        while code == -signal.SIGSTOP:
            _overtake(place)
            os.kill(driver, signal.SIGCONT)
            code = ended(driver)
        assert code in (FINISHED, WAITING, TOLD, INTERRUPTED, -signal.SIGKILL), f"{fault} ended with {code}"
    return Counter({"two drivers at once": int(together)})


def _overtake(place: Place) -> None:
    """Another driver, to whom an hour has passed: all leases of the one that sleeps have run out."""
    code = ended(place.drive(Fault(), clock_ahead=_AN_HOUR))
    assert code in (FINISHED, WAITING), code
    place.people.work(2)


def _noted(place: Place) -> Counter[str]:
    lines = place.notes.read_text().splitlines() if place.notes.exists() else []
    return Counter(line.split("\t")[0] for line in lines)


def _places(place: Place) -> list[str]:
    return place.notes.read_text().splitlines() if place.notes.exists() else []


def _lose_ledger(store: Store) -> int:
    for file in Path(store.url).glob("ledger.sqlite*"):
        file.unlink()
    rebuild_ledger(store)
    return FINISHED


def _do_not_dawdle() -> None:
    """A killed publisher's lease, and the pause before looking again, are short here: thirty seconds and half a one."""
    label_studio.in_turn = partial(publishing.in_turn, seconds=_LEASE_SECONDS)  # type: ignore[assignment]
    publishing.time = _Hurried()  # type: ignore[assignment]
    os.fsync = lambda _: None  # type: ignore[assignment,misc] # nothing here pulls a plug


class _Hurried:
    def sleep(self, seconds: float) -> None:
        time.sleep(min(seconds, 0.02))


def warm_up(folder: Path, ingest_id: str) -> Place:
    """Import all that a campaign imports; run nothing here, for threads do not survive a fork.

    Returns a campaign that nobody disturbed, run in a child that told what it had imported.
    """
    torch.set_num_threads(1)
    check_choices(RECIPE)
    os.environ |= {"HILUM_BRIDGE_URL": "http://bridge.test", "HILUM_BRIDGE_KEY": "a-key-0123456789abcdef"}
    open_ledger(Store(str(folder / "origin"))).close()
    (folder / "calm").mkdir()
    place = Place(folder / "calm", folder / "origin", ingest_id)
    told = folder / "modules"

    def run() -> int:
        place.to_the_end()
        told.write_text("\n".join(sys.modules))
        return FINISHED

    assert ended(forked(run)) == FINISHED
    for module in told.read_text().splitlines():
        with suppress(Exception):
            importlib.import_module(module)
    # What numba would read in every child before its first kernel.
    cpu_target.typing_context.refresh()
    cpu_target.target_context.refresh()
    gc.freeze()  # or every child would copy what it only counts
    return place


def main(folder: Path, ingest_id: str, seeds: range, *, calm: bool) -> list[dict[str, Any]]:
    place = warm_up(folder, ingest_id)
    undisturbed, expected = Left(place.store, NAME, RECIPE), determined_files(place.store)
    found = []
    for seed in seeds:
        began = time.monotonic()
        here, temporary = folder / str(seed), folder / f"tmp-{seed}"
        here.mkdir()
        temporary.mkdir()
        tempfile.tempdir = str(temporary)
        baseline = Baseline((temporary,))
        place = Place(here, folder / "origin", ingest_id)
        struck = follow(place, random.Random(seed), calm=calm)
        assert ended(forked(partial(place.judged, undisturbed, expected))) == FINISHED, f"schedule {seed}"
        baseline.back()
        seconds = round(time.monotonic() - began, 2)
        found.append({"seed": seed, "struck": dict(struck), "places": _places(place), "seconds": seconds})
        shutil.rmtree(here)
    return found


if __name__ == "__main__":
    where, ingest, first, last, how = sys.argv[1:]
    print(json.dumps(main(Path(where), ingest, range(int(first), int(last)), calm=how == "calm")))
