"""Networks in a process of its own: they say what they say here, and nobody notices when it is lost."""

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hilum.core.recipes import Choice
from hilum.nn.apart import Apart, _Windows
from hilum.nn.engine import Engine
from hilum.nn.heads import build_network
from hilum.nn.passes import Pass, Way
from hilum.nn.predictor import SINGLE, Predictor
from hilum.nn.pruning import prune_network

SHAPE = (1, 16, 16)
NESTED = {"kind": "unetpp", "depth": 2, "features": [4, 8, 8]}


def predictor(seed=0):
    how = {"spatial_dims": 2, "in_channels": 1, "num_classes": 3}
    network = build_network("segment", Choice(**NESTED), **how, seed=seed)
    return Predictor(network, {"question": "segment", "architecture": NESTED, **how}, lies_last=True)


def windows(num=5, seed=0):
    return np.random.default_rng(seed).random((num, 1, *SHAPE), np.float32)


def same(found, wanted):
    """Up to rounding: how many threads there are is no matter of what is said."""
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def there(apart, network, *, members=SINGLE, embeds=False):
    """What it says as soon as it has the network."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        said = apart.seen(network, windows(), members, embeds=embeds, num_threads=1)
        if said is not None:
            return said
        time.sleep(0.02)
    raise AssertionError("it never has the network")


@pytest.fixture
def apart():
    made = Apart(again_after_seconds=0)
    yield made
    made.close()


def test_it_says_what_the_network_says_here(apart):
    network = predictor()
    probs, embeddings = there(apart, network)
    same(probs, network.predict(windows()))
    assert embeddings is None
    probs, embeddings = there(apart, network, embeds=True)
    here = network.predict_and_embed(windows())
    same(probs, here[0])
    same(embeddings, here[1])
    mirrors = Choice(kind="mirrors", num_members=4)
    probs, _ = there(apart, network, members=mirrors)
    same(probs, network.predict(windows(), members=mirrors))


def test_each_network_answers_for_itself_a_pruned_one_too(apart):
    whole, other = predictor(), predictor(seed=1)
    pruned = Predictor(*prune_network(whole.network, whole.card, 1), lies_last=True)
    said = [there(apart, network)[0] for network in (whole, other, pruned)]
    for network, probs in zip((whole, other, pruned), said, strict=True):
        same(probs, network.predict(windows()))
    assert min(np.abs(said[0] - one).max() for one in said[1:]) > 1e-3  # or one could answer for another


def test_who_asks_does_the_work_until_the_network_is_there(apart):
    assert apart.pid is None
    assert apart.seen(predictor(), windows(), SINGLE, embeds=False, num_threads=1) is None
    assert apart.pid is not None


def test_a_lost_process_is_not_noticed_and_another_is_started(apart, caplog):
    network = predictor()
    there(apart, network)
    lost = apart.pid
    os.kill(lost, signal.SIGKILL)
    os.waitpid(lost, 0)
    assert apart.seen(network, windows(), SINGLE, embeds=False, num_threads=1) is None
    assert "was lost" in caplog.text
    same(there(apart, network)[0], network.predict(windows()))
    assert apart.pid != lost


def test_one_that_hangs_is_killed_and_who_asks_does_the_work(apart, caplog, monkeypatch):
    network = predictor()
    there(apart, network)
    monkeypatch.setattr("hilum.nn.apart._SLOWEST_SECONDS", 0.5)
    hung = apart.pid
    os.kill(hung, signal.SIGSTOP)
    assert apart.seen(network, windows(), SINGLE, embeds=False, num_threads=1) is None
    assert "no answer" in caplog.text
    assert not _runs(hung)


def test_what_cannot_be_done_there_is_left_to_who_asks(apart):
    there(apart, predictor())
    strange = predictor()
    strange.card["architecture"] = {**NESTED, "features": [8, 8, 8]}  # not that of its weights
    for _ in range(100):
        assert apart.seen(strange, windows(), SINGLE, embeds=False, num_threads=1) is None
        time.sleep(0.01)
    too_wide = np.zeros((2, 7, *SHAPE), np.float32)
    network = predictor()
    there(apart, network)
    assert apart.seen(network, too_wide, SINGLE, embeds=False, num_threads=1) is None
    same(there(apart, network)[0], network.predict(windows()))


def test_networks_that_nobody_holds_any_more_go_there_too(apart):
    first = predictor()
    there(apart, first)
    key = apart._keys[first]
    del first
    gc.collect()
    second = predictor(seed=1)
    there(apart, second)
    assert list(apart._keys.values()) == [key + 1]
    assert apart._answer(_Windows(key, windows(), SINGLE, embeds=False, num_threads=1)) is None
    assert apart._answer(_Windows(key + 1, windows(), SINGLE, embeds=False, num_threads=1)) is not None


def test_one_that_never_comes_up_is_started_three_times_at_most(apart, monkeypatch):
    monkeypatch.setattr("hilum.nn.apart._PROGRAM", "raise SystemExit(3)")
    started = set()
    until = time.monotonic() + 60
    while len(started) < 3 or apart.pid is not None:
        assert apart.seen(predictor(), windows(), SINGLE, embeds=False, num_threads=1) is None
        started |= {apart.pid} - {None}
        assert time.monotonic() < until
    for _ in range(20):
        apart.seen(predictor(), windows(), SINGLE, embeds=False, num_threads=1)
        assert apart.pid is None
    assert len(started) == 3


def test_it_ends_with_whoever_asked():
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tests.unit.nn.test_apart import Apart, predictor, there\n"
        "apart = Apart(); there(apart, predictor()); print(apart.pid, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(Path.cwd())]
    asking = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    pid = int(asking.stdout.readline())
    asking.kill()
    asking.wait()
    until = time.monotonic() + 30
    while _runs(pid):
        assert time.monotonic() < until, "it outlives who asked"
        time.sleep(0.05)


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_images_that_come_together_go_there_and_one_alone_does_not(apart):
    network = predictor()
    way = Way(network, SHAPE)
    there(apart, network)
    asked = []
    seen = apart.seen

    def counted(*given, **how):
        asked.append(len(given[1]))
        return seen(*given, **how)

    apart.seen = counted
    images = list(windows(9))
    with Engine(batch_size=4, num_threads=1, apart=apart) as engine:
        alone = engine.submit(Pass(images[0], way)).done.result(timeout=60)
        assert asked == []
        together = [Pass(image, way) for image in images]
        for one in together:
            engine.submit(one)
        found = [one.done.result(timeout=60) for one in together]
    assert max(asked) > 1
    assert apart.pid is None  # it ended with the engine
    np.testing.assert_allclose(found[0].probs, alone.probs, atol=1e-6)
    for image, one in zip(images, found, strict=True):
        np.testing.assert_allclose(one.probs, network.predict(image[None])[0, 0], atol=1e-5)
