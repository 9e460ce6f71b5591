"""What the checkpoint of a pretraining says of itself, and the network that it describes."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from hilum.core.recipes import Choice, PretrainRecipe
from hilum.core.registry import pretexts
from hilum.nn import pretext as _registered  # noqa: F401 (its import registers them)
from hilum.nn.heads import Network, resolved
from hilum.nn.pretext.pretext import Pretext
from hilum.steps.crops import spatial_dims_of

QUESTION = "pretext"


def pretraining_card(
    recipe: PretrainRecipe, inputs: Mapping[str, str], *, pretext: Choice, in_channels: int
) -> dict[str, Any]:
    """Everything needed to build the network again. ``pretext`` has what was found out since the recipe was written."""
    return {
        "question": QUESTION,
        "pretext": pretext.model_dump(mode="json"),
        "architecture": resolved(recipe.architecture).model_dump(mode="json"),
        "in_channels": in_channels,
        "spatial_dims": spatial_dims_of(recipe.patch_shape_zyx),
        "patch_shape_zyx": list(recipe.patch_shape_zyx),
        "recipe": recipe.model_dump(mode="json", by_alias=True),
        "inputs": dict(inputs),
        "hilum_version": version("hilum"),
        "licence": "that of the images it was trained on",
    }


def pretext_of_card(card: Mapping[str, Any], *, seed: int = 0) -> tuple[Pretext, Network]:
    """The pretext and the network that a pretraining's card describes, with first weights from ``seed``."""
    pretext: Pretext = pretexts.bind(Choice.model_validate(card["pretext"]))()
    network = pretext.network(
        Choice.model_validate(card["architecture"]),
        spatial_dims=card["spatial_dims"],
        in_channels=card["in_channels"],
        seed=seed,
    )
    return pretext, network
