"""An encoder that others trained, imported as a file, embeds the candidates of the first round."""

import hashlib
import io
import json

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from hilum.adapters.inline import InlineExecutor
from hilum.core.errors import CorruptionError, DataError, RecipeError, RequestError
from hilum.core.recipes import Choice, FinetuneRecipe, PoolRecipe, ScoreRecipe, SelectRecipe
from hilum.core.recipes.importing import EncoderRecipe
from hilum.core.resources import Resources
from hilum.nn.imported_encoder import channels_read
from hilum.steps import import_encoder, pool, score, select
from hilum.steps.predictor import load_encoder, load_predictor
from hilum.steps.score_parts import read_scores
from hilum.steps.starting import check_start
from hilum.store import checkpoints
from hilum.testing.phantoms import Phantom, phantom_store

FRAMES = Phantom("classify", num_frames=10, size=16)
BLOCKS = Phantom("segment", spatial_dims=3, num_frames=2, size=16)


class Elsewhere(nn.Module):
    """An encoder as somebody else may have trained it: it answers with pooled features, and with a map."""

    def __init__(self, channels=1, dims=2, width=6, answers="pooled"):
        super().__init__()
        torch.manual_seed(0)
        convolution = nn.Conv2d if dims == 2 else nn.Conv3d
        self.one, self.two = convolution(channels, 4, 3, padding=1), convolution(4, width, 3, stride=2, padding=1)
        self.answers = answers

    def forward(self, images):
        features = self.two(torch.relu(self.one(images)))
        answers = {"pooled": features.flatten(2).mean(dim=2), "map": features, "tokens": features.flatten(2)}
        return answers[self.answers] if self.answers != "both" else (answers["map"], answers["pooled"])


def onnx_of(network, shape, *, is_open=True, outputs=("embedding",)):
    """The network as ONNX, of open or fixed sizes."""
    sink = io.BytesIO()
    open_axes = dict.fromkeys((0, *range(2, len(shape))), torch.export.Dim.DYNAMIC) if is_open else {}
    made = torch.onnx.export(
        network.eval(),
        (torch.rand(shape),),
        dynamo=True,
        input_names=["x"],
        output_names=list(outputs),
        dynamic_shapes=(open_axes,) if is_open else None,
        verbose=False,
    )
    sink.write(made.model_proto.SerializeToString())
    return sink.getvalue()


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def grey():
    return onnx_of(Elsewhere(), (3, 1, 19, 23))


@pytest.fixture(scope="module")
def colour():
    """Of one image of one size, as most exports are."""
    return onnx_of(Elsewhere(channels=3), (1, 3, 24, 20), is_open=False)


class Bench:
    def __init__(self, folder, phantom):
        self.store, self.ingest = phantom_store(str(folder), phantom)
        self.how = {"store": self.store, "executor": InlineExecutor(), "resources": Resources()}
        self.pool = pool.run(PoolRecipe(), {"ingest": self.ingest}, **self.how).run_id

    def score(self, encoder, **fields):
        recipe = ScoreRecipe(encoder=encoder, **fields)
        return score.run(recipe, score.inputs_of(recipe, pool=self.pool, checkpoint="none"), **self.how)

    def embeddings(self, manifest):
        return np.array(read_scores(self.store, manifest)["embedding"].to_pylist(), np.float32)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path, FRAMES)


def imported(store, payload, **fields):
    recipe = EncoderRecipe.model_validate({"network": {"kind": "onnx"}, "licence": "MIT", **fields})
    return import_encoder.run(recipe, payload, store=store)


def test_an_onnx_file_is_kept_as_it_is_with_a_card_that_says_what_it_reads(bench, grey):
    manifest = imported(bench.store, grey, reads={"mean": [0.25], "std": [0.5]})
    payload, card = checkpoints.load_program(bench.store, manifest.run_id)
    assert payload == grey
    assert card["imported_sha256"] == hashlib.sha256(grey).hexdigest()
    assert (card["question"], card["licence"], card["embedding_size"]) == ("embed", "MIT", 6)
    assert (card["spatial_dims"], card["in_channels"]) == (2, 1)
    assert card["reads"] == {"size": None, "mean": [0.25], "std": [0.5]}
    assert card["encoder"] == {"kind": "onnx", "output": None}
    assert imported(bench.store, grey, reads={"mean": [0.25], "std": [0.5]}) == manifest


def test_it_embeds_what_the_network_embeds(bench, grey):
    encoder = load_encoder(bench.store, imported(bench.store, grey, reads={"mean": [0.25], "std": [0.5]}).run_id)
    images = np.random.default_rng(0).random((5, 1, 1, 21, 17), np.float32)
    wanted = Elsewhere()(torch.from_numpy((images[:, :, 0] - 0.25) / 0.5)).detach().numpy()
    np.testing.assert_allclose(encoder.embed(images), wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(encoder.embed(images[2:3]), wanted[2:3], rtol=1e-4, atol=1e-5)


def test_a_campaign_s_first_round_compares_what_it_embeds(bench, grey):
    checkpoint = imported(bench.store, grey).run_id
    manifest = bench.score(checkpoint, num_views=2)
    assert manifest.inputs["encoder"] == checkpoint
    assert bench.embeddings(manifest).shape[1] == 6
    recipe = SelectRecipe(cold_start=Choice(kind="hard_to_contrast", num_epochs=2), num=4)
    inputs = {"score": manifest.run_id, "pool": bench.pool, "labels": "none"}
    assert select.run(recipe, inputs, **bench.how).results["num_selected"] == 4


def test_grey_is_shown_three_times_and_resized_to_a_network_of_colours(bench, colour):
    checkpoint = imported(bench.store, colour).run_id
    card = checkpoints.read_card(bench.store, checkpoint)
    assert (card["in_channels"], card["reads"]["size"]) == (3, [24, 20])
    assert bench.embeddings(bench.score(checkpoint)).shape[1] == 6
    images = np.random.default_rng(1).random((3, 1, 1, 24, 20), np.float32)
    wanted = Elsewhere(channels=3)(torch.from_numpy(np.repeat(images[:, :, 0], 3, axis=1))).detach().numpy()
    np.testing.assert_allclose(load_encoder(bench.store, checkpoint).embed(images), wanted, rtol=1e-4, atol=1e-5)


def test_two_channels_are_no_colours():
    assert channels_read({"in_channels": 3, "reads": {}}) == (1, 3)
    assert channels_read({"in_channels": 2, "reads": {}}) == (2,)
    assert channels_read({"in_channels": 3}) == (3,)  # hilum's own: it was trained on three different channels


def test_a_block_is_embedded_by_a_3d_encoder_and_refused_by_a_2d_one(tmp_path, grey):
    bench = Bench(tmp_path, BLOCKS)
    solid = onnx_of(Elsewhere(dims=3, answers="map"), (3, 1, 9, 11, 13))
    manifest = imported(bench.store, solid)
    assert manifest.results["spatial_dims"] == 3
    assert bench.embeddings(bench.score(manifest.run_id)).shape[1] == 6
    flat = imported(bench.store, grey).run_id
    with pytest.raises(RecipeError, match=r"reads 2D images of 1 channel\(s\); these candidates are 3D of 1"):
        bench.score(flat)


def test_a_feature_map_is_averaged_over_space(bench):
    images = np.random.default_rng(0).random((4, 1, 1, 16, 16), np.float32)
    both = onnx_of(Elsewhere(answers="both"), (3, 1, 19, 23), outputs=("features", "pooled"))
    found = [
        load_encoder(bench.store, imported(bench.store, both, network={"kind": "onnx", "output": name}).run_id)
        for name in ("features", "pooled")
    ]
    np.testing.assert_allclose(found[0].embed(images), found[1].embed(images), rtol=1e-4, atol=1e-6)
    with pytest.raises(RecipeError, match="has 2 outputs; say with --output which is the embedding: features, pooled"):
        imported(bench.store, both)
    with pytest.raises(RecipeError, match="Did you mean 'pooled'"):
        imported(bench.store, both, network={"kind": "onnx", "output": "poled"})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"in_channels": 3}, r"1 channel\(s\), not 3"),
        ({"spatial_dims": 3}, "2D, and not 3D"),
        ({"reads": {"size": [8, 8, 8]}}, r"reads\.size is \(Y, X\) of this 2D"),
        ({"reads": {"mean": [0.5, 0.5, 0.5]}}, r"reads\.mean is a number for each of the network's 1 channel"),
        ({"network": {"kind": "keras"}}, r"network is \{kind: onnx\}"),
        ({"network": {"kind": "onnx", "outptu": "x"}}, "network onnx, outptu"),
        ({"network": {"kind": "timm"}}, "network timm, model"),
    ],
)
def test_what_cannot_be_meant_of_a_file_says_why(bench, grey, fields, message):
    with pytest.raises(RecipeError, match=message):
        imported(bench.store, grey, **fields)


def test_another_size_than_the_file_s_own_is_refused(bench, colour):
    with pytest.raises(RecipeError, match=r"reads\.size must say the same, given \(32, 32\)"):
        imported(bench.store, colour, reads={"size": [32, 32]})


def test_tokens_are_no_embedding(bench):
    tokens = onnx_of(Elsewhere(answers="tokens"), (3, 1, 19, 23))
    with pytest.raises(RecipeError, match="an embedding is .N, D.*Export its pooled output"):
        imported(bench.store, tokens)


def test_a_file_that_is_no_onnx_is_refused(bench, grey):
    for payload in (b"\x80\x04K*.", b"no model at all", grey[: len(grey) // 2]):
        with pytest.raises(DataError):
            imported(bench.store, payload)


def test_weights_in_another_file_are_refused(bench, grey, tmp_path):
    path = tmp_path / "apart.onnx"
    model = onnx.load_model_from_string(grey)
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(DataError, match="Weights of the file are in another one"):
        imported(bench.store, path.read_bytes())


def test_weights_that_are_not_finite_are_refused(bench):
    network = Elsewhere()
    network.two.bias.data[0] = torch.nan
    with pytest.raises(DataError, match="not a finite number"):
        imported(bench.store, onnx_of(network, (3, 1, 19, 23)))


def test_a_byte_that_changed_at_rest_is_found(bench, grey):
    checkpoint = imported(bench.store, grey).run_id
    path = f"{bench.store.checkpoint(checkpoint)}/encoder.onnx".removeprefix("file://")
    with open(path, "r+b") as file:  # noqa: PTH123
        file.seek(len(grey) // 2)
        file.write(b"\x00\xff\x00")
    with pytest.raises(CorruptionError, match="damaged"):
        load_encoder(bench.store, checkpoint)


def test_it_answers_no_question_and_starts_no_training(bench, grey):
    checkpoint = imported(bench.store, grey).run_id
    with pytest.raises(RequestError, match=r"as score\.encoder, and has no weights"):
        load_predictor(bench.store, checkpoint)
    recipe = FinetuneRecipe.model_validate({"from": checkpoint})
    with pytest.raises(RequestError, match=r"as score\.encoder, and has no weights"):
        check_start(recipe, "classify", bench.store, spatial_dims=2, in_channels=1, num_classes=2)


def test_a_card_names_no_folder(bench, grey, tmp_path):
    assert str(tmp_path) not in json.dumps(checkpoints.read_card(bench.store, imported(bench.store, grey).run_id))
