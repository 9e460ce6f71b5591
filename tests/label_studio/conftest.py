"""One Label Studio for all tests of this folder; every test has a store and a project of its own."""

from collections.abc import Iterator

import pytest
from tests.label_studio.servers import Server, running_label_studio


@pytest.fixture(scope="session")
def label_studio() -> Iterator[Server]:
    with running_label_studio() as server:
        yield server


@pytest.fixture
def as_hilum(label_studio: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server, and the environment by which hilum finds it."""
    for name, value in label_studio.environment.items():
        monkeypatch.setenv(name, value)
    return label_studio
