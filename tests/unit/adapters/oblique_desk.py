"""A question whose image nothing mirrors or turns into itself: oblique, anisotropic, every voxel another."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from hilum.adapters.answer_sheet import task_name
from hilum.adapters.directory import Directory
from hilum.core.asking import Candidate, Chosen, Task
from hilum.core.geometry import Grid, Patch
from hilum.core.ids import content_id
from hilum.core.imaging import Study, Volume
from hilum.core.recipes import IngestRecipe
from hilum.store.manifest import Run
from hilum.store.opening import create_store
from hilum.store.volumes import write_volume, write_volume_table

SHAPE = (5, 6, 7)
START = (2, 1, 3)
CLASSES = ("background", "Liver", "liver tumour", "Läsion")
_ROWS = np.array([0.9, 0.3, np.sqrt(1 - 0.81 - 0.09)])
_COLUMNS = np.cross([0, 0, 1.0], _ROWS) / np.linalg.norm(np.cross([0, 0, 1.0], _ROWS))
OBLIQUE = np.stack([np.cross(_ROWS, _COLUMNS), _COLUMNS, _ROWS], axis=1)
"""Columns are the directions of the axes Z, Y, X."""


def grid(direction=OBLIQUE, shape_zyx=(9, 8, 12)):
    return Grid(shape_zyx, (2.5, 0.8, 0.7), (-41.3, 12.25, 87.5), tuple(map(tuple, direction.tolist())))


def labels():
    """Every class, in a shape that no flip and no turn maps onto itself."""
    drawn = np.zeros(SHAPE, np.uint16)
    drawn[0, 0, :] = 1
    drawn[1:4, 2:4, 1:3] = 2
    drawn[4, 5, 3:6] = 3
    drawn[2, 0, 6] = 1
    return drawn


class Desk:
    """One question about a patch of one volume, published in a folder."""

    def __init__(self, folder: Path, *, whole=None, image=None, modality="CT", draft=None, classes=CLASSES, **params):
        whole = whole or grid()
        if image is None:
            image = np.random.default_rng(0).permutation(int(np.prod(whole.shape_zyx))).reshape(whole.shape_zyx)
            image = (image - 300).astype(np.int16)[np.newaxis]
        self.image_CZYX = image
        self.store, _ = create_store(str(folder / "store"))
        self.volume = Volume(
            volume_id=content_id(["oblique", repr(whole)]),
            study=Study(content_id("study"), content_id("Quokka^Ann")),
            grid=whole,
            item_shape_zyx=whole.shape_zyx,
            num_channels=len(image),
            modality=modality,
            low=float(image.min()),
            high=float(image.max()),
            has_label_map=False,
        )
        write_volume(self.store, self.volume, image, None, patch_shape_zyx=whole.shape_zyx)
        run = Run(self.store, "ingest", 1, IngestRecipe(), {"source": content_id("here")})
        write_volume_table(run.path("volumes.parquet"), [self.volume])
        run.commit(files=["volumes.parquet"], class_names=list(classes))
        start = START if whole.shape_zyx == (9, 8, 12) else (0, 0, 0)
        shape = SHAPE if whole.shape_zyx == (9, 8, 12) else whole.shape_zyx
        self.patch = Patch(self.volume.volume_id, start, shape)
        chosen = Chosen(Candidate(self.patch, self.volume.study.patient_id), 0, "entropy", 0.5, "unsure")
        self.task = replace(Task("c0ffee000000", chosen, "segment", classes), draft_label_map_zyx=draft)
        self.desk = folder / "desk"
        self.directory = Directory(self.store, run.run_id, folder=str(self.desk), annotator="reader", **params)
        self.directory.publish([self.task])

    @property
    def grid(self):
        return self.volume.grid.cropped(self.patch.start_zyx, self.patch.shape_zyx)

    @property
    def patch_ZYX(self):
        return self.image_CZYX[0][self.patch.slices]

    @property
    def folder(self):
        return self.desk / self.task.selection_id / task_name(self.task)

    def told(self):
        """The answer's label map; None while there is no answer that can be used."""
        answers = self.directory.collect([self.task])
        return answers[0].label_map_zyx if answers else None

    def refusal(self):
        assert self.told() is None
        (reason,) = self.directory.refused([self.task]).values()
        assert reason in (self.folder / "problem.txt").read_text()
        return reason
