"""Phantom stores for whole rounds: made once a session, copied for each test."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hilum.core.recipes import Question
from hilum.store.layout import Store
from hilum.testing.phantoms import Phantom, phantom_store

torch.set_num_threads(1)

NewStore = Callable[..., tuple[Store, str]]


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], tuple[Path, str]]:
    """A store for each question and number of dimensions, and the id of its ingest."""
    made: dict[tuple[str, int], tuple[Path, str]] = {}
    kinds: list[tuple[Question, Phantom]] = [
        ("classify", Phantom("classify", 2)),
        ("classify", Phantom("classify", 3, size=8)),
        ("segment", Phantom("segment", 2)),
        ("segment", Phantom("segment", 3, size=8)),
    ]
    for question, phantom in kinds:
        folder = tmp_path_factory.mktemp(f"{question}-{phantom.spatial_dims}d")
        _, ingest_id = phantom_store(str(folder), phantom)
        made[question, phantom.spatial_dims] = (folder, ingest_id)
    return made


@pytest.fixture
def new_store(phantoms: dict[tuple[str, int], tuple[Path, str]], tmp_path: Path) -> NewStore:
    """Copies of one phantom's store: campaigns in two copies can be compared byte by byte."""

    def copy(question: str = "classify", spatial_dims: int = 2, *, name: str = "store") -> tuple[Store, str]:
        folder, ingest_id = phantoms[question, spatial_dims]
        shutil.copytree(folder, tmp_path / name)
        return Store(str(tmp_path / name)), ingest_id

    return copy
