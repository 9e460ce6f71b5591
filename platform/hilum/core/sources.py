"""What is given to ingest: a Source of files, and what a reader finds in one of them.

Shape letters: C = channels, Z, Y, X = space. Paths, patients and file names live only
here, between the caller's disk and ingest; nothing of them reaches a store.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from hilum.core.errors import DataError
from hilum.core.geometry import Grid, Zyx
from hilum.core.imaging import Side
from hilum.core.percentiles import percentiles
from hilum.core.recipes import PrepareRecipe

Voxels = npt.NDArray[Any]
PERCENTILES = (0.5, 99.5)
MAX_VOXELS_FOR_RANGE = 4_000_000
Intensity = Literal["measured", "photograph"]


@dataclass(frozen=True)
class SourceItem:
    """One image to be ingested, and what its owner says of it. Paths are relative to the source's root.

    A path is a file's, or ``archive.zip!/path/inside``. ``parts`` are further files of the
    same image: the other slices of a series, the voxels that belong to a header. DICOM may
    draw an image's labels in several files: ``older_labels`` are those besides ``label``, the
    newest first.
    """

    image: str = field(repr=False)
    label: str | None = field(default=None, repr=False)
    class_name: str | None = None
    patient: str | None = field(default=None, repr=False)
    side: Side | None = None
    parts: tuple[str, ...] = field(default=(), repr=False)
    older_labels: tuple[str, ...] = field(default=(), repr=False)

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label file of this item, the newest first."""
        return (*(() if self.label is None else (self.label,)), *self.older_labels)

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that is read for this item."""
        return (self.image, *self.parts, *self.labels)

    @property
    def patient_or_file(self) -> str:
        """Whose image it is. Without a word from its owner, every file is a patient of its own."""
        return self.patient or f"file:{self.image}"

    def study_of(self, patient: str, study: str | None = None) -> str:
        """What is one study: images of one patient that share a study's number or, without one, a file."""
        return f"{patient}\n{study or self.image}"


@dataclass(frozen=True)
class Source:
    """Files under one root. ``digests`` has the SHA-256 of every file named by an item."""

    root: str = field(repr=False)
    items: tuple[SourceItem, ...]
    class_names: tuple[str, ...] = ()
    digests: tuple[str, ...] = field(default=(), repr=False)

    @property
    def fingerprint(self) -> str:
        """One name for the list, the contents and what is said of them; the root's place does not matter."""
        rows = [[i.image, i.label, i.class_name, i.patient, i.side, list(i.parts), *i.older_labels] for i in self.items]
        content = json.dumps([rows, list(self.digests), list(self.class_names)], separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True)
class ReadImage:
    """Voxels of one patient as read from a file: a scan, an image, or a stack of equal items along Z.

    ``intensity`` says how grey levels are scaled later: 'measured' by robust percentiles,
    'photograph' by the range of the file's data type; ``window``, where one was chosen, instead
    of either. ``patient`` and ``study`` are what the file calls them, for a keyed hash only.
    ``tags`` are what may be kept of the file's header, by DICOM keyword: of the machine, never
    of the person. ``flags`` are warnings that travel with the volume, such as 'burned_in_text'
    or 'face'. ``measured_grid`` is False for kinds of files that cannot say how large a voxel
    is and where it lies.
    """

    image_czyx: Voxels
    grid: Grid
    item_shape_zyx: Zyx
    modality: str = "OT"
    intensity: Intensity = "measured"
    label_map_zyx: npt.NDArray[np.uint16] | None = None
    classes: tuple[int, ...] = ()
    class_names: tuple[str, ...] = ()
    patient: str | None = field(default=None, repr=False)
    study: str | None = field(default=None, repr=False)
    side: Side | None = None
    tags: Mapping[str, str] = field(default_factory=dict, repr=False)
    flags: tuple[str, ...] = ()
    measured_grid: bool = True
    window: tuple[float, float] | None = None

    @property
    def num_items(self) -> int:
        return self.grid.shape_zyx[0] // self.item_shape_zyx[0]

    def image_digest(self) -> str:
        """SHA-256 of the voxels, their type and their shape; not of how the file packed them."""
        return _digest(self.image_czyx)

    def label_digest(self) -> str | None:
        return None if self.label_map_zyx is None else _digest(self.label_map_zyx)

    def grey_range(self) -> tuple[float, float]:
        """The grey levels that become 0 and 1: the window, or the 0.5 and 99.5 percentiles, or a photograph's range."""
        image = self.image_czyx
        if self.window is not None:
            return self.window
        if self.intensity == "photograph" and np.issubdtype(image.dtype, np.unsignedinteger):
            # A photograph of only 0 and 1 is a drawing: its range is what it uses.
            return 0.0, float(np.iinfo(image.dtype).max if image.max() > 1 else 1)
        return self.levels_at(PERCENTILES)

    def levels_at(self, at: tuple[float, float]) -> tuple[float, float]:
        """The grey levels at two percentiles, of every n-th voxel where there are many; never equal."""
        image = self.image_czyx
        every = max(1, image.size // MAX_VOXELS_FOR_RANGE)
        low, high = percentiles(image.reshape(-1)[::every], at)
        if high <= low:
            low, high = float(image.min()), float(image.max())
        return low, high if high > low else low + 1.0

    def check_finite(self) -> None:
        """DataError, with the place of the first, when a voxel is not a finite number."""
        image = self.image_czyx
        if np.issubdtype(image.dtype, np.floating) and not np.isfinite(image).all():
            where = np.argwhere(~np.isfinite(image))[0].tolist()
            raise DataError(f"Voxels must be finite numbers; the one at {where} (C, Z, Y, X) is not.")


def _digest(array: Voxels) -> str:
    # Little-endian and contiguous, so that every machine hashes the same bytes.
    native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    digest = hashlib.sha256(json.dumps([native.dtype.name, list(native.shape)]).encode())
    digest.update(native.data)
    return digest.hexdigest()


class Reader(Protocol):
    """Reads one item and prepares what is in it.

    Raises DataError, without a file name in it, for a file that is not what it claims, or that
    cannot be prepared so.
    """

    def __call__(
        self,
        root: str,
        item: SourceItem,
        *,
        max_bytes: int,
        class_names: tuple[str, ...],
        prepare: PrepareRecipe,
    ) -> Iterable[ReadImage]: ...
