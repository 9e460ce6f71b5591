"""Images that are answered later: what was asked, the image without its identity, how far it is, and the answer.

jobs/<job_id>/asked.json     what was asked, by whom (the hash of a key), and until when the job is kept
jobs/<job_id>/image.npz      voxels and grid
jobs/<job_id>/state.json     waiting, running, done, failed or cancelled; replaced as it goes on
jobs/<job_id>/answer.bin     the answer, once it is done
"""

import io
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from hilum.core.errors import NotFoundError
from hilum.core.geometry import Grid
from hilum.core.sources import ReadImage
from hilum.store.layout import Store, filesystem
from hilum.store.manifest import read_bytes, read_json, write_bytes, write_json

Status = Literal["waiting", "running", "done", "failed", "cancelled"]
OVER: tuple[Status, ...] = ("done", "failed", "cancelled")

FORMAT_VERSION = 1
_ASKED, _IMAGE, _STATE, _ANSWER = "asked.json", "image.npz", "state.json", "answer.bin"
_KEPT = ("modality", "intensity", "measured_grid", "flags", "window")
"""What is kept of an image beside voxels and grid: nothing that a header said of a person."""


@dataclass(frozen=True)
class State:
    """How far a job is. ``progress`` is a share, 0 to 1; ``error`` the sentence that a failed one ends with."""

    status: Status = "waiting"
    progress: float = 0.0
    error: str | None = None
    answer: Mapping[str, Any] | None = None
    """Of a done one: media type and headers."""

    @property
    def is_over(self) -> bool:
        return self.status in OVER


class Job:
    """One job's folder. Whatever is written is written whole or not at all."""

    def __init__(self, store: Store, job_id: str) -> None:
        self.job_id, self._url = job_id, store.job(job_id)

    def asked(self) -> dict[str, Any]:
        """What was asked; NotFoundError where there is no such job."""
        found: dict[str, Any] = read_json(f"{self._url}/{_ASKED}")
        return found

    def image(self) -> ReadImage:
        with np.load(io.BytesIO(read_bytes(f"{self._url}/{_IMAGE}")), allow_pickle=False) as arrays:
            about = json.loads(str(arrays["about"]))
            voxels = arrays["image_czyx"]
        grid = about["grid"]
        direction = tuple(tuple(row) for row in grid["direction"])
        place = Grid(tuple(grid["shape_zyx"]), tuple(grid["spacing_mm_zyx"]), tuple(grid["origin_mm_xyz"]), direction)
        kept = {name: about[name] for name in _KEPT if name in about}
        window = kept.get("window") and tuple(kept["window"])
        kept |= {"flags": tuple(kept["flags"]), "window": window}
        return ReadImage(voxels, place, tuple(about["item_shape_zyx"]), **kept)

    def state(self) -> State:
        try:
            return State(**read_json(f"{self._url}/{_STATE}"))
        except NotFoundError:
            self.asked()
            return State()

    def write_state(self, state: State) -> None:
        write_json(f"{self._url}/{_STATE}", asdict(state))

    def answer(self) -> bytes:
        return read_bytes(f"{self._url}/{_ANSWER}")

    def finish(self, answer: bytes, about: Mapping[str, Any]) -> None:
        """Keep the answer, and the image no longer. One that was cancelled meanwhile stays cancelled."""
        write_bytes(f"{self._url}/{_ANSWER}", answer)
        self._end(State("done", 1.0, answer=dict(about)))

    def fail(self, sentence: str) -> None:
        self._end(replace(self.state(), status="failed", error=sentence))

    def cancel(self) -> None:
        """End it, unless it is over."""
        self._end(replace(self.state(), status="cancelled"))

    def remove(self) -> None:
        fs, path = filesystem(self._url)
        if fs.exists(path):
            fs.rm(path, recursive=True)

    def _end(self, state: State) -> None:
        if not self.state().is_over:
            self.write_state(state)
        fs, path = filesystem(f"{self._url}/{_IMAGE}")
        if fs.exists(path):
            fs.rm_file(path)


def add_job(store: Store, job_id: str, image: ReadImage, asked: Mapping[str, Any]) -> Job:
    """Keep what is asked of an image until it is answered. The image first: a job without ``asked.json`` is none."""
    url = store.job(job_id)
    about = {"grid": asdict(image.grid), "item_shape_zyx": image.item_shape_zyx}
    about |= {name: getattr(image, name) for name in _KEPT}
    stream = io.BytesIO()
    np.savez(stream, image_czyx=image.image_czyx, about=np.array(json.dumps(about)))
    write_bytes(f"{url}/{_IMAGE}", stream.getvalue())
    write_json(f"{url}/{_ASKED}", {"format_version": FORMAT_VERSION, "since": time.time(), **asked})
    return Job(store, job_id)


def jobs(store: Store) -> Iterator[Job]:
    """Every job that is kept, in the order of their ids."""
    fs, path = filesystem(store.path("jobs"))
    for found in sorted(fs.ls(path, detail=False)) if fs.exists(path) else ():
        job_id = found.rstrip("/").rsplit("/", 1)[-1]
        if fs.exists(f"{found}/{_ASKED}"):
            yield Job(store, job_id)
