"""Every annotator keeps the same contract: the oracle and the folder, for both questions, in 2D and 3D."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import nibabel as nib
import numpy as np
import pytest

from hilum.adapters.directory import Directory
from hilum.adapters.oracle import Oracle
from hilum.core.asking import Task
from hilum.core.ports import Annotator
from hilum.store.layout import Store
from hilum.testing.annotators import AnnotatorTests, Answer
from hilum.testing.phantoms import Phantom, phantom_store, phantom_tasks


class OnPhantom(AnnotatorTests):
    phantom: ClassVar[Phantom] = Phantom("classify")

    @pytest.fixture
    def place(self, tmp_path: Path) -> tuple[Store, str]:
        return phantom_store(str(tmp_path / "store"), self.phantom)

    @pytest.fixture
    def tasks(self, place: tuple[Store, str]) -> list[Task]:
        return phantom_tasks(*place, self.phantom)


class OracleKeeps(OnPhantom):
    @pytest.fixture
    def annotator(self, place: tuple[Store, str]) -> Annotator:
        return Oracle(*place)

    @pytest.fixture
    def answer(self) -> Answer:
        return lambda tasks: None


class TestOracleThatClassifies(OracleKeeps):
    pass


class TestOracleThatSegments(OracleKeeps):
    phantom = Phantom("segment", 3, size=8)


class TestOracleThatErrs(OracleKeeps):
    phantom = Phantom("segment", 2)

    @pytest.fixture
    def annotator(self, place: tuple[Store, str]) -> Annotator:
        return Oracle(*place, error_rate=0.3, seconds_per_answer=4.5)


class DirectoryKeeps(OnPhantom):
    @pytest.fixture
    def annotator(self, place: tuple[Store, str]) -> Annotator:
        return Directory(*place)

    @pytest.fixture
    def answer(self, place: tuple[Store, str]) -> Answer:
        store, _ = place
        return lambda tasks: _work_through_folders(store, tasks)


class TestDirectoryThatClassifies(DirectoryKeeps):
    pass


class TestDirectoryThatClassifiesBlocks(DirectoryKeeps):
    phantom = Phantom("classify", 3, size=8)


class TestDirectoryThatSegments(DirectoryKeeps):
    phantom = Phantom("segment", 2)


class TestDirectoryThatSegmentsBlocks(DirectoryKeeps):
    phantom = Phantom("segment", 3, size=8)


class TestDirectoryWithDicom(DirectoryKeeps):
    phantom = Phantom("segment", 3, size=8)

    @pytest.fixture
    def annotator(self, place: tuple[Store, str]) -> Annotator:
        return Directory(*place, dicom=True)


def _work_through_folders(store: Store, tasks: Sequence[Task]) -> None:
    """A person with an image viewer: opens every image, and saves a label map or fills in the sheet."""
    for task in tasks:
        folder = Path(store.url, "questions", task.selection_id, f"{task.chosen.rank:04d}-{task.candidate_id}")
        if task.question == "classify":
            sheet = folder.parent / "answers.csv"
            rows = [row.split(",") for row in sheet.read_text().splitlines()]
            place = rows[0].index("answer")
            for row in rows:
                if row[0] == folder.name:
                    row[place] = "lesion"
            sheet.write_text("\n".join(",".join(row) for row in rows) + "\n")
        else:
            image = nib.load(folder / "image.nii.gz")
            marked = (np.asarray(image.dataobj) > 600).astype(np.uint8)
            nib.save(nib.Nifti1Image(marked, image.affine), folder / "answer.nii.gz")
