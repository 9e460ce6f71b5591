"""What a score recipe names beside the round's model, checked before any worker starts.

That is an encoder, and what knows foreground: a model that segments, or an atlas. Neither ever sees an answer.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from hilum.core.candidates import image_shape
from hilum.core.errors import NotFoundError, RecipeError
from hilum.core.geometry import Zyx
from hilum.core.imaging import Volume
from hilum.core.recipes import ForegroundRecipe, ScoreRecipe
from hilum.nn.imported_encoder import channels_read
from hilum.steps.atlas import check_places, load_atlas
from hilum.steps.predictor import load_encoder
from hilum.store import checkpoints
from hilum.store.labels import NONE
from hilum.store.layout import Store


def inputs_of(recipe: ScoreRecipe, *, pool: str, checkpoint: str) -> dict[str, str]:
    """What a score run works on: also the recipe's encoder, where there is no model that embeds, and its foreground."""
    inputs = {"pool": pool, "checkpoint": checkpoint}
    if recipe.encoder is not None and checkpoint == NONE:
        inputs["encoder"] = recipe.encoder
    if recipe.foreground is not None:
        inputs["foreground"] = recipe.foreground.source
    return inputs


def check_named(
    recipe: ScoreRecipe, store: Store, *, volumes: Sequence[Volume], shapes_zyx: Collection[Zyx], embeds: bool = True
) -> None:
    """NotFoundError, RecipeError or DataError unless what the recipe names is there and fits the candidates.

    ``volumes`` are those that candidates of ``shapes_zyx`` lie in; ``embeds``: whether the encoder is used.
    """
    if recipe.encoder is not None and embeds:
        encoder = load_encoder(store, recipe.encoder)
        otherwise = "leave score.encoder out: then pixels are compared"
        _check_fits(f"encoder {recipe.encoder}", encoder.card, volumes, shapes_zyx, otherwise=otherwise)
    if recipe.foreground is not None:
        _check_foreground(recipe.foreground, store, volumes, shapes_zyx)


def _check_foreground(
    recipe: ForegroundRecipe, store: Store, volumes: Sequence[Volume], shapes_zyx: Collection[Zyx]
) -> None:
    if recipe.atlas is not None:
        check_places(load_atlas(store, recipe.atlas), recipe.atlas, volumes)
        return
    checkpoint_id = recipe.source
    try:
        card = checkpoints.read_card(store, checkpoint_id)
    except NotFoundError as error:
        raise NotFoundError(f"score.foreground: {error} `hilum model list` shows those of campaigns.") from None
    if card.get("question") != "segment":
        what = (
            "was pretrained or imported and answers no question" if card["question"] == "pretext" else "tells classes"
        )
        raise RecipeError(
            f"score.foreground.checkpoint {checkpoint_id} {what}; foreground is known by one that segments. Name the "
            "model of a campaign that outlines, or an atlas."
        )
    otherwise = "name an atlas, or leave score.foreground out"
    _check_fits(f"foreground.checkpoint {checkpoint_id}", card, volumes, shapes_zyx, otherwise=otherwise)


def _check_fits(
    named: str,
    card: Mapping[str, Any],
    volumes: Sequence[Volume],
    shapes_zyx: Collection[Zyx],
    *,
    otherwise: str,
) -> None:
    """RecipeError unless a checkpoint reads images of the candidates' dimensions and channels."""
    channels = sorted({volume.num_channels for volume in volumes})
    readable = channels_read(card)
    dims = sorted({2 if image_shape(shape)[0] == 1 else 3 for shape in shapes_zyx})
    if not set(channels) <= set(readable) or dims != [card["spatial_dims"]]:
        raise RecipeError(
            f"score.{named} reads {card['spatial_dims']}D images of {_listed(readable)} channel(s); "
            f"these candidates are {_listed(dims)}D of {_listed(channels)}. Name another checkpoint, or {otherwise}."
        )


def _listed(numbers: Sequence[int]) -> str:
    return " and ".join(map(str, numbers))
