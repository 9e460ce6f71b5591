"""A thousand of a million, undisturbed and killed twice: ``make evidence WHAT=million``.

Fetches the scans (HILUM_DATA_MIRROR or the internet), teaches a small network, types ``hilum ask`` in one copy
of the store and lets it be, types it in another and kills it while it scores and while it selects, and writes
the page with what both chose. Two quiet CPU cores take about a quarter of an hour.
"""

import argparse
import csv
import datetime
import os
import random
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.evidence.asking import Ask, Memory, TooLateError
from tests.evidence.commands import PAGES, ROOT, hardware, type_hilum

from hilum.core.errors import HilumError
from hilum.store.tables import SELECTION, read_table

HERE = Path(__file__).parent
COMMAND = "make evidence WHAT=million"
STEPS = ("pool", "score", "select")
_ATTEMPTS = 4
Runs = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Kill:
    """After how many seconds a command was killed, with how many parts of the scores written."""

    after_seconds: float
    num_parts: int


@dataclass(frozen=True)
class Found:
    """All that the page says."""

    num_candidates: int
    num_selected: int
    arms: dict[str, int]
    num_parts: int
    seconds: dict[str, float]
    whole_seconds: float
    memory: Memory
    kills: list[Kill]
    killed_memory: Memory
    last_seconds: float
    num_kept_parts: int
    num_different_parts: int
    num_different_rows: int
    load: float = field(default_factory=lambda: os.getloadavg()[2])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path, nargs="?", default=ROOT / "evidence", help="where sets and stores are")
    options.add_argument("--seed", type=int, default=0, help="when it is killed")
    given = options.parse_args()
    ready = prepared(given.folder / "million")
    calm = copied(ready, given.folder / "million" / "calm")
    shaken = copied(ready, given.folder / "million" / "shaken")
    found = compared(calm, shaken, seed=given.seed)
    print(asdict(found))
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    file = PAGES / "million.md"
    file.write_text(page(found, hardware=hardware(), date=today), encoding="utf-8")
    print(f"Written to {file}")


def prepared(folder: Path) -> Ask:
    """A store with the scans to ask about, and a model taught on others."""
    folder.mkdir(parents=True, exist_ok=True)
    type_hilum("data", "fetch", "open_ms", str(folder / "taught"))
    type_hilum("data", "fetch", "open_ms", str(folder / "files"), "--as", "files")
    scans = _indexed(folder / "files" / "unlabelled_raw")
    store = folder / "store"
    type_hilum("init", str(store))
    at = ("--store", str(store))
    taught = type_hilum("ingest", str(folder / "taught"), *at)["run_id"]
    asked = type_hilum("ingest", str(scans), *at)["run_id"]
    if not type_hilum("model", "list", *at)["models"]:
        made = ("--recipe", str(HERE / "million_model.yaml"), "--ingest", taught)
        type_hilum("campaign", "create", "lesions", *made, *at)
    type_hilum("campaign", "run", "lesions", *at)
    checkpoint = type_hilum("model", "list", *at)["models"][0]["champion"]
    return Ask(HERE / "million.yaml", store, checkpoint, asked)


def copied(ask: Ask, folder: Path) -> Ask:
    """The same question to a copy of its store, in which nothing has been asked."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ask.store, folder)
    return Ask(ask.recipe, folder, ask.checkpoint, ask.ingest)


def compared(calm: Ask, shaken: Ask, *, seed: int) -> Found:
    """Ask both, kill one twice, and say what differs."""
    memory, killed_memory = Memory(), Memory()
    runs, seconds, whole_seconds = _undisturbed(calm, memory)
    score_id, select_id = runs["score"]["run_id"], runs["select"]["run_id"]
    num_parts = len(calm.parts(score_id))
    chance = random.Random(seed)
    scoring = chance.randint(num_parts // 5 + 1, max(num_parts // 5 + 1, 4 * num_parts // 5))
    kills = [_kill_while_scoring(shaken, score_id, scoring, killed_memory)]
    kept = shaken.parts(score_id)
    kills.append(_kill_while_selecting(shaken, runs, seconds["select"], chance, killed_memory))
    begin = time.monotonic()
    again = shaken.to_the_end(killed_memory)
    last_seconds = time.monotonic() - begin
    written = shaken.parts(score_id)
    return Found(
        num_candidates=runs["pool"]["results"]["num_candidates"],
        num_selected=runs["select"]["results"]["num_selected"],
        arms=runs["select"]["results"]["arms"],
        num_parts=num_parts,
        seconds=seconds,
        whole_seconds=whole_seconds,
        memory=memory,
        kills=kills,
        killed_memory=killed_memory,
        last_seconds=last_seconds,
        num_kept_parts=sum(written[name] == when for name, when in kept.items()),
        num_different_parts=_num_different_parts(calm, shaken, score_id),
        num_different_rows=_num_different_rows(calm, shaken, select_id, again["select"]["run_id"]),
    )


def page(found: Found, *, hardware: str, date: str) -> str:
    """The whole page; every figure in it comes from the runs."""
    same = found.num_different_parts == found.num_different_rows == 0
    verdict = (
        "It selected what the undisturbed command selected, row by row, from the same scores, byte by byte."
        if same
        else f"**It differs**: {found.num_different_rows} rows of the selection, {found.num_different_parts} parts."
    )
    first, second = found.kills
    stages = "\n".join(f"| {step} | {found.seconds[step]:.1f} |" for step in STEPS)
    arms = ", ".join(f"{num} by `{arm}`" for arm, num in found.arms.items())
    rate = found.num_candidates / found.seconds["score"]
    return f"""# A thousand of a million

`{COMMAND}`, {date}, on {hardware}. The load average of the machine was {found.load:.1f} over the last quarter of an
hour; two is what this takes by itself. One command, `hilum ask`, listed **{found.num_candidates:,}** patches of
32 × 32 voxels of four raw brain MR volumes (Lesjak et al. 2018; neighbours overlap), scored each with a small U-Net
that the product had taught, and selected **{found.num_selected:,}**, no two of which share a voxel: {arms}.

## Undisturbed

| stage | seconds |
|---|---|
{stages}
| the whole command | {found.whole_seconds:.1f} |

The first stage includes the start of Python, the second that of Ray. Scoring went at {rate:,.0f} candidates a second on
two workers, in {found.num_parts} parts.

Memory of all processes together (proportional set sizes, twice a second): at most
**{_gb(found.memory.peak_bytes)}**. {_by_kind(found.memory)}

## Killed twice

The same in a copy of the store. SIGKILL at a random moment of scoring, after {first.after_seconds:.0f} s with
{first.num_parts} of {found.num_parts} parts written; asked again, and SIGKILL while it was selecting, after
{second.after_seconds:.0f} s; asked again, it ended after {found.last_seconds:.0f} s. {found.num_kept_parts} of the
{first.num_parts} parts that were there at the first kill were never written again. {verdict}

Memory: at most {_gb(found.killed_memory.peak_bytes)}. {_by_kind(found.killed_memory)}
"""


def _indexed(folder: Path) -> Path:
    """Who the scans are of; all may be asked about."""
    with (folder / "index.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "patient", "side"])
        rows.writerows([scan.name, scan.name.split("_")[0], "pool"] for scan in sorted(folder.glob("*.nii.gz")))
    return folder


def _undisturbed(ask: Ask, memory: Memory) -> tuple[Runs, dict[str, float], float]:
    """Its runs, the seconds from the end of one step to the end of the next, and those of the whole command."""
    begin, started = time.monotonic(), time.time()
    runs = ask.to_the_end(memory)
    whole_seconds = time.monotonic() - begin
    ends = [_when_done(ask, step, runs[step]["run_id"]) for step in STEPS]
    return runs, dict(zip(STEPS, _steps_apart([started, *ends]), strict=True)), whole_seconds


def _steps_apart(times: list[float]) -> list[float]:
    return [after - before for before, after in pairwise(times)]


def _when_done(ask: Ask, step: str, run_id: str) -> float:
    return (ask.run(step, run_id) / "manifest.json").stat().st_mtime


def _kill_while_scoring(ask: Ask, score_id: str, num_parts: int, memory: Memory) -> Kill:
    begin = time.monotonic()
    ask.killed_when(lambda: len(ask.parts(score_id)) >= num_parts, memory)
    if ask.is_done("score", score_id):
        raise HilumError("All was scored before it could be killed; take smaller parts.")
    return Kill(time.monotonic() - begin, len(ask.parts(score_id)))


def _kill_while_selecting(ask: Ask, runs: Runs, seconds: float, chance: random.Random, memory: Memory) -> Kill:
    """Killed at a moment drawn from what an undisturbed selection took, or from a half of it if this one is faster."""
    score_id, select_id = runs["score"]["run_id"], runs["select"]["run_id"]
    for halved in range(_ATTEMPTS):
        begin = time.monotonic()
        with suppress(TooLateError):
            ask.killed_when(_since_scored(ask, score_id, chance.uniform(0.0, 0.8 * seconds / 2**halved)), memory)
            if not ask.is_done("select", select_id):
                return Kill(time.monotonic() - begin, len(ask.parts(score_id)))
        shutil.rmtree(ask.run("select", select_id))
    raise HilumError(f"{_ATTEMPTS} times all was selected before it could be killed; try another seed.")


def _since_scored(ask: Ask, score_id: str, after_seconds: float) -> Callable[[], bool]:
    since: list[float] = []

    def due() -> bool:
        if not since and ask.is_done("score", score_id):
            since.append(time.monotonic())
        return bool(since) and time.monotonic() - since[0] >= after_seconds

    return due


def _num_different_parts(one: Ask, other: Ask, score_id: str) -> int:
    found = [{p.name: p.read_bytes() for p in ask.run("score", score_id).glob("part-*")} for ask in (one, other)]
    return sum(found[0].get(name) != found[1].get(name) for name in {*found[0], *found[1]})


def _num_different_rows(one: Ask, other: Ask, run_id: str, other_id: str) -> int:
    chosen = [
        read_table(str(ask.run("select", select_id) / "selection.parquet"), SELECTION).to_pylist()
        for ask, select_id in ((one, run_id), (other, other_id))
    ]
    differing = sum(a != b for a, b in zip(*chosen, strict=False))
    return differing + abs(len(chosen[0]) - len(chosen[1]))


def _by_kind(memory: Memory) -> str:
    told = ", ".join(f"{kind} {_gb(num_bytes)}" for kind, num_bytes in sorted(memory.of_kind.items()))
    return f"Each at its own peak: {told}."


def _gb(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2f} GB"


if __name__ == "__main__":
    main()
