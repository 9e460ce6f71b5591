"""A real uvicorn on loopback in a thread, and a store whose volume looks different from every side."""

import threading
import time
from contextlib import contextmanager

import httpx
import numpy as np
import uvicorn

from hilum.core.geometry import Grid
from hilum.core.imaging import Study, Volume
from hilum.core.recipes import IngestRecipe
from hilum.store.manifest import Run
from hilum.store.opening import create_store
from hilum.store.tables import QUARANTINE, write_rows
from hilum.store.volumes import write_volume, write_volume_table

KEY, OTHER_KEY = "image-key-0123456789abcdef", "other-key-0123456789abcdef"
SECRET = "webhook-secret-0123456789"
ORIGIN = "http://label-studio.test:8080"
CLIENT = httpx.Client(timeout=60, trust_env=False)
"""Kept: making one reads all certificates of the machine."""

CLASSES = ("background", "organ", "lesion")


@contextmanager
def serving(app):
    """The base URL at which ``app`` answers."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert thread.is_alive()
        assert time.monotonic() < deadline, "uvicorn does not start"
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


def phantom_volume(volume_id="a1b2c3d4e5f6", *, modality="CT"):
    """A CT whose array runs neither as a radiologist looks nor alike along any two axes."""
    # Array axes are the patient's x, z and y: towards the left, the head, and the back.
    direction = ((-1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))
    grid = Grid((10, 14, 18), (2.5, 0.8, 0.6), (10.0, -20.0, 30.0), direction)
    return Volume(volume_id, Study("0" * 12, "1" * 12), grid, grid.shape_zyx, 1, modality, -900.0, 1200.0, False)


def phantom_image(volume):
    rng = np.random.default_rng(3)
    return rng.integers(-1000, 1400, (volume.num_channels, *volume.grid.shape_zyx), dtype=np.int16)


def stored(url, *pairs, class_names=CLASSES):
    """A store with these volumes and images, and the id of their ingest."""
    store, _ = create_store(url)
    run = Run(store, "ingest", 1, IngestRecipe(patch_shape_zyx=(8, 8, 8), class_names=class_names), {"source": "0"})
    for volume, image in pairs:
        write_volume(store, volume, image, None, patch_shape_zyx=(8, 8, 8))
    write_volume_table(run.path("volumes.parquet"), [volume for volume, _ in pairs])
    write_rows(run.path("quarantine.parquet"), QUARANTINE, [])
    files = ["volumes.parquet", "quarantine.parquet"]
    run.commit(files=files, num_volumes=len(pairs), num_quarantined=0, class_names=list(class_names))
    return store, run.run_id
