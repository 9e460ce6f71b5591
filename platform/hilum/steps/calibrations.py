"""What a calibrate run found, as serving reads it: how sure, how familiar, and what is usual.

``calibration.json`` holds all numbers but two arrays: ``embeddings.safetensors`` holds ``mean`` (D) and ``covariance``
(D, D), float64, where there is a Gaussian of embeddings. Nothing is of any one patient.

Shape letters: N = patches, D = embedding.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from pydantic import BaseModel, ConfigDict, ValidationError

from hilum.core.drift import Histogram
from hilum.core.errors import CorruptionError
from hilum.nn.familiar import Familiar
from hilum.nn.temperature import Fit, tempered
from hilum.store.layout import Store, filesystem
from hilum.store.manifest import MANIFEST, read_bytes, read_json, read_manifest, verify, write_bytes, write_json

STEP = "calibrate"
FORMAT_VERSION = 1
RECORD_FILE, EMBEDDINGS_FILE = "calibration.json", "embeddings.safetensors"

Floats = npt.NDArray[np.floating]


class Unlike(BaseModel):
    """From which distance on a patch is unlike those that the model knows, and how far validation patches are."""

    model_config = ConfigDict(frozen=True)
    threshold: float
    quantiles: dict[str, float]
    num_known: int
    num_validation: int


class Usual(BaseModel):
    """What production is compared with by `hilum.core.drift.psi`. Shares are told before any temperature.

    ``grey_levels`` are those of pool patches, normalised, a histogram a channel; the rest are answers to patches of
    ``answers_of``. A confidence is the likeliest class's probability (of voxels the mean over the patch).
    ``foreground_share`` is a segmenter's, ``class_counts`` a classifier's.
    """

    model_config = ConfigDict(frozen=True)
    grey_levels: tuple[Histogram, ...]
    answers_of: Literal["validation", "pool"]
    num_answers: int
    confidence: Histogram
    foreground_share: Histogram | None
    class_counts: tuple[int, ...] | None


class Record(BaseModel):
    """All that is in calibration.json. What is null has its reason beside it.

    ``window_shape_zyx`` is that of all patches that were embedded, or null where they differ. Embeddings of windows
    of another shape lie elsewhere: they cannot be compared with these.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    format_version: int = FORMAT_VERSION
    checkpoint_id: str
    temperature: Fit | None
    no_temperature: str | None
    num_items: int
    num_voxels: int | None
    window_shape_zyx: tuple[int, int, int] | None
    unlike: Unlike | None
    no_unlike: str | None
    usual: Usual


@dataclass(frozen=True)
class Calibration:
    """A finished run, ready to be asked."""

    run_id: str
    record: Record
    familiar: Familiar | None

    def probabilities(self, probs: Floats, *, class_axis: int = -1) -> Floats:
        """``probs`` at the temperature that was found; as they are where none was."""
        found = self.record.temperature
        return probs if found is None else tempered(probs, found.temperature, class_axis=class_axis)

    def is_unlike(self, embeddings_ND: Floats) -> npt.NDArray[np.bool_] | None:
        """(N,) which windows are unlike what the model knows; None where nobody can tell.

        The embeddings must be this checkpoint's, of windows of ``record.window_shape_zyx``.
        """
        if self.familiar is None or self.record.unlike is None:
            return None
        far_N: npt.NDArray[np.bool_] = self.familiar.distance(embeddings_ND) > self.record.unlike.threshold
        return far_N


def read_calibration(store: Store, checkpoint_id: str) -> Calibration | None:
    """The newest finished calibrate run of a checkpoint, or None; CorruptionError if it changed since it was written.

    Lists one folder; the manifest of a run is read once in a process, for it never changes.
    """
    fs, folder = filesystem(store.path("runs", STEP))
    fs.invalidate_cache()
    manifests = [path for path in fs.glob(f"{folder}/*/{MANIFEST}") if _about(store, _run_of(path)) == checkpoint_id]
    if not manifests:
        return None
    newest = max(manifests, key=lambda path: (fs.modified(path), path)) if len(manifests) > 1 else manifests[0]
    return _load(store, _run_of(newest))


def write_calibration(url: str, record: Record, familiar: Familiar | None) -> list[str]:
    """Write both files of a run into folder ``url``; returns their names."""
    if familiar is not None:
        arrays = {"mean": familiar.mean, "covariance": familiar.covariance}
        write_bytes(f"{url}/{EMBEDDINGS_FILE}", safetensors.numpy.save(arrays))
    write_json(f"{url}/{RECORD_FILE}", record.model_dump(mode="json"))
    return [RECORD_FILE] if familiar is None else [RECORD_FILE, EMBEDDINGS_FILE]


@lru_cache(maxsize=4096)
def _about(store: Store, run_id: str) -> str:
    return read_manifest(store.run(STEP, run_id)).inputs["checkpoint"]


@lru_cache(maxsize=8)
def _load(store: Store, run_id: str) -> Calibration:
    url = store.run(STEP, run_id)
    manifest = read_manifest(url)
    damage = verify(url, manifest)
    if damage:
        raise CorruptionError(f"{url}: {damage[0]}. Delete this folder and calibrate the checkpoint again.")
    content: Any = read_json(f"{url}/{RECORD_FILE}")
    if content.get("format_version", 0) > FORMAT_VERSION:
        raise CorruptionError(f"{url} has format {content['format_version']}; this hilum reads up to {FORMAT_VERSION}.")
    try:
        record = Record.model_validate(content)
    except ValidationError as error:
        raise CorruptionError(f"{url}/{RECORD_FILE} is not a calibration: {error.errors()[0]['msg']}.") from None
    if EMBEDDINGS_FILE not in manifest.files:
        return Calibration(run_id, record, None)
    arrays = safetensors.numpy.load(read_bytes(f"{url}/{EMBEDDINGS_FILE}"))
    return Calibration(run_id, record, Familiar(arrays["mean"], arrays["covariance"]))


def _run_of(manifest_path: str) -> str:
    return manifest_path.rsplit("/", 2)[-2]
