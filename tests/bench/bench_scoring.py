"""Scoring beside a plain PyTorch loop, how soon a second round scores, and selection of many.

Run with ``make bench THEME=scoring``. The plain loop has its batches in memory and does nothing but
ask the network and keep mean probabilities; ours reads them from the store, scores, embeds, checks and
writes Parquet. Both take turns, with the same priority: in one process and one thread by process CPU
time, both with the memory allocator as our workers set it (which helps the loop as much), and on two
cores by the clock, ours with two warm workers and the loop in two processes as Python starts them.
"""

import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from rows import missing_row, row, write

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.ray_data import RayExecutor, connect
from hilum.adapters.ray_workers import keep_freed_memory
from hilum.core.geometry import Grid
from hilum.core.imaging import Study, Volume
from hilum.core.recipes import ArmRecipe, Choice, IngestRecipe, PoolRecipe, ScoreRecipe, SelectRecipe
from hilum.core.resources import Resources
from hilum.nn.predictor import network_of_card, weights_of
from hilum.steps import pool, score, select
from hilum.steps.predictor import load_predictor
from hilum.steps.score_shard import ScorePlan, score_shard
from hilum.store import checkpoints
from hilum.store.columns import lists
from hilum.store.layout import Store
from hilum.store.manifest import Run
from hilum.store.opening import create_store, open_store
from hilum.store.tables import scores_schema, write_table
from hilum.store.volumes import volumes_of, write_volume, write_volume_table

SHAPE, BATCH, TURNS = (48, 320, 320), 64, 5
NUM_IN_TURN, NUM_SHARDS = 4096, 3
POOL = PoolRecipe(patch_shape_zyx=(1, 64, 64), stride_zyx=(1, 16, 16), candidates_per_shard=NUM_IN_TURN)
RECIPE = ScoreRecipe(scorers=(Choice(kind="entropy"),))
HOW = {"executor": InlineExecutor(), "resources": Resources(score_batch_size=BATCH)}
CARD = {
    "question": "segment",
    "architecture": {"kind": "unet", "depth": 2, "features": [8, 16, 32]},
    "spatial_dims": 2,
    "in_channels": 1,
    "num_classes": 2,
    "class_names": ["background", "lesion"],
    "recipe": {},
    "inputs": {},
    "licence": "Apache-2.0",
}
SELECTED, SIZE = 1000, 64


def made_store(folder: Path) -> tuple[Store, str]:
    """A store with one smooth, noisy volume, and its ingest."""
    store, _ = create_store(str(folder))
    rng = np.random.default_rng(0)
    image = (np.cumsum(rng.normal(0, 8, (1, *SHAPE)), axis=3) + 500).astype(np.int16)
    volume = Volume("0ddba11c0de5", Study("s", "p"), Grid(SHAPE), SHAPE, 1, "MR", 0.0, 1000.0, False, (), "pool")
    write_volume(store, volume, image, None, patch_shape_zyx=(1, 64, 64))
    return store, ingested(store, [volume])


def ingested(store: Store, volumes: list[Volume]) -> str:
    recipe = IngestRecipe(class_names=("background", "lesion"))
    run = Run(store, "ingest", 1, recipe, {"source": "bench" + str(len(volumes))})
    write_volume_table(run.path("volumes.parquet"), volumes)
    run.commit(files=["volumes.parquet"], class_names=["background", "lesion"])
    return run.run_id


def checkpoint(store: Store, seed: int) -> str:
    checkpoint_id = f"{seed:012x}"
    checkpoints.save(store, checkpoint_id, weights_of(network_of_card(CARD, seed=seed)), CARD)
    return checkpoint_id


def plan_of(store: Store, pool_id: str, ingest_id: str, checkpoint_id: str, turn: int) -> ScorePlan:
    run_url = f"{store.url}/turn-{turn}"
    return ScorePlan(store, RECIPE, HOW["resources"], pool_id, ingest_id, checkpoint_id, NUM_IN_TURN, run_url)


def plain_loop(store_url: str, checkpoint_id: str, batches: list[np.ndarray], num_times: int = 1) -> float:
    """Candidates a second of CPU time of a loop that asks the network and keeps each class's mean probability."""
    network = load_predictor(open_store(store_url), checkpoint_id).network
    kept: list[np.ndarray] = []
    begin = time.process_time()
    with torch.inference_mode():
        for _ in range(num_times):
            for batch in batches:
                probs = torch.softmax(network(torch.from_numpy(batch)), dim=1)
                kept.append(probs.mean(dim=(2, 3)).numpy())
    return sum(map(len, kept)) / (time.process_time() - begin)


def measure_throughput(store: Store, pool_id: str, ingest_id: str) -> list[dict[str, Any]]:
    torch.set_num_threads(1)
    keep_freed_memory()
    one = checkpoint(store, 1)
    images = np.random.default_rng(1).random((NUM_IN_TURN, 1, 64, 64), dtype=np.float32)
    batches = [images[i : i + BATCH] for i in range(0, NUM_IN_TURN, BATCH)]
    ours, theirs = [], []
    for turn in range(TURNS + 1):
        theirs.append(plain_loop(store.url, one, batches))
        begin = time.process_time()
        score_shard(turn % NUM_SHARDS, plan=plan_of(store, pool_id, ingest_id, one, turn))
        ours.append(NUM_IN_TURN / (time.process_time() - begin))
    a, b = statistics.median(ours[1:]), statistics.median(theirs[1:])
    what = f"steady scoring, {1000 * BATCH / b:.0f} ms a batch of {BATCH}: read, network, score, embedding, Parquet"
    return [row(what, "plain PyTorch loop over batches in memory", a, b, unit="candidates/s of CPU time, 1 core")]


def _timed_loop(store_url: str, checkpoint_id: str, ready: Any, go: Any, seconds: Any) -> None:
    torch.set_num_threads(1)
    images = np.random.default_rng(1).random((NUM_IN_TURN, 1, 64, 64), dtype=np.float32)
    batches = [images[i : i + BATCH] for i in range(0, NUM_IN_TURN, BATCH)]
    plain_loop(store_url, checkpoint_id, batches[:4])
    for _ in range(TURNS):
        ready.wait()
        go.wait()
        begin = time.monotonic()
        plain_loop(store_url, checkpoint_id, batches, num_times=2)
        seconds.put(time.monotonic() - begin)


def measure_two_cores(store: Store, pool_id: str) -> list[dict[str, Any]]:
    """By the clock: two warm workers against two processes, in turns, and how soon a second round scores."""
    connect()
    how = {"store": store, "executor": RayExecutor(), "resources": HOW["resources"]}
    two = checkpoint(store, 2)
    spawn = multiprocessing.get_context("spawn")
    ready, go, seconds = spawn.Barrier(3), spawn.Barrier(3), spawn.Queue()
    loops = [spawn.Process(target=_timed_loop, args=(store.url, two, ready, go, seconds)) for _ in range(2)]
    for loop in loops:
        loop.start()
    score.run(RECIPE, {"pool": pool_id, "checkpoint": two}, **how)
    num = pool.read_pool(store, pool_id).num_rows
    ours, theirs = [], []
    for turn in range(TURNS):
        ready.wait()
        go.wait()
        theirs.append(4 * NUM_IN_TURN / max(seconds.get(), seconds.get()))
        begin = time.monotonic()
        score.run(RECIPE, {"pool": pool_id, "checkpoint": checkpoint(store, 10 + turn)}, **how)
        ours.append(num / (time.monotonic() - begin))
    for loop in loops:
        loop.join()
    what = f"a whole round of {num:,} candidates on two warm workers, its start and end included"
    peer = "plain PyTorch loop over batches in memory, two processes"
    made = [row(what, peer, statistics.median(ours), statistics.median(theirs), unit="candidates/s, clock", threads=2)]
    starts = [first_part_seconds(store, pool_id, 100 + turn, how) for turn in range(TURNS)]
    reason = "a plain loop has no rounds; the target is 1 second"
    what = "from asking a later round to its first scored batch on disk, with a new checkpoint"
    return [*made, missing_row(what, "", statistics.median(starts) * 1000, unit="ms", reason=reason, threads=2)]


def first_part_seconds(store: Store, pool_id: str, seed: int, how: dict[str, Any]) -> float:
    """Until the first part of a pool whose parts are one batch each."""
    inputs = {"pool": pool_id, "checkpoint": checkpoint(store, seed)}
    small = pool.run(
        POOL.model_copy(update={"stride_zyx": (1, 64, 64), "candidates_per_shard": BATCH}),
        {"ingest": next(iter(volumes_by_ingest(store)))},
        store=store,
        **HOW,
    )
    inputs["pool"] = small.run_id
    begin = time.time()
    done = score.run(RECIPE, inputs, **how)
    folder = Path(store.run("score", done.run_id))
    return min(part.stat().st_mtime for part in folder.glob("part-*")) - begin


def volumes_by_ingest(store: Store) -> list[str]:
    folder = Path(store.path("runs", "ingest"))
    return sorted((path.name for path in folder.iterdir()), key=lambda name: len(volumes_of(store, name)))


def made_scores(store: Store, num_wanted: int) -> tuple[str, str]:
    """A pool of about so many candidates, and what a model might have said of each: numbers of no meaning."""
    shape = (64, 512, 512)
    volumes = [
        Volume(f"{i:012x}", Study(f"s{i}", f"p{i}"), Grid(shape), shape, 1, "MR", 0.0, 1.0, False, (), "pool")
        for i in range(max(2, num_wanted // 62_500))
    ]
    recipe = PoolRecipe(patch_shape_zyx=(1, 32, 32), stride_zyx=(1, 16, 16), split={"validation": 0, "test": 0})
    pooled = pool.run(recipe, {"ingest": ingested(store, volumes)}, store=store, **HOW)
    ids = pool.read_pool(store, pooled.run_id)["candidate_id"].combine_chunks()
    run = Run(store, "score", 1, RECIPE, {"pool": pooled.run_id, "checkpoint": "abcdefabcdef"})
    schema, rng, files = scores_schema(["entropy"]), np.random.default_rng(0), []
    for first in range(0, len(ids), 8192):
        here = ids.slice(first, 8192)
        probs = rng.dirichlet(np.ones(2), len(here)).astype(np.float32)
        embedding = rng.standard_normal((len(here), SIZE)).astype(np.float16)
        columns = [here, pa.array(rng.random(len(here), dtype=np.float32)), pa.array(probs.argmax(1).astype(np.int32))]
        files.append(f"part-{first // 8192:05d}.parquet")
        write_table(
            run.path(files[-1]), pa.Table.from_arrays([*columns, lists(probs), lists(embedding)], schema=schema)
        )
    run.commit(files=files, num_candidates=len(ids), num_scored=len(ids), num_quarantined=0, scores=["entropy"])
    return pooled.run_id, run.run_id


_SELECT = """
import json, sys
sys.path.insert(0, sys.argv[1])
import bench_scoring
print(json.dumps(bench_scoring.selected(*sys.argv[2:])))
"""


def selected(store_url: str, pool_id: str, score_id: str, kind: str) -> dict[str, float]:
    """Seconds and peak memory of one selection, in a process of its own."""
    params = {"score": "entropy"} if kind == "power_top_k" else {}
    recipe = SelectRecipe(arms=(ArmRecipe(share=1.0, sampler=Choice(kind=kind, **params)),), num=SELECTED)
    before = _held_mb("VmRSS")
    begin = time.monotonic()
    inputs = {"score": score_id, "pool": pool_id, "labels": "none"}
    found = select.run(recipe, inputs, store=open_store(store_url), **HOW)
    assert found.results["num_selected"] == SELECTED
    seconds, peak = time.monotonic() - begin, _held_mb("VmHWM")
    return {"seconds": seconds, "more_mb": peak - before, "peak_mb": peak}


def _held_mb(what: str) -> float:
    """Memory of this process: now (VmRSS) or at most since it began (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(what))


def measure_selection(folder: Path) -> list[dict[str, Any]]:
    made = []
    for num in (100_000, 1_000_000):
        store, _ = create_store(str(folder / str(num)))
        pool_id, score_id = made_scores(store, num)
        count = pool.read_pool(store, pool_id).num_rows
        for kind in ("power_top_k", "k_centre"):
            words = [sys.executable, "-c", _SELECT, str(Path(__file__).parent), store.url, pool_id, score_id, kind]
            said = json.loads(subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout)
            reason = f"no peer selects from files; its process held {said['peak_mb']:.0f} MB at most"
            what = f"selecting {SELECTED:,} of {count:,} by {kind}, embeddings of {SIZE}, from Parquet to Parquet"
            made.append(missing_row(what, "", said["seconds"], unit="s", reason=reason))
            what = f"memory it adds, {SELECTED:,} of {count:,} by {kind}"
            made.append(missing_row(what, "", said["more_mb"], unit="MB", reason=reason))
    return made


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store, ingest_id = made_store(Path(folder) / "store")
        pool_id = pool.run(POOL, {"ingest": ingest_id}, store=store, **HOW).run_id
        made = measure_throughput(store, pool_id, ingest_id)
        made += measure_two_cores(store, pool_id)
        made += measure_selection(Path(folder))
    for one in made:
        print(f"{one['what']:105} {one['ours']:10,.1f} {one['theirs'] or '':>10} {one['unit']:32} {one['ratio'] or ''}")
    write("scoring", made)


if __name__ == "__main__":
    main()
