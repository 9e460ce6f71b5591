"""Weights of a timm model from a file: the real timm where it can be imported, and one sentence where it cannot."""

import sys

import numpy as np
import pytest
import safetensors.numpy
import torch

from hilum.core.errors import RecipeError
from hilum.core.recipes import FinetuneRecipe
from hilum.core.recipes.importing import EncoderRecipe
from hilum.steps import import_encoder
from hilum.steps.predictor import load_encoder, load_predictor
from hilum.steps.starting import check_start
from hilum.store import checkpoints
from hilum.store.layout import Store

try:
    import timm

    WHY_NOT = ""
except (ImportError, RuntimeError) as error:  # torchvision of another build than torch fails with the second
    timm, WHY_NOT = None, f"timm cannot be imported: {error}"
needs_timm = pytest.mark.skipif(timm is None, reason=WHY_NOT)

RESNET = {"kind": "timm", "model": "resnet10t"}


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "store"))


def imported(store, payload, **fields):
    recipe = EncoderRecipe.model_validate({"network": RESNET, "licence": "Apache-2.0", **fields})
    return import_encoder.run(recipe, payload, store=store)


def weights(name="resnet10t", **options):
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, **options).eval()
    tensors = {key: tensor.detach().numpy() for key, tensor in model.state_dict().items()}
    return model, safetensors.numpy.save({key: np.array(array, order="C") for key, array in tensors.items()})


def test_without_timm_one_sentence_says_what_to_install(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    payload = safetensors.numpy.save({"a": np.zeros(1, np.float32)})
    with pytest.raises(RecipeError, match=r"encoder 'resnet10t' needs timm.*pip install 'hilum\[timm\]'"):
        imported(store, payload)


def test_a_3d_network_is_none_of_timm_s(store):
    with pytest.raises(RecipeError, match="timm's networks read 2D images; a 3D encoder is imported as ONNX"):
        imported(store, b"", spatial_dims=3)


@needs_timm
@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224"])
def test_it_embeds_as_timm_pools_what_timm_s_own_weights_were_trained_to_see(store, name):
    model, payload = weights(name)
    manifest = imported(store, payload, network={"kind": "timm", "model": name})
    noted = model.pretrained_cfg
    card = checkpoints.read_card(store, manifest.run_id)
    assert (card["question"], card["licence"], card["in_channels"]) == ("embed", "Apache-2.0", 3)
    assert card["reads"]["size"] == list(noted["input_size"][1:])
    assert (card["reads"]["mean"], card["reads"]["std"]) == (list(noted["mean"]), list(noted["std"]))
    assert set(manifest.results["unused"]) == {key for key in model.state_dict() if key.startswith(("fc.", "head."))}
    grey = np.random.default_rng(0).random((2, 1, 1, *noted["input_size"][1:]), np.float32)
    colours = torch.from_numpy(np.repeat(grey[:, :, 0], 3, axis=1))
    mean, std = (torch.tensor(noted[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        wanted = model.forward_head(model.forward_features((colours - mean) / std), pre_logits=True).numpy()
    found = load_encoder(store, manifest.run_id).embed(grey)
    assert found.shape == (2, card["embedding_size"])
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


@needs_timm
def test_one_of_one_channel_is_told_of_and_has_no_colours_mean(store):
    _, payload = weights(in_chans=1)
    with pytest.raises(RecipeError, match=r"conv1.*\[24, 1, 3, 3\] in the file and \[24, 3, 3, 3\].*--channels"):
        imported(store, payload)
    manifest = imported(store, payload, in_channels=1, reads={"size": [32, 32]})
    assert manifest.results["reads"] == {"size": [32, 32], "mean": None, "std": None}
    encoder = load_encoder(store, manifest.run_id)
    assert encoder.embed(np.zeros((1, 1, 1, 28, 28), np.float32)).shape == (1, 512)


@needs_timm
def test_weights_of_another_model_are_refused(store):
    _, payload = weights()
    with pytest.raises(RecipeError, match="The file lacks .* of the model's"):
        imported(store, payload, network={"kind": "timm", "model": "resnet18"})
    with pytest.raises(RecipeError, match="timm has no model 'resnet0'"):
        imported(store, payload, network={"kind": "timm", "model": "resnet0"})


@needs_timm
def test_it_answers_no_question_and_starts_no_training(store):
    checkpoint = imported(store, weights()[1]).run_id
    with pytest.raises(RecipeError, match=r"as score\.encoder, and answers no question"):
        load_predictor(store, checkpoint)
    recipe = FinetuneRecipe.model_validate({"from": checkpoint})
    with pytest.raises(RecipeError, match="it is an encoder of timm"):
        check_start(recipe, "classify", store, spatial_dims=2, in_channels=3, num_classes=2)
