"""A campaign that is killed: this script is run by test_kills.py, once for each test.

    drive.py FOLDER INGEST QUESTION           kill -9 after some points, and restart, until it is finished
    drive.py FOLDER INGEST QUESTION WHERE …   kill -9 at the first WHERE (each in turn), then finish

It prints how many processes were killed.

Children are forked, so that each has its own process to lose and none has to import torch
again. The points are passed by the wrappers of `hilum.testing.interruptions`; the product has no hook.
"""

import os
import signal
import sys
import tempfile

import pandas  # noqa: F401 (pyarrow would import it in every child)
import torch

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.loop.campaign import Campaign
from hilum.loop.choices import check_choices
from hilum.store.layout import Store
from hilum.store.ledger import open_ledger
from hilum.testing.campaigns import tiny_recipe
from hilum.testing.interruptions import Countdown, InterruptedAnnotator, InterruptedExecutor, InterruptedLedger


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Lifetimes:
    """One campaign, run by one process after the other."""

    def __init__(self, folder: str, ingest_id: str, question: str) -> None:
        self.store = Store(folder)
        self.ingest_id = ingest_id
        self.recipe = tiny_recipe(question)  # type: ignore[arg-type]

    def run(self, countdown: Countdown) -> None:
        ledger = InterruptedLedger(open_ledger(self.store), countdown)
        campaign = Campaign.create(self.store, "liver", self.recipe, ledger=ledger)
        campaign.run(
            executor=InterruptedExecutor(InlineExecutor(), countdown),
            annotator=InterruptedAnnotator(Oracle(self.store, self.ingest_id), countdown),
        )

    def in_a_child(self, countdown: Countdown) -> int:
        """Run in a process of its own; returns the signal that ended it, or 0."""
        child = os.fork()
        if child == 0:
            try:
                self.run(countdown)
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
                os._exit(9)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status):
            raise SystemExit(f"a campaign failed after {countdown}")
        return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def walk(life: Lifetimes) -> int:
    """Kill one process after the other, some early, some late, until one gets to the end."""
    num_kills = 0
    while life.in_a_child(Countdown(die, 8 + num_kills * 7 % 17)) == signal.SIGKILL:
        num_kills += 1
    return num_kills


def kill_at(life: Lifetimes, places: list[str]) -> int:
    """Kill at one place after the other, as they come in a round, and let the last process finish."""

    class DiesThere(Countdown):
        def point(self, where: str) -> None:
            if where == places[num_kills]:
                die()

    num_kills = 0
    while num_kills < len(places) and life.in_a_child(DiesThere(die)) == signal.SIGKILL:
        num_kills += 1
    life.in_a_child(Countdown(die))
    return num_kills


def warm_up() -> None:
    """Import all that a campaign imports; run nothing, for threads do not survive a fork."""
    torch.set_num_threads(1)
    check_choices(tiny_recipe("classify"))
    weight = torch.nn.Parameter(torch.zeros(1))
    weight.grad = torch.zeros(1)
    torch.optim.AdamW([weight]).step()
    with tempfile.TemporaryDirectory() as folder:
        open_ledger(Store(folder)).close()


if __name__ == "__main__":
    folder, ingest_id, question, *places = sys.argv[1:]
    warm_up()
    life = Lifetimes(folder, ingest_id, question)
    print(kill_at(life, places) if places else walk(life))
