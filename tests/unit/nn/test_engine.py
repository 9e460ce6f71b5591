"""Images of several callers through one network together: each gets the answer that it would get alone."""

import threading
from concurrent.futures import CancelledError

import numpy as np
import pytest
import torch

from hilum.core.geometry import Patch
from hilum.core.recipes import Choice
from hilum.nn.engine import Batched, BusyError, Engine
from hilum.nn.heads import build_network
from hilum.nn.infer import sliding_window
from hilum.nn.passes import Pass, Way, entropy
from hilum.nn.predictor import Predictor

UNET = {"kind": "unet", "depth": 2, "features": [4, 8, 8]}


def predictor(question="segment", spatial_dims=3):
    card = {
        "question": question,
        "architecture": UNET,
        "spatial_dims": spatial_dims,
        "in_channels": 1,
        "num_classes": 3,
    }
    network = build_network(question, Choice(**UNET), spatial_dims=spatial_dims, in_channels=1, num_classes=3, seed=0)
    return Predictor(network, card)


def image(seed, shape):
    return np.random.default_rng(seed).random((1, *shape), np.float32) + np.float32(0.1)


def answered(engine, *passes):
    for one in passes:
        engine.submit(one)
    return [one.done.result(timeout=60) for one in passes]


def alone(network, image_CZYX, window, overlap=0.5):
    return sliding_window(
        Patch("v", (0, 0, 0), image_CZYX.shape[1:]),
        window,
        read=lambda patch: image_CZYX[(slice(None), *patch.slices)],
        predict=lambda images: network.predict(images)[0],
        overlap=overlap,
        batch_size=1,
    )


def test_an_answer_is_the_same_alone_and_beside_others():
    network = predictor()
    way = Way(network, (8, 8, 8))
    images = [image(seed, (8 + 2 * seed, 12, 16)) for seed in range(5)]
    with Engine(batch_size=4) as engine:
        together = answered(engine, *(Pass(one, way) for one in images))
    for one, found in zip(images, together, strict=True):
        np.testing.assert_allclose(found.probs, alone(network, one, (8, 8, 8)), atol=1e-5)
        np.testing.assert_allclose(found.probs.sum(axis=0), 1, atol=1e-5)


def test_windows_of_several_images_share_a_batch():
    calls: list[Batched] = []
    way = Way(predictor(), (8, 8, 8))
    passes = [Pass(image(seed, (8, 8, 8)), way) for seed in range(6)]
    with Engine(batch_size=4, watch=calls.append) as engine:
        # The first batch may go before the others have come.
        answered(engine, *passes)
    assert sum(call.num_windows for call in calls) == 6
    assert max(call.num_images for call in calls) > 1


def test_a_small_image_does_not_wait_for_a_large_one():
    way = Way(predictor(), (4, 4, 4), overlap=0.5)
    large, small = Pass(image(0, (24, 24, 24)), way), Pass(image(1, (4, 4, 4)), way)
    with Engine(batch_size=2) as engine:
        engine.submit(large)
        engine.submit(small)
        small.done.result(timeout=60)
        assert large.progress < 1
        large.done.result(timeout=120)


def test_blank_windows_are_seen_once_and_answered_as_the_network_answers_them():
    network = predictor()
    picture = image(0, (8, 8, 32))
    picture[..., 8:] = 0
    calls: list[Batched] = []
    with Engine(watch=calls.append) as engine:
        (found,) = answered(engine, Pass(picture, Way(network, (8, 8, 8))))
    assert (found.num_windows, found.num_blank) == (7, 5)
    assert sum(call.num_windows for call in calls) == 3
    np.testing.assert_allclose(found.probs, alone(network, picture, (8, 8, 8)), atol=1e-5)


@pytest.mark.parametrize("question", ["segment", "classify"])
def test_slices_of_any_direction_are_answered(question):
    network = predictor(question, spatial_dims=2)
    sagittal = image(3, (12, 10, 1))
    starts = [(0, 0, 0), (4, 2, 0)]
    with Engine() as engine:
        (found,) = answered(engine, Pass(sagittal, Way(network, (8, 8, 1)), embed=True, starts_zyx=starts))
    assert found.probs.shape == ((2, 3) if question == "classify" else (3, 12, 10, 1))
    if question == "classify":
        windows = np.stack([sagittal[:, z : z + 8, y : y + 8, 0][:, None] for z, y, _ in starts])
        np.testing.assert_allclose(found.probs, network.predict(windows)[0], atol=1e-5)
    assert found.embeddings_ND is not None
    assert found.embeddings_ND.shape[1] == 8
    assert len(found.embeddings_ND) == len(found.confidences_N) == found.num_windows


def test_several_members_say_where_they_disagree():
    network = predictor(spatial_dims=2)
    mirrors = Choice(kind="mirrors", num_members=4)
    picture = image(4, (1, 16, 16))
    with Engine() as engine:
        (found,) = answered(engine, Pass(picture, Way(network, (1, 16, 16), members=mirrors)))
    probs_MC = network.predict(picture[None], members=mirrors)[:, 0]
    np.testing.assert_allclose(found.probs, probs_MC.mean(axis=0), atol=1e-5)
    information = entropy(probs_MC.mean(axis=0)) - np.mean([entropy(one) for one in probs_MC], axis=0)
    assert found.disagreement is not None
    np.testing.assert_allclose(found.disagreement, information, atol=1e-5)


def test_one_image_that_cannot_be_answered_fails_alone():
    way = Way(predictor(spatial_dims=2), (1, 8, 8))
    bad = image(0, (1, 8, 8))
    bad[0, 0, 3, 3] = np.nan
    failing, well = Pass(bad, way), Pass(image(1, (1, 8, 8)), way)
    with Engine() as engine:
        engine.submit(failing)
        engine.submit(well)
        assert well.done.result(timeout=60).probs.shape == (3, 1, 8, 8)
        with pytest.raises(FloatingPointError):
            failing.done.result(timeout=60)


def test_an_image_of_other_channels_is_told_and_the_engine_goes_on():
    way = Way(predictor(spatial_dims=2), (1, 8, 8))
    with Engine() as engine:
        two_channels = engine.submit(Pass(np.ones((2, 1, 8, 8), np.float32), way))
        with pytest.raises(Exception, match="channels"):
            two_channels.done.result(timeout=60)
        answered(engine, Pass(image(1, (1, 8, 8)), way))


class Picky:
    """A network that fails on a batch which holds an image of one grey level, as one that is too large may."""

    def __init__(self):
        self.card = {"question": "segment"}

    def predict(self, images_NCZYX, *, members):
        if any(np.ptp(image) == 0 for image in images_NCZYX):
            raise MemoryError("no room for it")
        return np.stack([images_NCZYX])


def test_of_a_batch_that_fails_whoever_is_not_to_blame_is_answered():
    way = Way(Picky(), (1, 8, 8))
    flat = Pass(np.ones((1, 1, 8, 8), np.float32), way)
    others = [Pass(image(seed, (1, 8, 8)), way) for seed in range(3)]
    with Engine(batch_size=8) as engine:
        for one in (others[0], flat, *others[1:]):
            engine.submit(one)
        for one in others:
            assert one.done.result(timeout=60).probs.shape == (1, 1, 8, 8)
        with pytest.raises(MemoryError):
            flat.done.result(timeout=60)


def test_whoever_watches_cannot_stop_the_engine():
    def failing(_):
        raise RuntimeError("no metrics today")

    way = Way(predictor(spatial_dims=2), (1, 8, 8))
    with Engine(watch=failing) as engine:
        for seed in range(2):
            answered(engine, Pass(image(seed, (1, 8, 8)), way))


class Held:
    """A network that answers when it is let go."""

    def __init__(self):
        self.card = {"question": "segment"}
        self.begun, self.go = threading.Event(), threading.Event()

    def predict(self, images_NCZYX, *, members):
        self.begun.set()
        assert self.go.wait(60)
        return np.stack([images_NCZYX])


def test_no_more_wait_than_may_and_who_leaves_makes_room():
    held = Held()
    way = Way(held, (1, 8, 8))
    with Engine(batch_size=1, most_waiting=2) as engine:
        first = engine.submit(Pass(image(0, (1, 8, 8)), way))
        assert held.begun.wait(60)
        second = engine.submit(Pass(image(1, (1, 8, 8)), way))
        with pytest.raises(BusyError, match="waiting"):
            engine.submit(Pass(image(2, (1, 8, 8)), way))
        assert second.done.cancel()
        held.go.set()
        first.done.result(timeout=60)
        answered(engine, Pass(image(3, (1, 8, 8)), way))
        with pytest.raises(CancelledError):
            second.done.result(timeout=60)
        assert engine.num_waiting == 0


def test_who_is_not_answered_in_time_is_told():
    held = Held()
    way = Way(held, (1, 8, 8))
    with Engine(batch_size=1) as engine:
        first = engine.submit(Pass(image(0, (1, 8, 8)), way))
        assert held.begun.wait(60)
        late = engine.submit(Pass(image(1, (1, 8, 8)), way), seconds=0)
        held.go.set()
        first.done.result(timeout=60)
        with pytest.raises(TimeoutError):
            late.done.result(timeout=60)


def test_who_waits_when_the_engine_closes_is_told():
    held = Held()
    way = Way(held, (1, 8, 8))
    engine = Engine(batch_size=1)
    engine.submit(Pass(image(0, (1, 8, 8)), way))
    assert held.begun.wait(60)
    waiting = engine.submit(Pass(image(1, (1, 8, 8)), way))
    closing = threading.Thread(target=engine.close)
    closing.start()
    held.go.set()
    closing.join(60)
    with pytest.raises(CancelledError):
        waiting.done.result(timeout=60)


@pytest.mark.parametrize(("size", "num_threads"), [(32, 2), (8, 1)])
def test_alone_in_a_process_a_large_call_has_all_threads_a_small_one_and_all_others_have_one(size, num_threads):
    seen, before = [], torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with Engine.alone(watch=lambda _: seen.append(torch.get_num_threads())) as engine:
            answered(engine, Pass(image(0, (size,) * 3), Way(predictor(), (size,) * 3)))
            assert torch.get_num_threads() == 1
        assert seen == [num_threads]
    finally:
        torch.set_num_threads(before)
