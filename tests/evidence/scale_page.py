"""The page of scale: what was measured, and what follows for a hundred million candidates."""

from collections.abc import Sequence
from dataclasses import dataclass

PLANNED = 100_000_000
PLANNED_PICKS = 1000
PLANNED_SHARD = 100_000
PLANNED_LABELLED = 10_000
WORKERS = (1, 16, 64)
GB = 1e9


@dataclass(frozen=True)
class Measured:
    """One sampler on ``num`` candidates: seconds of each part in one process, and how well its picks cover.

    ``noise`` is how far candidates lie from a real embedding, in deviations. ``of_one`` and ``of_two`` are the radius
    of k-centre and the mean squared distance of k-means++, of one process and of two rounds.
    """

    kind: str
    noise: float
    num: int
    num_picks: int
    num_shards: int
    num_union: int
    seconds_one: float
    seconds_round_1: float
    seconds_weights: float
    seconds_round_2: float
    of_one: float
    of_two: float

    @property
    def nanoseconds(self) -> float:
        """Of round 1, for each candidate and each pick."""
        return 1e9 * self.seconds_round_1 / (self.num * self.num_picks)

    @property
    def ratio(self) -> float:
        """How much worse two rounds cover; 1 is alike."""
        return self.of_two / self.of_one


@dataclass(frozen=True)
class Sizes:
    """Of one candidate: bytes and seconds to read it, and bytes of its row of the pool in memory.

    ``seconds_distance`` is one distance between two embeddings where no pick saves any.
    """

    dimensions: int
    num_real: int
    num_labelled: int
    bytes_parquet: float
    seconds_read: float
    bytes_pool_row: float
    seconds_distance: float


def page(found: Sequence[Measured], sizes: Sizes, *, hardware: str, date: str) -> str:
    """The whole page as Markdown."""
    return "\n".join([*_head(sizes, hardware, date), *_measured(found), *_plan(found, sizes), *_missing()]) + "\n"


def _head(sizes: Sizes, hardware: str, date: str) -> list[str]:
    return [
        "# Choosing among a hundred million candidates",
        "",
        "`select.distributed` picks in two rounds: each shard of the score run gives a core-set, and the round is "
        "picked from all core-sets ([guide](../guide/selection.md)). This page times both rounds and reckons from that "
        f"what a hundred million candidates would take. **Nothing here was run on {PLANNED:,} candidates or on a "
        "cluster**: what was measured is under *Measured*, what is reckoned from it under *Plan*.",
        "",
        "## Measured",
        "",
        f"Candidates are drawn with return from {sizes.num_real:,} embeddings ({sizes.dimensions} half-precision "
        "numbers) that a model of `hilum demo` gave packaged images, each moved by Gaussian noise of so many "
        f"deviations of every dimension: 0.1 keeps their groups, 1 blurs them. {sizes.num_labelled} more are labelled, "
        "and the times hold the distances to these too. One process, one thread, shards one after the other, one seed; "
        f"shards are cut at random, where those of a score run follow volumes. {hardware}; {date}.",
        "",
    ]


def _measured(found: Sequence[Measured]) -> list[str]:
    lines = [
        "| sampler | noise | candidates | picks | one process, s | round 1, s | ns per candidate and pick | weights, s "
        "| round 2, s | union | two rounds / one process |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{m.kind}` | {m.noise:g} | {m.num:,} | {m.num_picks:,} | {m.seconds_one:.2f} | {m.seconds_round_1:.2f} "
        f"| {m.nanoseconds:.2f} | {m.seconds_weights:.2f} | {m.seconds_round_2:.3f} | {m.num_union:,} "
        f"| {m.ratio:.3f} |"
        for m in found
    ]
    ratios = {kind: [m.ratio for m in found if m.kind == kind] for kind in ("k_centre", "kmeans_pp")}
    return [
        *lines,
        "",
        "The last column compares how well the picks, with what is labelled, cover all candidates. For `k_centre` it "
        f"is the largest distance to one of them ({_range(ratios['k_centre'])}). Proven is that two rounds stay within "
        "4 times the least radius that is possible, and one process within 2 (Malkomes et al. 2015): the ratio cannot "
        f"exceed 4. For `kmeans_pp` it is the mean squared distance ({_range(ratios['kmeans_pp'])}), of one draw each; "
        "nothing is proven, and nothing is claimed from a ratio below 1.",
        "",
    ]


def _range(ratios: Sequence[float]) -> str:
    return f"{min(ratios):.3f} to {max(ratios):.3f}"


def _plan(found: Sequence[Measured], sizes: Sizes) -> list[str]:
    num_shards = PLANNED // PLANNED_SHARD
    num_union = num_shards * PLANNED_PICKS
    largest = max(m.num for m in found)
    picks = max(m.num_picks for m in found)
    slowest = max((m for m in found if (m.num, m.num_picks) == (largest, picks)), key=lambda m: m.nanoseconds)
    read = PLANNED * sizes.seconds_read
    # Every candidate meets every pick once, as if no distance were ever saved.
    choose = PLANNED * PLANNED_PICKS * sizes.seconds_distance
    labelled = PLANNED * PLANNED_LABELLED * sizes.seconds_distance
    last = num_union * (PLANNED_PICKS + PLANNED_LABELLED) * sizes.seconds_distance
    once = read + labelled + choose
    row_bytes = sizes.dimensions * (2 + 4)
    rows = [
        ("candidates, picks, labelled", f"{PLANNED:,}, {PLANNED_PICKS:,}, {PLANNED_LABELLED:,}"),
        ("embeddings, half precision", f"{PLANNED * sizes.dimensions * 2 / GB:.1f} GB"),
        ("parts of the score run, compressed", f"{PLANNED * sizes.bytes_parquet / GB:.1f} GB"),
        ("shards", f"{num_shards:,} of {PLANNED_SHARD:,}"),
        ("a shard's embeddings in a worker, half and single precision", f"{PLANNED_SHARD * row_bytes / GB:.2f} GB"),
        ("messages", f"{num_shards:,} numbers of shards out, {num_shards:,} counts back"),
        ("core-sets in the driver", f"{num_union:,} rows, {num_union * row_bytes / GB:.2f} GB of embeddings"),
        ("CPU to read the parts", _hours(read)),
        ("CPU to meet what is labelled", _hours(labelled)),
        ("CPU to choose core-sets, no distance saved", _hours(choose)),
        ("the same with weights (`kmeans_pp`)", _hours(2 * choose)),
        ("round 2 in one process, no distance saved", _hours(last)),
        *((f"`k_centre`, {num} worker{'s' * (num > 1)}", _hours(once / num + last)) for num in WORKERS),
        *((f"`kmeans_pp`, {num} worker{'s' * (num > 1)}", _hours((once + choose) / num + last)) for num in WORKERS),
        ("**pool rows in every worker, as the code is today**", f"**{PLANNED * sizes.bytes_pool_row / GB:.1f} GB**"),
    ]
    return [
        "## Plan",
        "",
        f"Reckoned from {1e9 * sizes.seconds_distance:.2f} ns for a distance, {1e6 * sizes.seconds_read:.2f} µs and "
        f"{sizes.bytes_parquet:.0f} bytes to read a candidate's scores, and {sizes.bytes_pool_row:.0f} bytes for its "
        "row of the pool. Every candidate is taken to meet every pick, as if no distance were ever saved: then "
        f"choosing takes {1e9 * sizes.seconds_distance:.2f} ns per candidate and pick. Measured on {largest:,} "
        f"candidates and {slowest.num_picks:,} picks, the slowest took {slowest.nanoseconds:.2f} ns (`{slowest.kind}`, "
        f"noise {slowest.noise:g}).",
        "",
        "| what | how much |",
        "|---|---|",
        *(f"| {what} | {much} |" for what, much in rows),
        "",
        "Hours suppose that W workers of one core each share round 1 evenly, that storage feeds them all, and that no "
        "worker is lost (a lost one costs one shard again). Left out: downloading, finding what overlaps an answer, "
        "the driver's reading of core-sets. Distances grow with the number of dimensions. m shards and k picks give "
        "m·k rows in the driver; larger shards give fewer, and take more of a worker's memory. A shard has "
        "`candidates_per_shard` × `parts_per_shard` candidates.",
        "",
    ]


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.2f} h" if seconds >= 360 else f"{seconds:.0f} s"


def _missing() -> list[str]:
    return [
        "## What has to change first",
        "",
        "- **The pool is one table.** Driver and workers read it whole, in scoring too: the last row of the table, at "
        "least twice that while it is sorted, and the driver also holds every id by itself. It has to be written "
        "in the score run's parts, so that each worker reads its own and the driver only the core-sets' rows.",
        "- Parts that hold something labelled are read one after the other by the driver, to find its embedding.",
        "- Every answer is compared with the box of every candidate of a shard: slow where answers are many.",
        "",
        "## What other samplers would take",
        "",
        "- **Neighbours** (`typiclust`, `usl`): above 20,000 points they are looked for in about √N cells of k-means "
        "(`select/neighbours.py`), each point among those of the nearest cells. On shards, cells would be made once of "
        "a sample, each worker would write its rows cell by cell, and a second `map_shards` over cells would search: "
        "one shuffle of all embeddings. Where they have no groups nearly all cells are searched, and nothing is won.",
        "- **Facility location**: two rounds like these are GreeDi (Mirzasoleiman et al. 2013), in the worst case "
        "about (1 - 1/e) / min(√k, m) of the best for m shards, against 1 - 1/e for one process; with candidates dealt "
        "to shards at random (1 - 1/e) / 2 in expectation (Barbosa et al. 2015). Our shards follow volumes, so the "
        "second bound needs a shuffle; and the sum that is raised counts over all candidates, of which a sample would "
        "have to go to every worker.",
        "- **badge**: the rounds of `kmeans_pp` over gradients, compared by their two factors.",
        "",
        "Again: `make evidence WHAT=scale`.",
    ]
