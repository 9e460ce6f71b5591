"""Core-sets on up to a million candidates, and the plan for a hundred million: ``make evidence WHAT=scale``.

Runs the demo in ``FOLDER`` for real embeddings, draws candidates from them with seeded noise, times both rounds in one
process and writes the page. Two CPU cores take a few minutes, after the demo.
"""

import argparse
import datetime
import io
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tests.evidence.commands import PAGES, ROOT, hardware, type_hilum
from tests.evidence.scale_page import Measured, Sizes, page

from hilum.core.recipes import Choice
from hilum.core.registry import samplers
from hilum.select import builtin  # noqa: F401 (registers our samplers)
from hilum.select.core_sets import core_set, num_nearest
from hilum.select.labelled import nearest_labelled
from hilum.select.scored import HalfOrFloats, Ints, ScoredPool
from hilum.steps.pool import read_pool
from hilum.store.columns import matrix
from hilum.store.manifest import read_manifest
from hilum.store.opening import open_store
from hilum.store.score_parts import part_names
from hilum.store.tables import read_table, scores_schema

NOISES = (0.1, 1.0)
NUM_SHARDS = 10
NUM_LABELLED = 100


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path, nargs="?", default=ROOT / "evidence", help="where the demo's store is")
    options.add_argument("--num", type=int, action="append", help="candidates; may be repeated")
    options.add_argument("--picks", type=int, action="append", help="picks of a round; may be repeated")
    given = options.parse_args()
    url = given.folder / "scale"
    if not (url / "report.html").exists():
        type_hilum("demo", "--data", "packaged", "--store", str(url))
    real_ND, bytes_pool_row = real_embeddings(str(url))
    warm_up()
    sizes = sizes_of(real_ND, bytes_pool_row)
    found = []
    for num in given.num or (100_000, 1_000_000):
        for num_picks in given.picks or (100, 1000):
            for noise in NOISES:
                found += [measured(kind, real_ND, noise, num, num_picks) for kind in ("k_centre", "kmeans_pp")]
                print(found[-2:], flush=True)
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    file = PAGES / "scale.md"
    file.write_text(page(found, sizes, hardware=hardware(), date=today), encoding="utf-8")
    print(f"Written to {file}")


def real_embeddings(url: str) -> tuple[HalfOrFloats, float]:
    """The embeddings (N, D) of the demo's largest score run by a model, and a pool row's bytes in memory."""
    store = open_store(url)
    runs = (read_manifest(str(path.parent)) for path in sorted(Path(url).glob("runs/score/*/manifest.json")))
    scores = max((run for run in runs if run.inputs["checkpoint"] != "none"), key=lambda run: run.results["num_scored"])
    schema = scores_schema(scores.results["scores"])
    parts = [read_table(f"{store.run('score', scores.run_id)}/{name}", schema) for name in part_names(scores)]
    pool = read_pool(store, scores.inputs["pool"])
    return matrix(pa.concat_tables(parts)["embedding"]), pool.nbytes / pool.num_rows


def drawn(real_ND: HalfOrFloats, num: int, *, noise: float, seed: int) -> HalfOrFloats:
    """``num`` real embeddings, drawn with return, each moved by ``noise`` deviations of every dimension."""
    rng = np.random.default_rng(seed)
    deviation_D = real_ND.astype(np.float32).std(axis=0)
    rows = rng.integers(len(real_ND), size=num)
    moved = rng.standard_normal((num, real_ND.shape[1]), np.float32) * (noise * deviation_D)
    return (real_ND[rows] + moved).astype(np.float16)


def measured(kind: str, real_ND: HalfOrFloats, noise: float, num: int, num_picks: int) -> Measured:
    """Time one process and two rounds on the same candidates, beside the same that are labelled."""
    sampler = samplers.bind(Choice(kind=kind))
    points_ND, labelled_LD = (
        drawn(real_ND, size, noise=noise, seed=seed) for size, seed in ((num, num), (NUM_LABELLED, 1))
    )
    one, seconds_one = timed(sampler, pool_of(points_ND, labelled_LD), num_picks, rng=np.random.default_rng(0))
    union: list[Ints] = []
    weights: list[Ints] = []
    seconds_round_1 = seconds_weights = 0.0
    order = np.random.default_rng(2).permutation(num)
    for shard, rows in enumerate(np.array_split(order, NUM_SHARDS)):
        scored, rng = pool_of(points_ND[rows], labelled_LD), np.random.default_rng([0, shard])
        chosen, seconds = timed(core_set, scored, [sampler], num_picks, rng=rng)
        seconds_round_1 += seconds
        union.append(rows[chosen])
        if kind == "kmeans_pp":
            weight, seconds = timed(num_nearest, scored.embedding, scored.embedding[chosen])
            seconds_weights += seconds
            weights.append(weight)
    rows = np.concatenate(union)
    of_union = pool_of(points_ND[rows], labelled_LD, np.concatenate(weights) if weights else None)
    picks, seconds_round_2 = timed(sampler, of_union, num_picks, rng=np.random.default_rng(0))
    return Measured(
        kind=kind,
        noise=noise,
        num=num,
        num_picks=num_picks,
        num_shards=NUM_SHARDS,
        num_union=len(rows),
        seconds_one=seconds_one,
        seconds_round_1=seconds_round_1,
        seconds_weights=seconds_weights,
        seconds_round_2=seconds_round_2,
        of_one=covered(kind, points_ND, np.concatenate([labelled_LD, points_ND[one]])),
        of_two=covered(kind, points_ND, np.concatenate([labelled_LD, points_ND[rows[picks]]])),
    )


def covered(kind: str, points_ND: HalfOrFloats, centres_CD: HalfOrFloats) -> float:
    _, apart_N = nearest_labelled(points_ND, centres_CD)
    return float(apart_N.max() if kind == "k_centre" else (apart_N**2).mean())


def pool_of(points_ND: HalfOrFloats, labelled_LD: HalfOrFloats, weight: Ints | None = None) -> ScoredPool:
    ids = np.char.zfill(np.arange(len(points_ND)).astype(np.str_), 9)
    return ScoredPool(candidate_ids=ids, embedding=points_ND, labelled_embedding=labelled_LD, weight=weight)


def sizes_of(real_ND: HalfOrFloats, bytes_pool_row: float, num: int = 100_000) -> Sizes:
    """Write and read a part of ``num`` candidates as a score run has it, with one score and five classes."""
    points_ND = drawn(real_ND, num, noise=NOISES[0], seed=3)
    columns = {
        "candidate_id": [f"{n:012x}" for n in range(num)],
        "score_margin": np.random.default_rng(4).random(num, np.float32),
        "predicted_class": np.zeros(num, np.int32),
        "class_fractions": list(np.random.default_rng(5).random((num, 5), np.float32)),
        "embedding": list(points_ND),
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(columns, schema=scores_schema(["margin"])), sink, compression="zstd")
    _, seconds = timed(opened, sink.getvalue())
    centres = 1000
    _, seconds_of_all = timed(num_nearest, points_ND, points_ND[:centres])
    return Sizes(
        dimensions=real_ND.shape[1],
        num_real=len(real_ND),
        num_labelled=NUM_LABELLED,
        bytes_parquet=len(sink.getvalue()) / num,
        seconds_read=seconds / num,
        bytes_pool_row=bytes_pool_row,
        seconds_distance=seconds_of_all / (num * centres),
    )


def opened(payload: bytes) -> HalfOrFloats:
    """What a worker does with a part before it can choose."""
    table = pq.read_table(io.BytesIO(payload)).sort_by("candidate_id").combine_chunks()
    np.array(table["candidate_id"].to_pylist(), np.str_)
    return matrix(table["embedding"])


def timed(call, *args, **options):  # type: ignore[no-untyped-def]
    began = time.perf_counter()
    result = call(*args, **options)
    return result, time.perf_counter() - began


def warm_up() -> None:
    """Have numba compile what is measured."""
    for kind in ("k_centre", "kmeans_pp"):
        measured(kind, np.random.default_rng(0).normal(size=(300, 8)).astype(np.float16), 0.1, 1000, 5)


if __name__ == "__main__":
    main()
