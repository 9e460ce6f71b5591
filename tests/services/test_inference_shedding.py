"""Where many images wait, who leaves the depth to us is answered at a shallower one, and told so; later as before."""

import asyncio
import io
import time

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.services.own_server import serving
from tests.services.test_inference import SEGMENT, Grid, Served, get, lesion_image, nifti_bytes, post

from hilum.adapters.api_keys import KeyFile
from hilum.adapters.meters import PrometheusMeter
from hilum.testing.nested import NESTED
from hilum.testing.untrained import untrained_checkpoint
from hilum_services.inference import shedding
from hilum_services.inference.access import Door
from hilum_services.inference.app import make_app
from hilum_services.inference.service import Service
from hilum_services.inference.shedding import Shedding

SHAPE = (16, 96, 96)
BODY = nifti_bytes(lesion_image(np.random.default_rng(5), SHAPE)[0], Grid(SHAPE))
ARCHITECTURE = NESTED.model_dump(mode="json")
SHALLOWER = {"1": "fast", "2": "balanced"}


class Sheds(Served):
    def __init__(self, tmp_path, *, above, architecture=ARCHITECTURE):
        super().__init__(tmp_path)
        self.above = above
        self.champion("liver", SEGMENT, architecture=architecture)

    def start(self):
        service = Service(self.store, self.ledger, self.limits, PrometheusMeter(), shallower_above=self.above)
        return serving(make_app(service, Door(KeyFile(self.keys))))


async def asked_at_once(served, wishes):
    headers = {"Authorization": f"Bearer {served.key}"}
    url = f"{served.url}/v1/models/liver/segment"
    async with httpx.AsyncClient(timeout=120, trust_env=False, headers=headers) as client:
        asked = (client.post(url, content=BODY, params={"format": "npy", **wish}) for wish in wishes)
        return await asyncio.gather(*asked)


def counted(served):
    watcher = served.new_key(f"w{time.monotonic_ns()}", may=("metrics",))
    families = text_string_to_metric_families(get(served, "/metrics", watcher).text)
    rows = (s for f in families for s in f.samples if s.name == "hilum_inference_shallower_total")
    return {row.labels["quality"]: row.value for row in rows if row.value}


def label_map_in(answer):
    assert answer.status_code == 200, answer.text
    return np.load(io.BytesIO(answer.content), allow_pickle=False)


def test_under_load_who_names_no_depth_gets_a_shallower_one_until_it_is_calm(tmp_path, monkeypatch):
    monkeypatch.setattr(shedding, "CALM_SECONDS", 0.3)
    made = Sheds(tmp_path, above=3)
    with made.start() as made.url:
        assert "hilum-depth" not in post(made, "liver/segment", BODY).headers
        assert counted(made) == {}
        wishes = [{}, {}, {"quality": "accurate"}] * 10
        answers = asyncio.run(asked_at_once(made, wishes))
        by_depth = {}
        for wish, answer in zip(wishes, answers, strict=True):
            depth = answer.headers.get("hilum-depth")
            assert depth is None or not wish
            by_depth.setdefault(depth, []).append(label_map_in(answer))
        assert "1" in by_depth  # many wait: as fast as it can be
        told = {SHALLOWER[depth]: float(len(found)) for depth, found in by_depth.items() if depth}
        assert counted(made) == told
        for depth, found in by_depth.items():
            expected = label_map_in(post(made, "liver/segment", BODY, format="npy", depth=depth or 3))
            assert all((one == expected).mean() > 0.9999 for one in found)
        time.sleep(0.7)
        said = post(made, "liver/segment", BODY, format="json").json()
        assert said["depth"] is None
        assert counted(made) == told


def test_without_the_option_and_without_nesting_nothing_changes(tmp_path):
    for folder, how in (
        ("off", {"above": None}),
        ("flat", {"above": 1, "architecture": {"kind": "unet", "depth": 2, "features": [4, 8, 8]}}),
    ):
        (tmp_path / folder).mkdir()
        made = Sheds(tmp_path / folder, **how)
        with made.start() as made.url:
            answers = asyncio.run(asked_at_once(made, [{}] * 12))
            assert {answer.headers.get("hilum-depth") for answer in answers} == {None}
            assert counted(made) == {}


def test_versions_beside_and_jobs_are_answered_at_their_whole_depth(tmp_path):
    made = Sheds(tmp_path, above=1)
    other = untrained_checkpoint(made.store, SEGMENT, seed=7, architecture=ARCHITECTURE)
    made.ledger.point("liver", "canary", other, expected=None)
    with made.start() as made.url:
        answers = asyncio.run(asked_at_once(made, [{"beside": "@canary"}, {"later": True}, {}] * 6))
        for answer in answers[::3]:
            assert "hilum-depth" not in answer.headers
        for answer in answers[1::3]:
            url = answer.json()["url"]
            until = time.monotonic() + 120
            while get(made, url).json()["status"] in ("waiting", "running"):
                assert time.monotonic() < until
                time.sleep(0.1)
            assert "hilum-depth" not in get(made, url + "/result").headers
        assert any("hilum-depth" in answer.headers for answer in answers[2::3])


@pytest.fixture
def clock():
    class Clock:
        now = 100.0

        def __call__(self):
            return self.now

    return Clock()


def test_it_goes_down_at_once_and_comes_back_slowly_and_does_not_flap(clock):
    shed = Shedding(4, clock=clock)
    assert [shed.quality(num) for num in (0, 4, 5, 8, 9)] == ["accurate", "accurate", "balanced", "balanced", "fast"]
    assert [shed.quality(num) for num in (5, 0, 9, 0)] == ["fast"] * 4
    clock.now += 1.9
    assert shed.quality(0) == "fast"
    clock.now += 0.2
    assert [shed.quality(num) for num in (0, 0)] == ["balanced"] * 2
    for _ in range(10):  # between what began it and half of that it stays
        clock.now += 1.9
        assert shed.quality(3) == "balanced"
    clock.now += 2.1
    assert shed.quality(2) == "accurate"
    assert shed.quality(4) == "accurate"


def test_after_a_pause_nobody_pays_for_a_load_that_is_over(clock):
    shed = Shedding(4, clock=clock)
    assert shed.quality(20) == "fast"
    clock.now += 60
    assert shed.quality(0) == "accurate"


def test_without_a_bound_it_is_always_accurate(clock):
    assert {Shedding(None, clock=clock).quality(num) for num in (0, 64)} == {"accurate"}
