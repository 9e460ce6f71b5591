"""How much hilum takes, from what its benches measured: ``python -m tests.evidence.sizing``.

Writes the guide's page. With ``--images`` it prints one plan instead, of your numbers.
"""

import argparse
import json
import re
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from tests.evidence.commands import PAGES, ROOT

GUIDE = ROOT / "platform" / "docs" / "guide" / "sizing.md"
RESULTS = ROOT / "tests" / "bench" / "results"
COMMAND = ".venv/bin/python -m tests.evidence.sizing"
BENCH_VOXELS = 96 * 96
GB, HOUR = 1e9, 3600.0
KINDS = ("reads", "writes")
_SMALLEST = 0.001
INGEST, SCORE = "ingest, a scan of one shard with its label map", "score, a scan of eight candidates"
ANSWER, REST = "ask and learn, an answer", "the rest of a round"


@dataclass(frozen=True)
class Rates:
    """What was measured, on one core."""

    ingest_bytes_per_second: float
    forward_seconds: float
    train_seconds: float
    forward_flop: float
    parameters: float
    overhead_seconds: float
    score_bytes: float
    pool_bytes: float
    distance_seconds: float
    tasks_per_second: float
    requests: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Plan:
    """Flat images, each a volume and a candidate, and the campaign over them; ``teraflops`` is taken, not measured."""

    images: int
    rounds: int = 10
    answers: int = 500
    size_yx: tuple[int, int] = (512, 512)
    passes: int = 1
    steps: int = 10_000
    batch: int = 16
    teraflops: float = 20.0

    @property
    def voxels(self) -> int:
        return self.size_yx[0] * self.size_yx[1]


PLANS = (Plan(10_000, answers=100), Plan(1_000_000), Plan(100_000_000, answers=1000))


@cache
def rates() -> Rates:
    steady = row("scoring", "steady scoring")
    parameters, flop = (row("network", f"UNet++ L4, {what}")["ours"] for what in ("parameters", "forward of one image"))
    distance, score_bytes, pool_bytes = _of_scale()
    return Rates(
        ingest_bytes_per_second=1e6 * row("ingest", "ingest, radiographs and slices, uncompressed")["ours"],
        forward_seconds=1 / row("network", "UNet++ L4, forward, batch")["ours"],
        train_seconds=1 / row("network", "UNet++ L4, forward and backward")["ours"],
        forward_flop=1e9 * flop,
        parameters=parameters,
        overhead_seconds=1 / steady["ours"] - 1 / steady["theirs"],
        score_bytes=score_bytes,
        pool_bytes=pool_bytes,
        distance_seconds=distance,
        tasks_per_second=row("publishing", "10,000 tasks with drafts")["ours"],
        requests={
            what: {kind: row("requests", f"{what}, {kind}")["ours"] for kind in KINDS}
            for what in (INGEST, SCORE, ANSWER, REST)
        },
    )


def row(theme: str, what: str) -> dict[str, Any]:
    """The first row of a bench whose name begins so."""
    rows = json.loads((RESULTS / f"{theme}.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = next(one for one in rows if one["what"].startswith(what))
    return found


def _of_scale() -> tuple[float, float, float]:
    """Seconds of a distance, bytes of a candidate's scores and of its row of the pool, as scale's page says."""
    said = (PAGES / "scale.md").read_text(encoding="utf-8")
    rates = r"Reckoned from ([\d.]+) ns for a distance, [\d.]+ µs and (\d+) bytes .*, and (\d+) bytes for its row"
    found = re.search(rates, said)
    assert found, "scale.md does not say its rates any more"
    return 1e-9 * float(found[1]), float(found[2]), float(found[3])


def quantities(plan: Plan, of: Rates) -> dict[str, str]:
    """What a plan takes, name to figure; core-hours are measured rates, GPU-hours are reckoned from FLOP."""
    patches = plan.images * plan.passes * plan.voxels / BENCH_VOXELS
    examples = plan.steps * plan.batch
    flops_per_gpu_hour = plan.teraflops * 1e12 * HOUR
    score_cpu = patches * of.forward_seconds + plan.images * of.overhead_seconds
    num_answers = plan.rounds * plan.answers
    asked = {kind: _requests(plan, of, kind) for kind in KINDS}
    return {
        "ingest, core-hours, once": number(plan.images * plan.voxels * 2 / of.ingest_bytes_per_second / HOUR),
        "images, 16 bits, not compressed": volume(plan.images * plan.voxels * 2),
        "score, core-hours a round": number(score_cpu / HOUR),
        "score, GPU-hours a round": number(patches * of.forward_flop / flops_per_gpu_hour),
        "train, core-hours a round": number(examples * of.train_seconds / HOUR),
        "train, GPU-hours a round": number(examples * 3 * of.forward_flop / flops_per_gpu_hour),
        "choose, core-hours a round at most": number(plan.images * plan.answers * of.distance_seconds / HOUR),
        "send questions, seconds a round": number(plan.answers / of.tasks_per_second),
        "people, hours in all at 30 s an answer": number(num_answers * 30 / HOUR),
        "scores, all rounds": volume(plan.rounds * plan.images * of.score_bytes),
        "weights, all rounds": volume(plan.rounds * of.parameters * 4),
        "all rounds, GPU-hours": number(plan.rounds * (patches + 3 * examples) * of.forward_flop / flops_per_gpu_hour),
        **{f"requests that {kind[:-1]}, ingest": number(asked[kind][0]) for kind in KINDS},
        **{f"requests that {kind[:-1]}, all rounds": number(asked[kind][1]) for kind in KINDS},
    }


def _requests(plan: Plan, of: Rates, kind: str) -> tuple[float, float]:
    """Of the ingest, and of all rounds: an image is taken for a scan, which has no fewer candidates."""
    a_round = plan.images * of.requests[SCORE][kind] + plan.answers * of.requests[ANSWER][kind]
    return plan.images * of.requests[INGEST][kind], plan.rounds * (a_round + of.requests[REST][kind])


def number(value: float) -> str:
    """Two digits that count; nobody plans with more."""
    if 0 < value < _SMALLEST:
        return f"under {_SMALLEST:g}"
    if value >= 100:
        digits = 10 ** (len(str(int(value))) - 2)
        return f"{round(value / digits) * digits:,.0f}"
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def volume(num_bytes: float) -> str:
    return f"{number(num_bytes / GB)} GB" if num_bytes < 1000 * GB else f"{number(num_bytes / GB / 1000)} TB"


def page(of: Rates) -> str:
    """The whole page; every figure is reckoned from recorded measurements."""
    plan, columns = PLANS[0], [quantities(plan, of) for plan in PLANS]
    heads = " | ".join(f"{one.images:,}, {one.answers:,}" for one in PLANS)
    table = "\n".join(f"| {name} | {' | '.join(column[name] for column in columns)} |" for name in columns[0])
    requests = "\n".join(
        f"| {what} | {asked['reads']:g} | {asked['writes']:g} |" for what, asked in of.requests.items()
    )
    machine = row("network", "U-Net")["hardware"].split(", Python")[0]
    return f"""# Sizing

What a campaign takes, reckoned from what hilum's benches measured on one core ({machine}; `tests/bench/results`).
**Core-hours are measured rates times your numbers. GPU-hours are not measured**: they are operations, counted, over
{plan.teraflops:g} TFLOP/s that a GPU is taken to do in fact. Time one shard on yours.

## How much

Flat images of {plan.size_yx[0]} × {plan.size_yx[1]} voxels in 16 bits, each a volume and a candidate;
{plan.rounds} rounds; one pass; the UNet++ of four levels and {of.parameters / 1e6:.0f} million parameters, taught
anew each round with {plan.steps:,} steps of {plan.batch} patches of 96 × 96.

| images, answers a round | {heads} |
|---|{"---|" * len(PLANS)}
{table}

*Choose* takes it that no distance is ever saved; *requests*, that an image is asked as much as a scan of eight
candidates. Scores of old rounds may be deleted.

Your own numbers, in a clone of the repository:

```text
{COMMAND} --images 50000 --size 1024 1024 --rounds 20 --answers 200 --passes 8 --teraflops 60
```

What changes it most: passes (each member of `score.members` is one), voxels, how much of the pool is scored. For
scans count slices: a CT of 300 × 512 × 512 is 300 such images, and a 3D network costs more a voxel than this one. What
a training step takes of a GPU's memory, [`hilum plan`](planning.md) says.

## Rates

| what | measured |
|---|---|
| ingest, uncompressed radiographs and slices | {of.ingest_bytes_per_second / 1e6:.0f} MB of voxels a second |
| one pass over 96 × 96 | {1000 * of.forward_seconds:.0f} ms, {of.forward_flop / 1e9:.1f} GFLOP |
| one training example of 96 × 96 | {1000 * of.train_seconds:.0f} ms; three times the operations of a pass |
| what scoring adds: reading, scores, embedding, writing | {1000 * of.overhead_seconds:.2f} ms a candidate |
| a candidate's scores on disk | {of.score_bytes:.0f} bytes |
| questions with drafts into Label Studio | {of.tasks_per_second:.0f} a second |

Beside them, for a network that is small: [1,068,768 patches of 32 × 32](../evidence/million.md) on two workers.

The ledger is a few rows a round and a row a question: the smallest Postgres does. Memory: of that million, Ray took
0.8 GB, two workers 1.2 GB, the command 1 GB; give a worker 2 GB beside its network, and a command 4 GB. The pool's
table is {of.pool_bytes:.0f} bytes a candidate in each of them ([why](../evidence/scale.md)).

## Requests

Counted by an S3 server (`make bench THEME=requests`): scans of 64³ voxels, in blocks of 32³, from local files. Stores
charge writes and listings alike, and reads a tenth or less.

| | reads | writes and listings |
|---|---|---|
{requests}

A shard of a volume holds up to 32 MiB of voxels: a larger scan is a few more writes. Answers are read once a training
while they fit in 2 GB a worker, and at every step beyond that. Ingest small images as stacks of
frames where you can: a volume of a thousand frames costs a thousandth of their requests.
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--images", type=int)
    options.add_argument("--size", type=int, nargs=2, default=Plan(0).size_yx, metavar=("Y", "X"))
    for name in ("rounds", "answers", "passes", "steps", "batch"):
        options.add_argument(f"--{name}", type=int, default=getattr(Plan(0), name))
    options.add_argument("--teraflops", type=float, default=Plan(0).teraflops)
    given = vars(options.parse_args())
    images, size_yx = given.pop("images"), tuple(given.pop("size"))
    if images is None:
        GUIDE.write_text(page(rates()), encoding="utf-8")
        print(f"Written to {GUIDE}")
        return
    for name, figure in quantities(replace(Plan(images), size_yx=size_yx, **given), rates()).items():
        print(f"{name:42} {figure}")


if __name__ == "__main__":
    main()
