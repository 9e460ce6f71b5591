"""Selection beside its peers, on one thread: k-centre, k-means++, BADGE, AIFT, facility location, typicality, BALD.

Run with ``make bench THEME=selection``. They take turns in one process on the same seeded data; the figure is the
median over turns, in picks, points or candidates a second of process CPU time. Slow peers make few picks; their rate
is that of the picks after the first, so that what they do once is not counted, while all of ours is. Loops of
`selection_loops.py` are written for this after scripts that people share. Packages are those of the extra ``bench``;
one that is not installed is a null row. Before anything is measured, results are checked to be as good: the covering
radius of k-centre, the potential of k-means++, the objective of facility location, the recall of neighbours, scores.

Peers look at every point for every pick, whatever the points. Ours looks again only where it must: seldom among noise
in all dimensions, often where there are as many tight groups as picks. Both are measured.

"Bandwidth" is what reading the pool once a pick would allow: N·D·4 bytes at the rate at which one core squares and
adds them.
Where OPENBLAS_CORETYPE is set, numpy and sklearn are slower than they need be: unset it.
"""

import importlib
import os
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import selection_loops as loops
import torch
from rows import missing_row, row, write
from sklearn.cluster import kmeans_plusplus
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_info, threadpool_limits

from hilum.core.recipes import Choice
from hilum.core.registry import samplers, scorers
from hilum.select import builtin  # noqa: F401
from hilum.select.cold_start import typicality
from hilum.select.consistency import CLIP
from hilum.select.neighbours import nearest_neighbours, probable_neighbours
from hilum.select.scored import ScoredPool

TURNS = 3
POOL, SIZE, PICKS, FEW = 100_000, 128, 1000, 10
CLASSES = 10
COVERED, COVERING = 5000, 100
GROUPED, GROUPS, NEIGHBOURS = 20_000, 200, 20
VIEWS = 36
PASSES = 20
Work = Callable[[], object]
Measured = dict[str, "Entry | str"]


@dataclass(frozen=True)
class Entry:
    """``num`` things done by ``work``; what ``once`` does of it is not counted."""

    num: int
    work: Work
    once: Work | None = None

    def rate(self) -> float:
        return self.num / (_seconds(self.work) - (_seconds(self.once) if self.once else 0))


def _seconds(work: Work) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def peer(make: Callable[[], Entry]) -> Entry | str:
    """A peer of the extra ``bench``, or why there is none."""
    try:
        return make()
    except (ImportError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"


def rates(entries: Measured) -> dict[str, float]:
    """Everybody's rate, the median of turns; the first turn compiles and warms up."""
    measured: dict[str, list[float]] = {}
    for turn in range(TURNS + 1):
        for name, entry in entries.items():
            if isinstance(entry, Entry):
                rate = entry.rate()
                if turn:
                    measured.setdefault(name, []).append(rate)
    return {name: statistics.median(found) for name, found in measured.items()}


def compare(what: str, unit: str, entries: Measured) -> list[dict[str, Any]]:
    """Rows of 'ours' beside everybody else."""
    found = rates(entries)
    rows = []
    for name, entry in entries.items():
        if name == "ours":
            continue
        if isinstance(entry, str):
            rows.append(missing_row(what, name, found["ours"], unit=unit, reason=entry))
        else:
            rows.append(row(what, name, found["ours"], found[name], unit=unit))
        told = f"{found[name]:14,.1f}  {rows[-1]['ratio']:8.2f}" if name in found else f"{entry:>14}"
        print(f"{what:62} {name:50} {found['ours']:14,.1f} {told}", flush=True)
    return rows


def quality(what: str, peer_name: str, ours: float, theirs: float, unit: str, *, more: bool) -> dict[str, Any]:
    """How good a result is, ratio above 1 where ours is better."""
    print(f"{what:62} {peer_name:50} {ours:14.4f} {theirs:14.4f}", flush=True)
    made = row(what, peer_name, ours, theirs, unit=unit)
    return {
        **made,
        "ours": round(ours, 4),
        "theirs": round(theirs, 4),
        "ratio": round(ours / theirs if more else theirs / ours, 4),
    }


def tight_groups() -> np.ndarray:
    """As many groups as picks, far apart: with each pick one group's distances fall, and everybody else's stay."""
    return groups(POOL, PICKS, 0.01)


def pool_of(points_ND: np.ndarray, labelled: int = 0, **more: Any) -> ScoredPool:
    """The first ``labelled`` of the points are labelled, the rest is open."""
    ids = np.char.zfill(np.arange(len(points_ND) - labelled).astype(np.str_), 7)
    return ScoredPool(ids, embedding=points_ND[labelled:], labelled_embedding=points_ND[:labelled], **more)


def ask(kind: str, scored: ScoredPool, num: int, seed: int = 0, **params: Any) -> np.ndarray:
    picks: np.ndarray = samplers.bind(Choice(kind=kind, **params))(scored, num, rng=np.random.default_rng(seed))
    return picks


def measure_k_centre() -> list[dict[str, Any]]:
    points = np.random.default_rng(0).standard_normal((POOL, SIZE)).astype(np.float32)
    scored, labels = pool_of(points, 1), np.full(POOL, np.nan)
    labels[0] = 0

    def skactiveml() -> Entry:
        core_set = importlib.import_module("skactiveml.pool").CoreSet(random_state=0)
        return Entry(
            FEW, lambda: core_set.query(points, labels, batch_size=1 + FEW), lambda: core_set.query(points, labels)
        )

    def loop(work: Callable[..., list[int]], among: np.ndarray) -> Entry:
        return Entry(FEW, lambda: work(among, [0], 1 + FEW), lambda: work(among, [0], 1))

    what = f"k-centre, {POOL:,} × {SIZE}, {PICKS} picks"
    flat, tight = points.ravel(), tight_groups()
    scored_tight = pool_of(tight, 1)
    rows = compare(
        what,
        "picks/s of CPU",
        {
            "ours": Entry(PICKS, lambda: ask("k_centre", scored, PICKS)),
            "scikit-activeml CoreSet": peer(skactiveml),
            "google/active-learning-style loop": loop(loops.k_centre_by_pairwise_distances, points),
            "sklearn euclidean_distances per pick, lengths kept": loop(loops.k_centre_by_kept_norms, points),
            "bandwidth": Entry(20, lambda: [flat @ flat for _ in range(20)]),
        },
    )
    rows += compare(
        f"{what}, tight groups",
        "picks/s of CPU",
        {
            "ours": Entry(PICKS, lambda: ask("k_centre", scored_tight, PICKS)),
            "google/active-learning-style loop": loop(loops.k_centre_by_pairwise_distances, tight),
        },
    )
    ours = 1 + ask("k_centre", scored, 1 + FEW)
    exact = loops.k_centre_by_pairwise_distances(points.astype(np.float64), [0], 1 + FEW)
    radii = [
        NearestNeighbors(n_neighbors=1).fit(points[[0, *picks]]).kneighbors(points)[0].max() for picks in (ours, exact)
    ]
    rows.append(
        quality(f"covering radius, {1 + FEW} picks", "greedy in double precision", *radii, "distance", more=False)
    )
    return rows


def measure_k_means_pp() -> list[dict[str, Any]]:
    points = np.random.default_rng(1).standard_normal((POOL, SIZE)).astype(np.float32)

    def theirs(among: np.ndarray, num: int) -> np.ndarray:
        return kmeans_plusplus(among, num, n_local_trials=1, random_state=0)[1]

    what = f"k-means++, {POOL:,} × {SIZE}, {PICKS} picks"
    rows = []
    for told, among in ((what, points), (f"{what}, tight groups", tight_groups())):
        entries: Measured = {
            "ours": Entry(PICKS, partial(ask, "kmeans_pp", pool_of(among), PICKS)),
            "sklearn kmeans_plusplus(n_local_trials=1)": Entry(
                FEW, partial(theirs, among, 1 + FEW), partial(theirs, among, 1)
            ),
        }
        rows += compare(told, "picks/s of CPU", entries)
    grouped = groups(GROUPED)
    potentials = [
        statistics.mean(potential(grouped, pick(seed)) for seed in range(3))
        for pick in (
            lambda seed: ask("kmeans_pp", pool_of(grouped), 100, seed),
            lambda seed: kmeans_plusplus(grouped, 100, n_local_trials=1, random_state=seed)[1],
        )
    ]
    rows.append(
        quality(
            "potential of k-means++, 100 picks, 3 seeds", "sklearn", *potentials, "mean squared distance", more=False
        )
    )
    return rows


def potential(points: np.ndarray, picks: np.ndarray) -> float:
    distances = NearestNeighbors(n_neighbors=1).fit(points[picks]).kneighbors(points)[0]
    return float((distances.astype(np.float64) ** 2).mean())


def measure_badge() -> list[dict[str, Any]]:
    rng = np.random.default_rng(2)
    points = rng.standard_normal((POOL, SIZE)).astype(np.float32)
    fractions = rng.dirichlet(np.ones(CLASSES), size=POOL).astype(np.float32)
    error = fractions.copy()
    error[np.arange(POOL), error.argmax(axis=1)] -= 1
    what = f"BADGE, {POOL:,} × {SIZE} × {CLASSES} classes, {PICKS} picks"
    rows = []
    for told, among in ((what, points), (f"{what}, tight groups", tight_groups())):
        public = partial(loops.badge_by_factors, error, among)
        entries: Measured = {
            "ours": Entry(PICKS, partial(ask, "badge", pool_of(among, class_fractions=fractions), PICKS)),
            "public factorised-style loop": Entry(FEW, partial(public, 2 + FEW, 0), partial(public, 2, 0)),
        }
        rows += compare(told, "picks/s of CPU", entries)
    return rows


def measure_aift() -> list[dict[str, Any]]:
    rows = []
    for num_classes in (2, CLASSES):
        probs = np.random.default_rng(3).dirichlet(np.ones(num_classes), size=(VIEWS, 50_000)).astype(np.float32)
        ours = scorers.bind(Choice(kind="aift", alpha=1.0))
        given, theirs = np.swapaxes(probs, 1, 2), np.ascontiguousarray(probs.swapaxes(0, 1))
        what = f"AIFT, {VIEWS} views, {num_classes} classes"
        entries: Measured = {
            "ours": Entry(50_000, lambda: ours(given)),  # noqa: B023 (called in this turn of the loop)
            "nested-style loop": Entry(100, lambda: loops.aift_by_nested_loops(theirs[:100], CLIP)),  # noqa: B023
            "numpy, a matrix of views": Entry(2048, lambda: loops.aift_by_batched_matrices(theirs[:2048], CLIP)),  # noqa: B023
        }
        rows += compare(what, "candidates/s of CPU", entries)
        exact = loops.aift_by_nested_loops(theirs[:500], CLIP)
        error = float((np.abs(ours(given)[:500] - exact) / np.abs(exact)).max())
        print(f"{what}: largest relative error {error:.1e}")
        assert error <= 1e-5
        assert (ours(given) >= 0).all()
    return rows


def measure_facility_location() -> list[dict[str, Any]]:
    points = groups(COVERED)
    likeness = np.maximum(points @ points.T, 0)

    def objective(picks: Any) -> float:
        return float(likeness[:, np.asarray(picks)].max(axis=1).sum(dtype=np.float64))

    def ours() -> np.ndarray:
        return ask("facility_location", pool_of(points), COVERING)

    def by_apricot() -> Callable[[], np.ndarray]:
        select = importlib.import_module("apricot").FacilityLocationSelection
        return lambda: select(COVERING, metric="precomputed", optimizer="lazy").fit(likeness).ranking

    def by_submodlib() -> list[int]:
        function = importlib.import_module("submodlib").FacilityLocationFunction(
            n=COVERED, mode="dense", separate_rep=False, sijs=likeness
        )
        picks = function.maximize(budget=COVERING, optimizer="LazyGreedy", show_progress=False)
        return [pick for pick, _ in picks]

    entries: Measured = {"ours": Entry(COVERING, ours)}
    sums = {"ours, likeness included": objective(ours())}
    for name, make in {
        "apricot lazy, likeness given": by_apricot,
        "submodlib LazyGreedy, likeness given": lambda: importlib.import_module("submodlib") and by_submodlib,
    }.items():
        entries[name] = peer(lambda make=make: Entry(COVERING, make()))
        if isinstance(entries[name], Entry):
            sums[name] = objective(entries[name].work())
    print(sums)
    best = max(sums.values())
    assert all(total > best * (1 - 1e-6) for total in sums.values()), sums
    return compare(
        f"facility location, {COVERED:,} × {SIZE}, {COVERING} picks, equal objective", "picks/s of CPU", entries
    )


def groups(num: int, num_groups: int = GROUPS, spread: float = 0.7) -> np.ndarray:
    """Directions around 200 others: what embeddings of many kinds of image look like."""
    rng = np.random.default_rng(4)
    centres = rng.standard_normal((num_groups, SIZE))
    points = centres[rng.integers(0, num_groups, num)] + spread * rng.standard_normal((num, SIZE))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def measure_typicality() -> list[dict[str, Any]]:
    points = groups(GROUPED)
    by_sklearn = NearestNeighbors(n_neighbors=1 + NEIGHBOURS, algorithm="brute").fit(points)
    exact = by_sklearn.kneighbors()[1][:, :NEIGHBOURS]

    def typical(distances: np.ndarray) -> np.ndarray:
        return 1 / (distances[:, 1:].mean(axis=1) + 1e-5)

    def flat() -> Entry:
        faiss = importlib.import_module("faiss")
        faiss.omp_set_num_threads(1)

        def work() -> np.ndarray:
            index = faiss.IndexFlatL2(SIZE)
            index.add(points)
            return typical(np.sqrt(np.maximum(index.search(points, 1 + NEIGHBOURS)[0], 0)))

        return Entry(GROUPED, work)

    def by_cells(search: bool = False) -> Any:
        faiss = importlib.import_module("faiss")
        faiss.omp_set_num_threads(1)
        index = faiss.IndexIVFFlat(faiss.IndexFlatL2(SIZE), SIZE, 256)
        index.train(points)
        index.add(points)
        index.nprobe = 8
        distances, found = index.search(points, 1 + NEIGHBOURS)
        return found[:, 1:] if search else typical(np.sqrt(np.maximum(distances, 0)))

    brute = Entry(GROUPED, lambda: typical(by_sklearn.kneighbors(points)[0]))
    what = f"typicality, {GROUPED:,} × {SIZE}, {NEIGHBOURS} neighbours"
    rows = compare(
        f"{what}, exact",
        "points/s of CPU",
        {
            "ours": Entry(GROUPED, lambda: typicality(points, NEIGHBOURS)),
            "sklearn brute": brute,
            "faiss IndexFlatL2": peer(flat),
        },
    )
    ours = Entry(GROUPED, lambda: _probable_typicality(points))
    faiss_cells = peer(lambda: Entry(GROUPED, importlib.import_module("faiss") and by_cells))
    rows += compare(
        f"{what}, probable",
        "points/s of CPU",
        {"ours": ours, "sklearn brute": brute, "faiss IndexIVFFlat, 8 of 256 cells": faiss_cells},
    )
    assert recall(nearest_neighbours(points, NEIGHBOURS), exact) > 0.9999
    found = recall(probable_neighbours(points, NEIGHBOURS, rng=np.random.default_rng(0)), exact)
    assert found >= 0.99, found
    theirs = recall(by_cells(search=True), exact) if isinstance(faiss_cells, Entry) else 1.0
    name = "faiss IndexIVFFlat, 8 of 256 cells" if isinstance(faiss_cells, Entry) else "sklearn brute"
    return [*rows, quality(f"{what}, recall", name, found, theirs, "share of neighbours", more=True)]


def _probable_typicality(points: np.ndarray) -> np.ndarray:
    from hilum.select.neighbours import distances_to

    neighbours = probable_neighbours(points, NEIGHBOURS, rng=np.random.default_rng(0))
    return 1 / (np.sqrt(distances_to(points, neighbours)).mean(axis=1) + 1e-5)


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.mean([len(np.intersect1d(a, b)) / len(b) for a, b in zip(found, exact, strict=True)]))


def measure_bald() -> list[dict[str, Any]]:
    probs = np.random.default_rng(5).dirichlet(np.ones(CLASSES), size=(PASSES, 50_000)).astype(np.float32)
    given, theirs = np.swapaxes(probs, 1, 2), np.ascontiguousarray(np.moveaxis(probs, 0, 2))
    ours = scorers.bind(Choice(kind="mutual_information"))

    def baal() -> Entry:
        bald = importlib.import_module("baal.active.heuristics").BALD()
        np.testing.assert_allclose(ours(given), bald.compute_score(theirs), atol=1e-5)
        return Entry(50_000, lambda: bald.compute_score(theirs))

    def in_torch() -> object:
        p = torch.from_numpy(probs)
        mean = p.mean(0)
        return torch.special.entr(mean).sum(-1) - torch.special.entr(p).sum(-1).mean(0)

    entries: Measured = {
        "ours": Entry(50_000, lambda: ours(given)),
        "BaaL BALD": peer(baal),
        "torch.special.entr": Entry(50_000, in_torch),
    }
    return compare(f"BALD, {PASSES} passes, {CLASSES} classes", "candidates/s of CPU", entries)


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    kernel = next((pool.get("architecture", "?") for pool in threadpool_info() if pool["user_api"] == "blas"), "?")
    print(f"numpy's BLAS kernel is {kernel}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    rows: list[dict[str, Any]] = []
    with threadpool_limits(1):
        for measure in (
            measure_k_centre,
            measure_k_means_pp,
            measure_badge,
            measure_aift,
            measure_facility_location,
            measure_typicality,
            measure_bald,
        ):
            rows += measure()
    made = f"numpy {version('numpy')} on {kernel}, scikit-learn {version('scikit-learn')}"
    write("selection", [{**one, "hardware": f"{one['hardware']}, {made}"} for one in rows])


if __name__ == "__main__":
    main()
