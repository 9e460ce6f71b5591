"""`hilum model import` of an encoder, and the first round that it embeds, as they are typed."""

import hashlib

import numpy as np
import onnx
import pytest
import safetensors.numpy
from onnx import TensorProto, helper, numpy_helper

from hilum.adapters.inline import InlineExecutor
from hilum.cli import composition
from hilum.core.resources import Resources
from hilum.store import checkpoints


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Shards that are done in this process."""
    ready = composition.Engine(InlineExecutor(), Resources())
    monkeypatch.setattr(composition, "engine", lambda **options: ready)
    monkeypatch.setattr("hilum.cli.round_steps.engine", lambda **options: ready)
    return tmp_path


def onnx_file(folder, channels=3):
    """A convolution and a mean over space: (N, C, Y, X) of any size to (N, 5)."""
    kernel = np.random.default_rng(0).standard_normal((5, channels, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["images", "kernel"], ["features"]),
        helper.make_node("Relu", ["features"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["embedding"]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", channels, "y", "x"])
    embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 5])
    graph = helper.make_graph(nodes, "encoder", [images], [embedding], [numpy_helper.from_array(kernel, "kernel")])
    file = folder / "encoder.onnx"
    file.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    )
    onnx.checker.check_model(str(file))
    return file


def test_an_encoder_is_imported_and_asks_the_first_round(typed, here, store, recipe):
    file = onnx_file(here)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    line = (
        f"model import {file} --licence 'CC BY 4.0' --sha256 {digest.upper()} "
        f"--reads '{{mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2]}}' --store {store.url}"
    )
    answer = typed(line)
    assert answer.code == 0, answer.err
    again = typed(f"{line} --json").document
    assert again["already_done"]
    checkpoint = again["run_id"]
    assert f"put 'encoder: {checkpoint}' under score" in answer.out
    assert checkpoints.read_card(store, checkpoint)["licence"] == "CC BY 4.0"
    asks = here / "asks.yaml"
    asks.write_text(
        f"extends: {recipe}\nscore: {{encoder: {checkpoint}, num_views: 3}}\n"
        "select: {cold_start: {kind: hard_to_contrast, num_epochs: 2}, num: 4}\n"
    )
    for step in ("pool", "score", "select"):
        done = typed(f"{step} {asks} --store {store.url} --json")
        assert done.code == 0, done.err
    assert done.document["results"]["arms"] == {"hard_to_contrast": 4}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--timm resnet18", "--timm is for another kind of file"),
        ("--names names.yaml", "--names is for weights that a training starts from"),
        ("--architecture unet", "--architecture is for weights that a training starts from"),
        ("--sha256 abc", "not abc: it is another file, or damaged"),
        ("--channels 1", "3 channel(s), not 1"),
        ("--reads '{sise: [3]}'", "Did you mean 'size'"),
        ("--reads '{mean: [a'", "--reads is not readable YAML"),
        ("--reads '{std: [0, 1, 1]}'", "greater than 0"),
        ("--output embeding", "Did you mean 'embedding'"),
    ],
)
def test_an_encoder_that_cannot_be_meant_says_why(typed, here, store, options, said):
    answer = typed(f"model import {onnx_file(here)} --licence MIT {options} --store {store.url}")
    assert answer.code == 2
    assert said in " ".join(answer.err.split())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "--names FILE and --architecture KIND for a network to train, or --timm MODEL for an encoder"),
        ("--output x", "--output is for an encoder"),
        ("--timm resnet18 --output x", "--output is for another kind of file"),
        ("--timm resnet18 --dims 3", "a 3D encoder is imported as ONNX"),
    ],
)
def test_weights_that_are_not_said_to_be_anything_say_what_is_missing(typed, here, store, options, said):
    file = here / "weights.safetensors"
    safetensors.numpy.save_file({"a": np.zeros(2, np.float32)}, file)
    answer = typed(f"model import {file} --licence MIT {options} --store {store.url}")
    assert answer.code == 2
    assert said in " ".join(answer.err.split())


def test_an_image_of_two_channels_is_refused_before_any_is_embedded(typed, here, store, recipe):
    checkpoint = typed(f"model import {onnx_file(here, channels=2)} --licence MIT --store {store.url} --json").document[
        "run_id"
    ]
    asks = here / "asks.yaml"
    asks.write_text(f"extends: {recipe}\nscore: {{encoder: {checkpoint}}}\n")
    assert typed(f"pool {asks} --store {store.url}").code == 0
    answer = typed(f"score {asks} --store {store.url}")
    assert answer.code == 2
    assert "reads 2D images of 2 channel(s); these candidates are 2D of 1" in " ".join(answer.err.split())
