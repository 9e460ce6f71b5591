"""export: a file that answers as the checkpoint does, says what it is, and runs where hilum is not."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import onnx
import pytest
import torch

from hilum.adapters import packaged
from hilum.core.errors import HilumError, RecipeError, RequestError
from hilum.core.recipes import Choice
from hilum.nn import export as program
from hilum.nn.normalise import normalise
from hilum.nn.onnx_model import OnnxPredictor
from hilum.steps import export, export_checks, held_out
from hilum.steps.predictor import load_predictor
from hilum.store import checkpoints
from hilum.store.volumes import volumes_of
from hilum.testing.nested import trained_on_phantoms
from hilum.testing.phantoms import Phantom

EXAMPLE = Path(__file__).resolve().parents[3] / "platform" / "docs" / "examples" / "run_onnx.py"
NEAR = 1e-4


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    return trained_on_phantoms(str(tmp_path_factory.mktemp("flat")), Phantom("segment"))


@pytest.fixture(scope="module")
def written(flat, tmp_path_factory):
    """The checkpoint as ONNX, and what was said of it."""
    file = tmp_path_factory.mktemp("onnx") / "model.onnx"
    made = export.export(flat.store, flat.checkpoint_id, to="onnx", file=str(file), pool_id=flat.pool_id)
    return file, made


@pytest.fixture(scope="module")
def small(flat, tmp_path_factory):
    """The checkpoint with 8 bits, and what that lost."""
    file = tmp_path_factory.mktemp("int8") / "small.onnx"
    return file, *export.export_int8(flat.store, flat.checkpoint_id, file=str(file), pool_id=flat.pool_id)


@pytest.fixture(scope="module")
def brain_slices(tmp_path_factory):
    """Twenty axial slices (1, Y, X) of a real brain, whose sides divide by nothing that a network pads to."""
    folder = tmp_path_factory.mktemp("brain")
    packaged.write_segment(folder)
    image_XYZ = np.asarray(nib.load(folder / "images" / "icbm2009a.nii").dataobj)
    slices = [image_XYZ[:, :, z].T[None] for z in np.linspace(20, 70, 20).astype(int)]
    assert slices[0].shape == (1, 92, 75)
    return slices


def predicted(made, images_NCYX):
    return load_predictor(made.store, made.checkpoint_id).predict(images_NCYX[:, :, None])[0][:, :, 0]


def test_twenty_real_images_are_answered_as_the_checkpoint_answers_them(flat, written, brain_slices):
    model = OnnxPredictor(written[0].read_bytes(), checkpoints.read_card(flat.store, flat.checkpoint_id))
    assert len(brain_slices) == 20
    for image in brain_slices:
        images = normalise(image, 0, 255)[None]
        answer = model.run(images)
        assert answer.shape == (1, 2, 92, 75)
        assert np.abs(answer - predicted(flat, images)).max() < NEAR
        assert answer.min() < 0.9 < answer.max()


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (7, 50), (33, 8)])
@pytest.mark.parametrize("batch", [1, 4])
def test_any_batch_of_any_size_goes_in(flat, written, batch, size):
    images = np.random.default_rng(1).random((batch, 1, *size), np.float32)
    answer = OnnxPredictor(written[0].read_bytes(), checkpoints.read_card(flat.store, flat.checkpoint_id)).run(images)
    assert np.abs(answer - predicted(flat, images)).max() < NEAR


def test_what_was_checked_is_said(written):
    _, made = written
    assert made.num_real_images == Phantom("segment").num_frames
    assert 0 <= made.largest_difference < NEAR
    assert made.num_bytes == Path(made.file).stat().st_size


def test_the_file_says_what_it_is(flat, written):
    said = {entry.key: entry.value for entry in onnx.load(str(written[0])).metadata_props}
    assert said["checkpoint"] == flat.checkpoint_id
    assert json.loads(said["class_names"]) == ["background", "lesion"]
    assert said["num_channels"] == "1"
    assert json.loads(said["spacing_mm_zyx"]) == [2.0, 1.0, 1.0]
    assert json.loads(said["low_high"]) == [0.0, 1200.0]
    assert said["licence"] == "that of the images it was trained on"
    assert {"hilum_version", "normalisation", "window", "output"} <= said.keys()


def test_the_file_names_no_place_of_this_machine(written):
    payload = written[0].read_bytes()
    assert b".py" not in payload
    assert str(Path.cwd()).encode() not in payload


def test_no_image_of_a_test_patient_is_looked_at(flat):
    card = checkpoints.read_card(flat.store, flat.checkpoint_id)
    with pytest.raises(AssertionError, match="test patients"):
        export_checks.images_of(flat.store, card, flat.pool_id, side="test", num=1)
    volumes = volumes_of(flat.store, flat.ingest_id).values()
    assert {volume.side for volume in volumes} == {"pool", "validation", "test"}
    assert len(export_checks.images_of(flat.store, card, flat.pool_id, side="pool", num=1000)) == 36


def test_a_model_that_answers_otherwise_leaves_no_file(flat, tmp_path, monkeypatch):
    made = export._made

    def wrong(*arguments):
        payload, answer = made(*arguments)
        return payload, lambda images: answer(images) + np.float32(2e-4)

    monkeypatch.setattr(export, "_made", wrong)
    with pytest.raises(HilumError, match="differ by up to 0.0002.*nothing was written"):
        export.export(flat.store, flat.checkpoint_id, to="torch", file=str(tmp_path / "model.pt2"))
    assert list(tmp_path.iterdir()) == []


def test_an_answer_that_is_no_number_or_of_another_shape_is_infinitely_far(flat):
    card = checkpoints.read_card(flat.store, flat.checkpoint_id)
    network, _ = export._network_at(flat.store, flat.checkpoint_id, None)
    batches = export_checks.check_batches(card, [])
    for wrong in (lambda images: np.full((len(images), 2, *images.shape[2:]), np.nan), lambda images: images):
        assert export_checks.largest_difference(network, wrong, batches) == np.inf


def test_a_torch_program_is_loaded_and_answers_the_same_and_holds_no_pickle(flat, tmp_path):
    file = tmp_path / "model.pt2"
    made = export.export(flat.store, flat.checkpoint_id, to="torch", file=str(file), depth=2)
    assert made.num_real_images == 0
    loaded = torch.export.load(io.BytesIO(file.read_bytes())).module()
    images = np.random.default_rng(0).random((2, 1, 11, 30), np.float32)
    at_depth = load_predictor(flat.store, flat.checkpoint_id, depth=2).predict(images[:, :, None])[0][:, :, 0]
    with torch.inference_mode():
        assert np.abs(loaded(torch.from_numpy(images)).numpy() - at_depth).max() < NEAR
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    assert all(not member.startswith((b"\x80\x02", b"PK")) for member in members.values())
    (said,) = [json.loads(member) for name, member in members.items() if name.endswith("extra/hilum.json")]
    assert said["checkpoint"] == flat.checkpoint_id
    assert json.loads(said["architecture"])["depth"] == 2
    assert all(b".py" not in member for name, member in members.items() if name.endswith(".json"))


def test_a_solid_model_and_a_classifier_leave_too(tmp_path):
    solid = trained_on_phantoms(
        str(tmp_path / "solid"),
        Phantom("segment", spatial_dims=3, num_frames=3, size=8),
        architecture=Choice(kind="unetpp", depth=2, features=(4, 8, 8), norm="instance", input_stride=2, up="linear"),
        num_steps=1,
    )
    made = export.export(
        solid.store, solid.checkpoint_id, to="onnx", file=str(tmp_path / "solid.onnx"), pool_id=solid.pool_id
    )
    assert (made.num_real_images, made.largest_difference < NEAR) == (3, True)
    answers = trained_on_phantoms(
        str(tmp_path / "classes"),
        Phantom("classify"),
        architecture=Choice(kind="unet", depth=1, features=(4, 8)),
        num_steps=1,
    )
    made = export.export(
        answers.store, answers.checkpoint_id, to="onnx", file=str(tmp_path / "c.onnx"), pool_id=answers.pool_id
    )
    assert made.largest_difference < NEAR
    card = checkpoints.read_card(answers.store, answers.checkpoint_id)
    images = np.random.default_rng(0).random((5, 1, 16, 16), np.float32)
    by_file = OnnxPredictor((tmp_path / "c.onnx").read_bytes(), card).predict(images[:, :, None])
    by_hilum = load_predictor(answers.store, answers.checkpoint_id).predict(images[:, :, None])
    assert by_file.shape == by_hilum.shape == (1, 5, 2)
    assert np.abs(by_file - by_hilum).max() < NEAR


def test_eight_bits_are_compared_on_validation_patients(flat, small, written):
    file, made, (plain, int8), metric = small
    assert metric == "dice_mean"
    assert (plain.precision, int8.precision) == ("float32", "int8")
    assert int8.num_bytes == made.num_bytes == file.stat().st_size < plain.num_bytes
    assert 0 < made.largest_difference < 1
    for row in (plain, int8):
        assert 0 <= row.low <= row.score <= row.high <= 1
        assert row.latency_ms > 0
    kinds = {node.op_type for node in onnx.load(str(file)).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    assert "QuantizeLinear" not in {node.op_type for node in onnx.load(str(written[0])).graph.node}


def test_eight_bits_answer_what_they_were_scored_by(flat, small):
    file, _, (_, int8), _ = small
    card = checkpoints.read_card(flat.store, flat.checkpoint_id)
    again = export._score(flat.store, card, flat.pool_id, OnnxPredictor(file.read_bytes(), card))
    assert again.value == int8.score


def test_a_missing_package_is_named_with_what_to_install(flat, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(RequestError, match=r"onnxscript.*pip install 'hilum\[export\]'"):
        export.export(flat.store, flat.checkpoint_id, to="onnx", file=str(tmp_path / "model.onnx"))
    assert program.OUTPUT == "probabilities"


def test_a_depth_that_is_not_there_is_refused(flat, tmp_path):
    with pytest.raises(RecipeError, match="Depth 7 is not one of"):
        export.export(flat.store, flat.checkpoint_id, to="torch", file=str(tmp_path / "m.pt2"), depth=7)


def test_several_pools_ask_which_one_and_one_needs_no_word(flat):
    assert held_out.of_checkpoint(flat.store, flat.checkpoint_id)["pool"] == flat.pool_id
    with pytest.raises(RequestError, match=f"'ffffffffffff'. Known: {flat.pool_id}"):
        held_out.of_checkpoint(flat.store, flat.checkpoint_id, pool_id="ffffffffffff")


# Only what is named here can be imported: neither hilum nor torch is where this process looks.
_ALONE = """
import runpy, sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("hilum", "torch", "onnx", "onnxscript"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nothing())
for gone in ("hilum", "torch"):
    try:
        __import__(gone)
    except ModuleNotFoundError:
        continue
    sys.exit(f"{gone} can be imported")
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
assert "numpy" in sys.modules and not {"hilum", "torch"} & set(sys.modules)
"""


def test_the_example_runs_where_hilum_and_torch_are_not(flat, written, brain_slices, tmp_path):
    np.save(tmp_path / "image.npy", brain_slices[10])
    done = subprocess.run(
        [sys.executable, "-I", "-c", _ALONE, str(EXAMPLE), str(written[0]), "image.npy", "0", "255", "answer.npy"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    images = normalise(brain_slices[10], 0, 255)[None]
    assert np.abs(np.load(tmp_path / "answer.npy") - predicted(flat, images)[0]).max() < NEAR
    assert done.stdout.startswith("background: ")


def test_the_example_is_thirty_lines():
    assert len(EXAMPLE.read_text().splitlines()) <= 30
