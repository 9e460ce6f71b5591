"""Looking on while a training runs changes nothing of it, and misses nothing."""

import io
import threading

import numpy as np
import pytest
from PIL import Image

from hilum.adapters.inline import InlineExecutor, LocalTrainContext
from hilum.adapters.tracking import tracker_maker
from hilum.cli.composition import engine
from hilum.cli.following import Follower, followed
from hilum.cli.progress import ShownExecutor, training_line
from hilum.core.errors import RequestError
from hilum.core.recipes import PretrainRecipe
from hilum.core.resources import Resources
from hilum.steps import pretrain
from hilum.steps.progress_file import read_progress, told_in
from hilum.store.layout import Store
from hilum.store.manifest import write_bytes
from hilum.testing.phantoms import Phantom, phantom_store

RECIPE = PretrainRecipe.model_validate(
    {
        "pretext": {"kind": "denoising"},
        "architecture": {"kind": "unet", "depth": 1, "features": [4, 8]},
        "patch_shape_zyx": [1, 8, 8],
        "num_steps": 6,
        "batch_size": 4,
        "num_held_out_crops": 4,
        "pictures_every": 4,
        "early_stop": {"every": 3},
    }
)


class Recorder:
    """A tracker and an onlooker that writes down what it is told."""

    def __init__(self, name=""):
        self.name, self.told, self.pictures, self.closed = name, [], [], False

    def report(self, metrics, *, num_steps):
        self.told.append((metrics["step"], num_steps))

    def scalars(self, step, values):
        self.told.append((step, dict(values)))

    def picture(self, step, png):
        self.pictures.append((step, png))

    def close(self):
        self.closed = True


def png(level=0):
    packed = io.BytesIO()
    Image.fromarray(np.full((4, 4), level, np.uint8)).save(packed, "PNG")
    return packed.getvalue()


def trained_and_tracked(folder):
    store, ingest_id = phantom_store(str(folder), Phantom("segment", num_frames=4))
    trackers = []

    def make_tracker(name):
        trackers.append(Recorder(name))
        return trackers[-1]

    executor = ShownExecutor(InlineExecutor, store=store, make_tracker=make_tracker)
    manifest = pretrain.run(RECIPE, {"ingest": ingest_id}, store=store, executor=executor, resources=Resources())
    return store, manifest, trackers


def test_a_training_that_is_tracked_tells_every_report_and_every_picture_once(tmp_path):
    store, manifest, (tracker,) = trained_and_tracked(tmp_path)
    assert tracker.name == f"pretrain-{manifest.run_id}"
    assert [step for step, _ in tracker.told] == [1, 2, 3, 4, 5, 6]
    assert all({"loss", "learning_rate", "wait_share"} <= values.keys() for _, values in tracker.told)
    assert [step for step, values in tracker.told if "held_out_loss" in values] == [3, 6]
    assert [step for step, _ in tracker.pictures] == [4, 6]
    assert all(Image.open(io.BytesIO(picture)).size > (100, 100) for _, picture in tracker.pictures)
    assert tracker.closed
    assert read_progress(store.run("pretrain", manifest.run_id)) is None, "it is over"


def test_a_training_that_is_tracked_leaves_the_same_files_as_one_that_is_not(tmp_path):
    _, tracked, _ = trained_and_tracked(tmp_path / "tracked")
    store, ingest_id = phantom_store(str(tmp_path / "alone"), Phantom("segment", num_frames=4))
    alone = pretrain.run(RECIPE, {"ingest": ingest_id}, store=store, executor=InlineExecutor(), resources=Resources())
    assert tracked.files == alone.files
    assert tracked.results == alone.results


def test_an_onlooker_hears_what_is_new_and_only_that(tmp_path):
    recorder, url = Recorder(), str(tmp_path)
    follower = Follower(url, [recorder])
    follower.look()
    assert recorder.told == []
    with told_in(url, LocalTrainContext(), num_steps=9) as told:
        told.report({"step": 1, "loss": 1.0})
    follower.look()
    follower.look()
    assert recorder.told == [(1, 9)]
    write_bytes(f"{url}/pictures/step-00000002.png", png(1))
    with told_in(url, LocalTrainContext(), num_steps=9) as told:
        told.report({"step": 2, "loss": 1.0})
    follower.look()
    write_bytes(f"{url}/pictures/step-00000010.png", png(2))
    follower.look()
    assert recorder.told == [(1, 9), (2, 9)]
    assert recorder.pictures == [(2, png(1)), (10, png(2))]


def test_whoever_begins_to_look_late_hears_it_all(tmp_path):
    with told_in(str(tmp_path), LocalTrainContext(), num_steps=3) as told:
        told.report({"step": 1, "loss": 1.0})
        told.report({"step": 2, "loss": 0.5})
    recorder = Recorder()
    with followed(str(tmp_path), [recorder]):
        pass
    assert recorder.told == [(1, 3), (2, 3)]


def test_a_tracker_that_fails_ends_no_training_and_is_said(tmp_path, capfd):
    class Broken(Recorder):
        def report(self, metrics, *, num_steps):
            raise ConnectionError("the server went away")

    with told_in(str(tmp_path), LocalTrainContext(), num_steps=3) as told:
        told.report({"step": 1, "loss": 1.0})
    with followed(str(tmp_path), [Broken()]):
        done = "training"
    assert done == "training"
    assert "not followed to its end: the server went away" in capfd.readouterr().err
    assert not [thread for thread in threading.enumerate() if thread.name == "hilum-onlooker"]


def test_an_error_of_the_training_passes_through(tmp_path):
    with pytest.raises(ZeroDivisionError), followed(str(tmp_path), [Recorder()]):
        raise ZeroDivisionError


def test_the_line_on_the_screen_says_step_loss_and_learning_rate():
    metrics = {"step": 120, "loss": 0.012346, "learning_rate": 0.0018, "wait_share": 0.1}
    assert training_line("pretrain-a", metrics, num_steps=300) == (
        "pretrain-a  step 120/300  loss 0.01235  learning rate 0.0018"
    )
    assert "held out 0.5" in training_line("pretrain-a", {**metrics, "held_out_loss": 0.5}, num_steps=300)


@pytest.mark.parametrize("kind", ["tensorboard", "mlflow"])
def test_a_tracker_that_is_not_installed_is_one_error_that_says_so(kind):
    try:
        __import__(kind)
    except ImportError:
        with pytest.raises(RequestError, match=rf"asks for {kind}, which is not installed .*pip install {kind}"):
            tracker_maker(f"{kind}:somewhere")
    else:
        pytest.skip(f"{kind} is installed here")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("tensorbord:runs", "Did you mean 'tensorboard'"),
        ("tensorboard", "must be tensorboard:FOLDER or mlflow:URI; given 'tensorboard'"),
        ("mlflow:", "given 'mlflow:'"),
    ],
)
def test_a_tracker_that_cannot_be_meant_is_an_error_before_any_work(address, message, tmp_path, monkeypatch):
    monkeypatch.setenv("HILUM_TRACK", address)
    with pytest.raises(RequestError, match=message):
        engine(store=Store(str(tmp_path)))


def test_nothing_is_asked_of_trackers_where_no_training_is_followed(monkeypatch):
    monkeypatch.setenv("HILUM_TRACK", "tensorbord:runs")
    assert engine().resources == Resources()


def test_real_events_are_written_by_tensorboard(tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    tracker = tracker_maker(f"tensorboard:{tmp_path}")("pretrain-a")
    tracker.scalars(3, {"loss": 0.5})
    tracker.picture(3, png(7))
    tracker.close()
    events = accumulators.EventAccumulator(str(tmp_path / "pretrain-a")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(3, 0.5)]
    assert [event.step for event in events.Images("pictures")] == [3]
