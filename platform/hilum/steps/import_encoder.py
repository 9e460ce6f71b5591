"""import of an encoder: a network of elsewhere becomes a checkpoint that embeds candidates before there is a model.

inputs: ``file``, the hash of the bytes. The checkpoint has the run's id and holds the ONNX file as it is, or timm's
tensors; its card says ``question: embed``, what the network is, what it reads and how many numbers it makes of an
image, the licence that was given and the file's hash. Nothing that could run code is read.
"""

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from hilum.core.errors import RecipeError
from hilum.core.recipes.importing import EncoderRecipe
from hilum.nn.imported_encoder import COLOUR, ImportedEncoder, Sight, embedding_size
from hilum.nn.onnx_encoder import OnnxFile
from hilum.nn.predictor import EMBEDS, Precision
from hilum.nn.timm_encoder import network_of, take_weights, timm_model, timm_sight
from hilum.steps.import_weights import STEP, STEP_VERSION, Tensors, inputs_of, tensors_of
from hilum.store import checkpoints
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, Run

_CPU = torch.device("cpu")


class _OnnxNetwork(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["onnx"]
    output: str | None = None


class _TimmNetwork(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["timm"]
    model: str


def run(recipe: EncoderRecipe, payload: bytes, *, store: Store) -> Manifest:
    """Publish ``payload``, the bytes of an ONNX or a safetensors file, as a checkpoint that embeds."""
    network = _network_of(recipe)
    this = Run(store, STEP, STEP_VERSION, recipe, inputs_of(payload))
    before = this.finished()
    if before is not None:
        return before
    opened = (
        _open_onnx(recipe, network, payload)
        if isinstance(network, _OnnxNetwork)
        else _open_timm(recipe, network, payload)
    )
    card = {
        "question": EMBEDS,
        "encoder": network.model_dump(),
        **opened.sight.on_card(),
        "embedding_size": opened.embedding_size,
        "recipe": recipe.model_dump(mode="json"),
        "inputs": inputs_of(payload),
        "imported_sha256": hashlib.sha256(payload).hexdigest(),
        "hilum_version": version("hilum"),
        "licence": recipe.licence,
    }
    if opened.tensors is None:
        checkpoints.save_program(store, this.run_id, payload, card)
    else:
        checkpoints.save(store, this.run_id, opened.tensors, card)
    return this.commit(
        checkpoint=this.run_id,
        licence=recipe.licence,
        embedding_size=opened.embedding_size,
        unused=list(opened.unused),
        **opened.sight.on_card(),
    )


def encoder_of(store: Store, checkpoint_id: str, *, precision: Precision = "float32") -> ImportedEncoder:
    """The encoder of a checkpoint whose card says that it embeds."""
    card = checkpoints.read_card(store, checkpoint_id)
    if card["encoder"]["kind"] == "onnx":
        payload, card = checkpoints.load_program(store, checkpoint_id)
        return ImportedEncoder(OnnxFile(payload, card["encoder"]["output"]).network(), card, device=_CPU)
    tensors, card = checkpoints.load(store, checkpoint_id)
    model = timm_model(card["encoder"]["model"], in_channels=card["in_channels"])
    take_weights(model, tensors)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return ImportedEncoder(network_of(model, device=device, precision=precision), card, device=device)


@dataclass(frozen=True)
class _Opened:
    """What is in a file: the tensors that are kept of it, or None where the file itself is."""

    sight: Sight
    embedding_size: int
    tensors: Tensors | None = None
    unused: tuple[str, ...] = ()


def _open_onnx(recipe: EncoderRecipe, network: _OnnxNetwork, payload: bytes) -> _Opened:
    file = OnnxFile(payload, network.output)
    sight = file.sight(spatial_dims=recipe.spatial_dims, in_channels=recipe.in_channels).as_told(recipe.reads)
    file.check_size(sight.size)
    return _Opened(sight, embedding_size(file.network(), sight))


def _open_timm(recipe: EncoderRecipe, network: _TimmNetwork, payload: bytes) -> _Opened:
    if recipe.spatial_dims == 3:
        raise RecipeError("timm's networks read 2D images; a 3D encoder is imported as ONNX.")
    in_channels = recipe.in_channels or COLOUR
    tensors = tensors_of(payload)
    model = timm_model(network.model, in_channels=in_channels)
    unused = take_weights(model, tensors)
    sight = timm_sight(model, in_channels=in_channels).as_told(recipe.reads)
    size = embedding_size(network_of(model, device=_CPU), sight)
    return _Opened(sight, size, {name: array for name, array in tensors.items() if name not in unused}, unused)


def _network_of(recipe: EncoderRecipe) -> _OnnxNetwork | _TimmNetwork:
    kinds: dict[str, type[_OnnxNetwork | _TimmNetwork]] = {"onnx": _OnnxNetwork, "timm": _TimmNetwork}
    kind = recipe.network.kind
    if kind not in kinds:
        raise RecipeError(f"network is {{kind: onnx}} or {{kind: timm, model: NAME}}; given '{kind}'.")
    try:
        return kinds[kind].model_validate({"kind": kind, **recipe.network.params})
    except ValidationError as error:
        first = error.errors()[0]
        raise RecipeError(f"network {kind}, {'.'.join(map(str, first['loc']))}: {first['msg']}.") from None
