"""Label Studio keeps the annotators' contract, for both questions, against the real server; and blocks come back."""

from pathlib import Path
from typing import ClassVar
from uuid import uuid4

import numpy as np
import pytest
from tests.label_studio.people import People, middle_of
from tests.label_studio.servers import Server

from hilum.adapters.label_studio.annotator import LabelStudio
from hilum.core.asking import Task
from hilum.store.layout import Store
from hilum.testing.annotators import AnnotatorTests, Answer
from hilum.testing.phantoms import Phantom, phantom_store, phantom_tasks


class OnPhantom(AnnotatorTests):
    phantom: ClassVar[Phantom] = Phantom("classify")

    @pytest.fixture
    def place(self, tmp_path: Path) -> tuple[Store, str]:
        return phantom_store(str(tmp_path), self.phantom)

    @pytest.fixture
    def tasks(self, place: tuple[Store, str]) -> list[Task]:
        return phantom_tasks(*place, self.phantom)

    @pytest.fixture
    def annotator(self, as_hilum: Server, place: tuple[Store, str]) -> LabelStudio:
        return LabelStudio(*place, project=f"Kept {uuid4().hex[:12]}")

    @pytest.fixture
    def answer(self, annotator: LabelStudio) -> Answer:
        return lambda tasks: People(annotator).answer(tasks)


class TestLabelStudioThatClassifies(OnPhantom):
    def test_the_class_that_was_chosen_comes_back(self, annotator: LabelStudio, tasks: list[Task]) -> None:
        annotator.publish(tasks)
        People(annotator).choose(tasks[2], 0)
        (told,) = annotator.collect(tasks)
        assert (told.patch, told.class_id, told.seconds) == (tasks[2].chosen.candidate.patch, 0, 4.5)


class TestLabelStudioThatSegments(OnPhantom):
    phantom = Phantom("segment", 2)

    def test_the_voxels_that_were_outlined_come_back(self, annotator: LabelStudio, tasks: list[Task]) -> None:
        annotator.publish(tasks)
        People(annotator).answer(tasks)
        for told in annotator.collect(tasks):
            np.testing.assert_array_equal(told.label_map_zyx, middle_of(tasks[0]))


def test_the_voxels_of_a_block_come_back(as_hilum: Server, tmp_path: Path) -> None:
    blocks = Phantom("segment", 3, size=8)
    place = phantom_store(str(tmp_path), blocks)
    tasks = phantom_tasks(*place, blocks, num=1)
    annotator = LabelStudio(*place, project=f"Blocks {uuid4().hex[:12]}")
    annotator.publish(tasks)
    People(annotator).answer(tasks)
    (told,) = annotator.collect(tasks)
    np.testing.assert_array_equal(told.label_map_zyx, middle_of(tasks[0]))
