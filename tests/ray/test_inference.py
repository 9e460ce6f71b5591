"""Inference on a real Ray Serve: a new champion while it is asked, and a replica that is killed."""

import io
import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import httpx
import numpy as np
import psutil
import pytest
import yaml
from tests.ray.test_pre_annotation import free_port
from tests.services.own_issuer import AUDIENCE, issuing

from hilum.adapters.api_keys import ApiKey, add_key, new_key
from hilum.nn.normalise import normalise
from hilum.steps.predictor import load_predictor
from hilum.store.ledger import open_ledger
from hilum.testing.phantoms import Phantom, lesion_image, phantom_store
from hilum.testing.untrained import untrained_checkpoint

PHANTOM = Phantom("classify", 2, size=16)
NUM_REQUESTS, NUM_CALLERS, NUM_IMAGES = 600, 4, 8
RECOVERED_SECONDS = 15

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


class Served:
    def __init__(self, store, url, key):
        self.store, self.url, self.ledger = store, url, open_ledger(store)
        self.headers = {"Authorization": f"Bearer {key}"}
        self.images = [lesion_image(np.random.default_rng(n), PHANTOM.patch_shape_zyx)[0] for n in range(NUM_IMAGES)]
        self.bodies = [self._npy(image) for image in self.images]

    def _npy(self, image):
        stream = io.BytesIO()
        np.save(stream, image[0])
        return stream.getvalue()

    def expected(self, checkpoint_id):
        """The probability of a lesion that this version gives every image, alone and in this process."""
        predictor = load_predictor(self.store, checkpoint_id)
        seen = [normalise(image, *np.percentile(image, [0.5, 99.5])) for image in self.images]
        return [float(predictor.predict(one[None])[0, 0, 1]) for one in seen]

    def promote(self, checkpoint_id):
        self.ledger.point("chest", "champion", checkpoint_id, expected=self.ledger.alias("chest", "champion"))

    def ask(self, client, number):
        """(seconds since 1970, image, status, version, probability of a lesion); status 0 where nothing came back."""
        image = number % NUM_IMAGES
        began = time.time()
        try:
            answer = client.post(f"{self.url}/v1/models/chest/classify", content=self.bodies[image])
        except httpx.TransportError:
            return began, image, 0, None, None
        if answer.status_code != 200:
            return began, image, answer.status_code, None, None
        said = answer.json()
        return began, image, 200, said["version"], said["probabilities"]["lesion"]


@pytest.fixture
def inference():
    from hilum_services.inference import serve  # importing Serve warns, which is an error outside of a test

    return serve


@pytest.fixture
def served(tmp_path, ray_cluster, inference):
    with serving(tmp_path, inference, replicas=2, shallower_above=8) as made:
        yield made


@contextmanager
def serving(tmp_path, inference, **shape):
    from ray import serve

    store, _ = phantom_store(str(tmp_path / "store"), PHANTOM)
    open_ledger(store).point("chest", "champion", untrained_checkpoint(store, PHANTOM, seed=1), expected=None)
    key, digest = new_key()
    add_key(tmp_path / "keys.json", ApiKey(name="tester", sha256=digest))
    port = free_port()
    with issuing() as issuer:
        trusted = {"HILUM_OIDC_ISSUER": issuer.url, "HILUM_OIDC_AUDIENCE": AUDIENCE, "no_proxy": "127.0.0.1"}
        environment = {"HILUM_STORE": store.url, "HILUM_API_KEYS_FILE": str(tmp_path / "keys.json"), **trusted}
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        told = inference.Shape(cpus=0.5, environment=environment, **shape)
        serve.run(inference.application(told), name=inference.NAME, route_prefix="/")
        made = Served(store, f"http://127.0.0.1:{port}", key)
        made.issuer = issuer
        yield made
        serve.shutdown()


def replicas():
    """Process ids of the replicas, oldest first."""
    found = [
        p for p in psutil.process_iter(["cmdline"]) if "ServeReplica:inference" in "".join(p.info["cmdline"] or ())
    ]
    return [p.pid for p in sorted(found, key=lambda p: p.create_time())]


def test_every_answer_is_one_versions_while_the_champion_changes_and_a_replica_dies(served):
    before = served.ledger.alias("chest", "champion")
    after = untrained_checkpoint(served.store, PHANTOM, seed=2)
    rows = {}

    def asked(caller):
        with httpx.Client(headers=served.headers, timeout=60, trust_env=False) as client:
            for number in range(caller, NUM_REQUESTS, NUM_CALLERS):
                rows[number] = served.ask(client, number)

    with ThreadPoolExecutor(NUM_CALLERS) as callers:
        pending = [callers.submit(asked, caller) for caller in range(NUM_CALLERS)]
        _wait_for(lambda: len(rows) > NUM_REQUESTS // 4)
        served.promote(after)
        promoted_at = time.time()
        _wait_for(lambda: len(rows) > NUM_REQUESTS // 2)
        victim = replicas()[0]
        os.kill(victim, signal.SIGKILL)
        killed_at = time.time()
        for one in pending:
            one.result()
    expected = {version: served.expected(version) for version in (before, after)}
    good = [row for row in rows.values() if row[2] == 200]
    bad = [row for row in rows.values() if row[2] != 200]
    for _, image, _, version, lesion in good:
        assert lesion == pytest.approx(expected[version][image], abs=1e-5)
    assert len(rows) == NUM_REQUESTS
    assert Counter(version for *_, version, _ in good)[after] > 0
    assert all(version == after for began, _, _, version, _ in good if began > promoted_at + 10)
    assert all(killed_at - 60 < began < killed_at + RECOVERED_SECONDS for began, *_ in bad)
    assert len(bad) <= NUM_REQUESTS // 10
    _wait_for(lambda: len(replicas()) == 2 and victim not in replicas())


def test_another_replica_comes_when_more_is_asked(tmp_path, ray_cluster, inference):
    with serving(tmp_path, inference, replicas=1, most_replicas=2) as served:
        assert len(replicas()) == 1
        rows, grown = [], Event()

        def ask_again():
            with httpx.Client(headers=served.headers, timeout=60, trust_env=False) as client:
                while not grown.is_set():
                    rows.append(served.ask(client, 0))

        with ThreadPoolExecutor(24) as callers:
            pending = [callers.submit(ask_again) for _ in range(24)]
            try:
                _wait_for(lambda: len(replicas()) == 2)
            finally:
                grown.set()
            for one in pending:
                one.result()
        assert {status for _, _, status, *_ in rows} <= {200, 503}


def test_a_wrong_key_is_refused_behind_serve_too_and_a_token_believed(served):
    url = f"{served.url}/v1/models/chest/classify"
    with httpx.Client(timeout=60, trust_env=False) as client:
        assert client.post(url, content=served.bodies[0]).status_code == 401
        for token, status in ((served.issuer.token(), 200), (served.issuer.token(aud="another"), 401)):
            headers = {"Authorization": f"Bearer {token}"}
            assert client.post(url, content=served.bodies[0], headers=headers).status_code == status


def test_the_config_file_is_what_serve_takes(inference):
    from ray.serve.schema import ServeDeploySchema

    content = inference.config(inference.Shape(replicas=2, most_replicas=4, gpus=0.5), host="0.0.0.0", port=8000)
    checked = ServeDeploySchema.model_validate(yaml.safe_load(yaml.safe_dump(content)))
    (application,) = checked.applications
    assert application.import_path == inference.IMPORT_PATH
    assert inference.Shape.model_validate(application.args).most_replicas == 4


def _wait_for(condition, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)
