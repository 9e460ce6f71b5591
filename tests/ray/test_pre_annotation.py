"""Pre-annotation as an application of a real Ray Serve, behind a prefix as Label Studio is given it."""

import socket

import httpx
import pytest

from hilum.store.ledger import open_ledger
from hilum.testing.phantoms import Phantom, phantom_store
from hilum.testing.untrained import untrained_checkpoint

PASSWORD = "pre-annotation-0123456789"
AUTH = ("hilum", PASSWORD)
PHANTOM = Phantom("segment", spatial_dims=2, size=32)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture
def served(tmp_path, ray_cluster):
    """The URL of the application on Ray Serve, and the champion that drafts."""
    from ray import serve

    from hilum_services.pre_annotation.serve import application

    store, _ = phantom_store(str(tmp_path), PHANTOM)
    champion = untrained_checkpoint(store, PHANTOM)
    open_ledger(store).point("liver", "champion", champion, expected=None)
    environment = {
        "HILUM_STORE": store.url,
        "HILUM_PRE_ANNOTATION_MODEL": "liver",
        "HILUM_PRE_ANNOTATION_PASSWORD": PASSWORD,
    }
    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(application(environment), route_prefix="/ml", name="pre-annotation")
    yield f"http://127.0.0.1:{port}/ml", champion
    serve.shutdown()


def test_label_studio_finds_the_same_service_there(served):
    url, champion = served
    assert httpx.get(f"{url}/health", timeout=60).json() == {"status": "UP"}
    assert httpx.post(f"{url}/setup", json={}, timeout=60).status_code == 401
    assert httpx.post(f"{url}/setup", json={}, auth=AUTH, timeout=60).json() == {"model_version": champion}
    answer = httpx.post(f"{url}/predict", json={"tasks": [{}, {}]}, auth=AUTH, timeout=60)
    assert [one["model_version"] for one in answer.json()["results"]] == [champion] * 2
