"""What a round asks of an object store, counted by the store: ``make bench THEME=requests``.

The server is moto's on loopback, which writes a line for every request. Scans of 64³ voxels are ingested and one
campaign goes one round, all in one process; a second campaign asks more. Twice as many scans and three times as many
answers tell what each of them costs; the rest is what a round costs whatever its size. Writes are PUT, POST and
listings, which stores charge alike; reads are GET and HEAD.
"""

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import s3fs
from rows import missing_row, write

from hilum.adapters.folders import find_source
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.reading import read_item
from hilum.cli.composition import annotator_of
from hilum.core.recipes import CampaignRecipe, IngestRecipe
from hilum.core.resources import Resources
from hilum.loop.campaign import Campaign
from hilum.steps import ingest
from hilum.store.ledger import open_ledger
from hilum.store.opening import create_store
from hilum.testing.campaigns import tiny_recipe

BUCKET, SIZE, PATCH, NUM_HELD_OUT = "bench", 64, (32, 32, 32), 4
SCANS, ANSWERS = (6, 12), (5, 15)
ANSWERED = ("published", "collected", "trained")
NO_PEER = "nobody else's round writes the same things"
_LINE = re.compile(r'"(GET|HEAD|PUT|POST|DELETE) (\S+) HTTP')
Counted = Counter[str]


class Server:
    """S3 on loopback, and how often it was asked."""

    def __init__(self, log: Path) -> None:
        self._log, self._seen = log, 0

    def since_last(self) -> Counted:
        """Requests since this was asked last, as ``reads`` and ``writes``; DELETE costs nothing."""
        lines = self._log.read_text().splitlines()
        new, self._seen = lines[self._seen :], len(lines)
        return Counter(_kind(found) for line in new if (found := _LINE.search(line)) and found[1] != "DELETE")


def _kind(found: re.Match[str]) -> str:
    is_listing = found[1] == "GET" and ("list-type" in found[2] or "prefix=" in found[2])
    return "writes" if is_listing or found[1] in {"PUT", "POST"} else "reads"


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "requests.log"
    with log.open("wb") as file:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=file, stderr=file)
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_REGION": "us-east-1",
        "HILUM_IDENTITY_KEY": "0" * 64,
    }
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        s3fs.S3FileSystem().mkdir(BUCKET)
        yield Server(log)
    finally:
        process.terminate()
        process.wait(20)


def scans(folder: Path, num: int) -> Path:
    """A ball in noise, ``num`` times for the pool and a few more on the other sides, with its label map."""
    rng = np.random.default_rng(num)
    rows = ["image,label,patient,side"]
    apart = np.stack(np.mgrid[:SIZE, :SIZE, :SIZE]) - SIZE / 2
    ball = (np.sqrt((apart**2).sum(axis=0)) < SIZE / 3).astype(np.uint8)
    for number in range(num + NUM_HELD_OUT):
        side = "pool" if number < num else "validation" if number % 2 else "test"
        image = rng.normal(0, 50, ball.shape) + 400.0 * ball
        for name, array in (("image", image.astype(np.int16)), ("label", ball)):
            nib.save(nib.Nifti1Image(array, np.eye(4)), folder / f"{name}{number}.nii.gz")
        rows.append(f"image{number}.nii.gz,label{number}.nii.gz,p{number},{side}")
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    return folder


def recipe_of(num_answers: int) -> CampaignRecipe:
    tiny = tiny_recipe("segment", num_rounds=1, num_per_round=num_answers)
    pool = tiny.pool.model_copy(update={"patch_shape_zyx": PATCH, "stride_zyx": PATCH})
    return tiny.model_copy(update={"pool": pool})


def counted(server: Server, num_scans: int) -> dict[str, Counted]:
    """Requests of each stage: one ingest, one round, and another that asks more."""
    with tempfile.TemporaryDirectory() as folder:
        source = find_source(str(scans(Path(folder), num_scans)))
        store, _ = create_store(f"s3://{BUCKET}/{num_scans}")
        server.since_last()
        made = ingest.run(
            IngestRecipe(patch_shape_zyx=PATCH, class_names=("background", "ball")),
            source,
            store=store,
            executor=InlineExecutor(),
            resources=Resources(),
            read=read_item,
        )
    found = {"ingest": server.since_last()}
    with tempfile.TemporaryDirectory() as folder:
        ledger = open_ledger(store, f"sqlite:///{folder}/ledger.sqlite")
        for name, num_answers in zip(("few", "more"), ANSWERS, strict=True):
            recipe = recipe_of(num_answers)
            campaign = Campaign.create(store, name, recipe, ingest_id=made.run_id, ledger=ledger)
            annotator = annotator_of(store, made.run_id, recipe.annotator)
            server.since_last()
            while event := campaign.advance(executor=InlineExecutor(), annotator=annotator):
                found[f"{name} {event.stage}"] = server.since_last()
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        small, large = (counted(server, num) for num in SCANS)
    for stage in large:
        print(f"{stage:20} {dict(small[stage])} {dict(large[stage])}")
    write("requests", list(rows(small, large)))


def rows(small: dict[str, Counted], large: dict[str, Counted]) -> Iterator[dict[str, Any]]:
    more_scans, more_answers = SCANS[1] - SCANS[0], ANSWERS[1] - ANSWERS[0]
    for kind in ("reads", "writes"):
        ingested = large["ingest"][kind] - small["ingest"][kind]
        scored = large["few scored"][kind] - small["few scored"][kind]
        answered = sum(large[f"more {stage}"][kind] - large[f"few {stage}"][kind] for stage in ANSWERED)
        whole = sum(large[stage][kind] for stage in large if stage.startswith("few"))
        a_scan, an_answer = scored / more_scans, answered / more_answers
        figures = {
            "ingest, a scan of one shard with its label map": ingested / more_scans,
            "score, a scan of eight candidates": a_scan,
            "ask and learn, an answer": an_answer,
            "the rest of a round": whole - SCANS[1] * a_scan - ANSWERS[0] * an_answer,
        }
        for what, num in figures.items():
            yield missing_row(f"{what}, {kind}", "", num, unit="requests", reason=NO_PEER)


if __name__ == "__main__":
    main()
