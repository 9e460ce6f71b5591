"""import: weights that were trained elsewhere become a checkpoint that trainings start from.

inputs: ``file``, the hash of the bytes. The checkpoint has the run's id and holds the tensors that were found; its
card says ``question: pretext``, the licence that was given and the file's hash. Nothing that could run code is read.
"""

import hashlib
import re
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from hilum.core.errors import DataError, RecipeError, unknown_name
from hilum.core.ids import content_id
from hilum.core.recipes.importing import ImportRecipe
from hilum.nn.heads import resolved
from hilum.nn.pretext.networks import restorer
from hilum.nn.transfer import take_over
from hilum.store import checkpoints
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, Run

STEP = "import"
STEP_VERSION = 1
QUESTION = "pretext"
Tensors = dict[str, npt.NDArray[Any]]


def run(recipe: ImportRecipe, payload: bytes, *, store: Store) -> Manifest:
    """Publish the weights in ``payload``, the bytes of a safetensors file, as a checkpoint."""
    inputs = inputs_of(payload)
    this = Run(store, STEP, STEP_VERSION, recipe, inputs)
    before = this.finished()
    if before is not None:
        return before
    given = tensors_of(payload)
    tensors, unmatched = renamed(given, recipe)
    network = restorer(recipe.architecture, spatial_dims=recipe.spatial_dims, in_channels=recipe.in_channels, seed=0)
    _check_targets(tensors, {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()})
    transfer = take_over(network, tensors)
    own = network.state_dict()
    card = {
        "question": QUESTION,
        "architecture": resolved(recipe.architecture).model_dump(mode="json"),
        "in_channels": recipe.in_channels,
        "spatial_dims": recipe.spatial_dims,
        "recipe": recipe.model_dump(mode="json", by_alias=True),
        "inputs": inputs,
        "imported_sha256": hashlib.sha256(payload).hexdigest(),
        "hilum_version": version("hilum"),
        "licence": recipe.licence,
    }
    checkpoints.save(store, this.run_id, {name: own[name].numpy() for name in transfer.loaded}, card)
    return this.commit(
        checkpoint=this.run_id,
        licence=recipe.licence,
        num_loaded=len(transfer.loaded),
        num_fresh=len(transfer.fresh),
        num_unused=len(unmatched) + len(transfer.unused),
        parts=transfer.parts,
        fresh=list(transfer.fresh),
        unused=sorted([*unmatched, *transfer.unused]),
    )


def inputs_of(payload: bytes) -> dict[str, str]:
    """The file, named by its content."""
    return {"file": content_id(hashlib.sha256(payload).hexdigest())}


def tensors_of(payload: bytes) -> Tensors:
    """The tensors of a safetensors file, all of them finite numbers."""
    try:
        tensors = dict(safetensors.numpy.load(payload))
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"The file is not safetensors of numbers that numpy knows ({error}). Weights in another format are "
            "converted where they are trusted; bfloat16 is saved as float32."
        ) from None
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise DataError(f"Tensor {name} holds numbers that are not finite; these weights are damaged.")
    return tensors


def renamed(tensors: Mapping[str, npt.NDArray[Any]], recipe: ImportRecipe) -> tuple[Tensors, list[str]]:
    """The tensors under the network's names, and the names of those that no expression matches."""
    found: Tensors = {}
    came_from: dict[str, str] = {}
    unmatched = []
    for name in sorted(tensors):
        matches = ((re.fullmatch(pattern, name), becomes) for pattern, becomes in recipe.names)
        target = next((match.expand(becomes) for match, becomes in matches if match), None)
        if target is None:
            unmatched.append(name)
            continue
        if target in found:
            raise RecipeError(f"Both {came_from[target]} and {name} become {target}; make the expressions narrower.")
        found[target], came_from[target] = tensors[name], name
    return found, unmatched


def _check_targets(tensors: Tensors, own: Mapping[str, tuple[int, ...]]) -> None:
    """RecipeError for a name that the network has not, or a shape that is another."""
    if not tensors:
        raise RecipeError("None of the expressions matches a tensor of the file; `names` is for other weights.")
    for name, array in tensors.items():
        if name not in own:
            raise RecipeError(unknown_name("tensor of this architecture", name, own))
        if array.shape != own[name]:
            raise RecipeError(
                f"{name} is {list(array.shape)} in the file and {list(own[name])} in this architecture (channels out, "
                "channels in, voxels). Change the architecture's parameters, or leave it out of the names."
            )
